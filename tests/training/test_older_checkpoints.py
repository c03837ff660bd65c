"""A run that an older version (d03d768) began, interrupted in its second epoch after its network had shrunk.

`older_run.tar.xz` is its workdir: the configuration, and the checkpoint at step 5 of three epochs of three steps. What
that version made of it when it went on for the rest of the epoch is below.
"""

import pathlib
import tarfile

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from configs import common
from lim_jax import config as config_lib
from lim_jax import data
from lim_jax.training import checkpoints, loop, resuming
from lim_jax.training.run import make_run
from tests.training.test_group_watch import history_of

pytestmark = pytest.mark.slow

ARCHIVE = pathlib.Path(__file__).parent / "older_run.tar.xz"
STEP = 5
TEST = {"loss": 0.0895324434552874, "mae": 0.25598389761788504, "rmse": 0.29600155360894664}
TOTAL = {"train": 0.09784326205650966, "validation": 0.06969090551137924}
SPARSITY = {"group_percent": 6.4171122994652405, "parameter_percent": 7.395612172682236, "died": 9, "revived": 0}
LATER_SETTINGS = {"loss_resolution": "features", "output_stride": 8, "target": "relative", "error": "mse"}
PARAMETERS = 11404  # it shrinks no more after its last epoch, as the older version did


@pytest.fixture
def workdir(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "run", filter="data")
    return tmp_path / "run"


def config_of(workdir, data_dir, num_epochs):
    """The run's configuration, with the keys that came later."""
    config = common.get_config()
    config.update(config_lib.load(workdir).to_dict())
    config.dataset.data_dir, config.num_epochs = str(data_dir), num_epochs
    return config


def item(workdir, name):
    """An item of a checkpoint just as it lies on disk."""
    return ocp.StandardCheckpointer().restore(workdir.absolute() / "checkpoints" / str(STEP) / name)


def test_it_is_read_and_written_again_to_the_last_bit(workdir, data_dir, tmp_path):
    config = config_of(workdir, data_dir, num_epochs=1)  # nothing is left to train, hence to compile
    dataset = data.load(config.dataset, config.tasks)
    with checkpoints.Checkpoints(workdir, config.tasks) as checkpointer:
        run = make_run(config, workdir, dataset, jax.local_devices()[:1], checkpointer)
        standing = resuming.start_or_resume(run)
    meta = checkpoints.latest_meta(workdir)
    stored = item(workdir, "weights")["params"]
    jax.tree.map(np.testing.assert_array_equal, standing.state.log_variances, stored.pop("loss_weighting"))
    jax.tree.map(np.testing.assert_array_equal, standing.state.params, stored)
    with checkpoints.Checkpoints(tmp_path / "again", config.tasks) as checkpointer:
        again = make_run(config, tmp_path / "again", dataset, run.local_devices, checkpointer)
        resuming.save(again, standing, {})
    for task in meta["architecture"]["tasks"].values():  # settings that came later, at what was done before
        task["settings"] |= LATER_SETTINGS
    assert checkpoints.latest_meta(tmp_path / "again") == meta | {"data": resuming.described(dataset)}
    for name in ("weights", "training"):
        jax.tree.map(np.testing.assert_array_equal, item(tmp_path / "again", name), item(workdir, name))


def test_it_is_resumed(workdir, data_dir):
    """To where the older version came, up to rounding, which depends on the processor."""
    config = config_of(workdir, data_dir, num_epochs=2)
    history = history_of(workdir)
    results = loop.train_and_evaluate(config, workdir)
    *before, last = history_of(workdir)
    assert before == history
    assert last["total"] == pytest.approx(TOTAL, rel=1e-3)
    assert last["sparsity"] == pytest.approx(SPARSITY, rel=1e-3)
    assert results["test"]["depth"] == pytest.approx(TEST, rel=1e-3)
    assert results["parameters"] == PARAMETERS
