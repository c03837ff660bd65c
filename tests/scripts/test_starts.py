"""Networks that runs of a sweep start from, made of networks that nobody trained."""

import json

import jax
import numpy as np
import pytest
import starts
from sweeps import records

from lim_jax import config as config_lib
from lim_jax import data, sparsity
from lim_jax.compaction import compact
from lim_jax.errors import UserError
from lim_jax.sparsity.groups import leaves_by_path
from lim_jax.training import checkpoints
from lim_jax.training.state import sparse_groups
from tests import untrained
from tests.training.tiny import tiny_config

SPARSE_SHARE = 0.5


def config_of(data_dir):
    config = tiny_config(data_dir)
    config.tasks = ("depth",)
    return config_lib.checked(config)


@pytest.fixture(scope="module")
def dense(data_dir):
    config = config_of(data_dir)
    return starts.Done(config, untrained.make(config, data.load(config.dataset, config.tasks).specs), 0.0)


def zero_percent(done, variables):
    return sparsity.sparsity_summary(variables["params"], sparse_groups(done.config)).group_percent


def test_the_least_groups_leave(dense):
    pruned = starts.without_least_groups(dense, SPARSE_SHARE)
    assert zero_percent(dense, pruned) == pytest.approx(100 * SPARSE_SHARE, abs=0.5)
    before, after = (leaves_by_path(tree["params"]) for tree in (dense.trained.variables, pruned))
    zeros, others = [], []
    for path, kernel in before.items():
        gone = (after[path] == 0).all(axis=(0, 1, 3)) if kernel.ndim == 4 else np.zeros(0, bool)
        if not gone.any() or path.startswith("heads_"):
            np.testing.assert_array_equal(kernel, after[path])
            continue
        norms = np.linalg.norm(kernel.transpose(2, 0, 1, 3).reshape(len(gone), -1), axis=1)
        zeros += list(norms[gone] / norms.mean())
        others += list(norms[~gone] / norms.mean())
        np.testing.assert_array_equal(after[path][:, :, ~gone], kernel[:, :, ~gone])
    assert zeros and max(zeros) <= min(others)


@pytest.mark.slow
def test_what_is_made_of_finished_runs(dense, tmp_path):
    share = 100 * SPARSE_SHARE
    sparse = dense._replace(trained=_with(dense.trained, starts.without_least_groups(dense, SPARSE_SHARE)))
    for name, done, percent in (("whole", dense, 0.0), ("thin", sparse, share)):
        workdir = untrained.save(tmp_path / f"{name}_seed2", done.config, done.trained)
        (workdir / records.RESULTS).write_text(json.dumps({"sparsity": {"group_percent": percent}}))
    made = starts.write(tmp_path, "whole", "thin")
    assert list(made) == [f"{kind}_seed2" for kind in ("magnitude_groups", "magnitude_channels", "compact", "fresh")]
    assert {round(made[f"{kind}_seed2"]["group_percent"], 6) for kind in ("magnitude_groups", "compact", "fresh")} == {
        round(zero_percent(sparse, sparse.trained.variables), 6)
    }
    assert made["magnitude_channels_seed2"]["group_percent"] == pytest.approx(share, abs=3)
    networks = {name: checkpoints.load_network(tmp_path / starts.FOLDER / name) for name in made}
    expected = compact(sparse.trained.network.model, sparse.trained.variables)
    jax.tree.map(np.testing.assert_array_equal, networks["compact_seed2"].variables, expected.variables)
    before, after = (leaves_by_path(networks[f"{kind}_seed2"].variables) for kind in ("compact", "fresh"))
    assert {path: leaf.shape for path, leaf in before.items()} == {path: leaf.shape for path, leaf in after.items()}
    kernels = [path for path in before if path.endswith("kernel") and before[path].size]
    assert kernels and not any(np.array_equal(before[path], after[path]) for path in kernels)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob(starts.FILE)}
    assert starts.write(tmp_path, "whole", "thin") == made
    assert times == {path: path.stat().st_mtime_ns for path in times}, "what is there is left"


def test_of_runs_that_are_not_done(tmp_path):
    with pytest.raises(UserError, match="no seed of which"):
        starts.write(tmp_path)


def _with(trained, variables):
    return type(trained)(trained.network, variables, trained.step, trained.epoch)
