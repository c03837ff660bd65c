"""Sparsity in the training loop: a target that resumes exactly, what is reported of the groups."""

import json

import jax
import jax.numpy as jnp
import pytest

from lim_jax import sparsity
from lim_jax.training import checkpoints, group_watch, loop
from lim_jax.training.state import create_train_state, last_strength, make_optimizer, sparse_groups
from tests.training.interrupted import assert_same_variables, history_of, train_in_two_parts
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow

PARAMS = {"backbone": {"conv": {"kernel": jnp.ones((3, 3, 10, 2))}}}


def test_what_died_and_revived_is_reported(data_dir):
    config = tiny_config(data_dir)
    config.sparsity.target = 0.4
    groups = sparse_groups(config)
    kernel = PARAMS["backbone"]["conv"]["kernel"]
    before = {"backbone": {"conv": {"kernel": kernel.at[:, :, :2].set(0)}}}
    after = {"backbone": {"conv": {"kernel": kernel.at[:, :, 1:6].set(0)}}}
    patterns = [group_watch.pattern(group_watch.zeros(params, groups)) for params in (before, after)]
    assert group_watch.changes(*json.loads(json.dumps(patterns))) == {"died": 4, "revived": 1}
    original = {"backbone/conv": sparsity.LayerSize(20, 18)}  # of which 10 groups are removed
    for sizes, percent, off in ((None, 50, 10), (original, 75, 35)):
        expected = {"group_percent": percent, "parameter_percent": percent, "off_target": pytest.approx(off)}
        assert group_watch.shares(after, groups, config, sizes) == expected
    assert group_watch.norms(after, groups)["group_rms/backbone/conv"].tolist() == [1, 0, 0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "strengths"),
    [
        ({"strength": 0.5}, [0.5, 0.5, 0.5]),
        ({"strength": 0.5, "start_epoch": 1}, [0, 0, 0.5]),
        ({"strength": 0.5, "healing_epochs": 1}, [0.5, 0.5, 0]),
        ({"strength": 0.5, "penalty": "none"}, [0, 0, 0]),
        ({"strength": 0.5, "penalty": "sparse_group_lasso", "bias_corrected": True}, [0.5, 0.5, 0.5]),
    ],
)
def test_strength_per_step(data_dir, changes, strengths):
    config = tiny_config(data_dir)
    config.sparsity.update(changes)
    optimizer = make_optimizer(config, sparse_groups(config), steps_per_epoch=2)
    state = create_train_state({"params": PARAMS, "batch_stats": {}}, (), optimizer)
    step = jax.jit(lambda opt_state: optimizer.update(state.learned, opt_state, state.learned)[1])
    opt_state, found = state.opt_state, []
    for _ in strengths:
        opt_state = step(opt_state)
        found.append(last_strength(opt_state))
    assert found == strengths


def test_a_target_survives_an_interruption(data_dir, tmp_path, monkeypatch):
    config = tiny_config(data_dir)
    config.tasks = ("depth",)
    config.sparsity.target_macs, config.sparsity.scope = 0.5, "backbone_and_heads"
    results = loop.train_and_evaluate(config, tmp_path / "whole")
    assert results["sparsity"]["layers"]["heads"]["groups"] > 0

    assert train_in_two_parts(config, tmp_path / "parts", monkeypatch, step=5) == results
    whole, parts = (history_of(tmp_path / name) for name in ("whole", "parts"))
    assert whole == parts
    assert whole[0]["strength"] != whole[1]["strength"]
    assert whole[1]["sparsity"].keys() >= {"died", "revived", "off_target", "macs_percent"}
    assert_same_variables(tmp_path / "whole", tmp_path / "parts", checkpoints.LATEST)
