"""A network that shrinks while it is trained: in the real loop, across interruptions, and what is reported of it."""

import functools
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lim_jax import config as config_lib
from lim_jax import models, network, sparsity
from lim_jax.data.specs import TargetSpec
from lim_jax.errors import UserError
from lim_jax.training import checkpoints, digests, loop, shrinking, stored
from lim_jax.training.state import create_train_state, make_optimizer, sparse_groups
from tests.models import reference_weights
from tests.training.interrupted import assert_same_variables, history_of, train_in_two_parts
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]


def shrinking_config(data_dir):
    config = tiny_config(data_dir)
    config.tasks = ("depth",)
    config.model.head = "deeplabv3plus"
    config.num_epochs = 2
    config.sparsity.strength = 2e-3
    config.sparsity.scope = "backbone_and_heads"
    config.sparsity.compact_every_epochs = 1
    config.sparsity.patience_epochs = 1
    config.learning_rate_schedule, config.warmup_epochs = "poly", 0.5
    config.gradient_clipping, config.accumulation_steps, config.ema_decay = 100.0, 2, 0.5
    config.dataset.validation_share, config.loss_weighting = 0.0, "dwa"
    return config


get_config = shrinking_config


@pytest.fixture(scope="module")
def shrunk(tmp_path_factory, data_dir):
    """A finished run: its workdir, its history and the results."""
    workdir, config = tmp_path_factory.mktemp("run"), shrinking_config(data_dir)
    results = loop.train_and_evaluate(config, workdir)
    return workdir, history_of(workdir), results


def test_the_network_shrinks_and_is_reported_relative_to_the_original(shrunk):
    workdir, history, results = shrunk
    sizes = [(record["network"]["parameters"], record["network"]["channels"]) for record in history]
    best, last = (checkpoints.load_network(workdir, which) for which in (checkpoints.BEST, checkpoints.LATEST))
    first, second = sizes
    assert first > second == (network.num_parameters(last.variables["params"]), network.num_channels(last.network))
    assert results["parameters"] == network.num_parameters(best.variables["params"]) < sizes[0][0]
    layers = results["sparsity"]["layers"]
    original = network.build(config_lib.load(workdir), {"depth": TargetSpec("depth", "depth")}).model
    like = jax.eval_shape(original.init, jax.random.key(0), jnp.zeros((1, 32, 40, 3)))["params"]
    groups = sparsity.layer_sizes(like, lambda params: models.backbone_groups(params, "backbone_and_heads"))
    assert {name: layer["groups"] for name, layer in layers.items()} == {
        name: size.groups for name, size in groups.items()
    }
    kernels = [
        np.any(leaf, axis=(0, 1, 3)).sum()
        for path, leaf in jax.tree_util.tree_leaves_with_path(best.variables["params"]["backbone"])
        if leaf.ndim == 4
    ]
    left = sum(layer["groups"] - layer["zero_groups"] for name, layer in layers.items() if name != "heads")
    assert left == sum(kernels)
    record = history[results["best_epoch"] - 1]
    assert record["sparsity"]["group_percent"] == results["sparsity"]["group_percent"]
    assert (workdir / "report" / "speed.png").is_file()


def test_what_was_averaged_is_as_sparse_as_what_was_trained_and_what_is_evaluated(shrunk):
    workdir, history, results = shrunk
    average = checkpoints.load_network(workdir, checkpoints.LATEST).variables["params"]
    arrays = stored.ranked(workdir, stored.LATEST)[0].arrays("training")
    trained = {name: array for name, array in arrays.items() if name.startswith("trained/params/backbone")}
    averaged = digests.by_name({"trained": {"params": average}})
    assert sum(np.sum(array == 0) for array in trained.values()) > 0
    for name, array in trained.items():
        np.testing.assert_array_equal(array == 0, averaged[name] == 0, err_msg=name)
    assert any(np.any(array != averaged[name]) for name, array in trained.items())
    assert results["validation"] == {} and results["best_epoch"] == results["epochs"] == 2
    last = results["test_last_epochs"]
    assert last["epochs"] == 2 and results["test"]["depth"] == pytest.approx(history[-1]["test"]["depth"])
    assert last["mean"]["depth"]["mae"] == pytest.approx(np.mean([r["test"]["depth"]["mae"] for r in history]))
    assert history[0]["learning_rate"] > history[1]["learning_rate"] > 0


def test_evaluate_gives_the_same_numbers_again(shrunk):
    workdir, _, results = shrunk
    command = [sys.executable, "-m", "lim_jax.evaluate", f"--workdir={workdir}", "--split=test"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert json.loads((workdir / "evaluation_test.json").read_text()) == results["test"]


def test_an_interrupted_run_ends_as_if_it_had_not_been(shrunk, data_dir, tmp_path, monkeypatch):
    """SIGTERM in the middle of the epoch after the network shrank, with the gradients of one batch of two added up."""
    workdir, history, expected = shrunk
    assert train_in_two_parts(shrinking_config(data_dir), tmp_path, monkeypatch, step=4) == expected
    assert history_of(tmp_path) == history
    for which in (checkpoints.BEST, checkpoints.LATEST):
        assert_same_variables(workdir, tmp_path, which)


def make_network(width=0.05):
    config = config_lib.checked(tiny_config("unused"))
    config = config_lib.with_value(config, "model.width_multiplier", width)
    config = config_lib.with_value(config, "sparsity.compact_every_epochs", 2)
    config = config_lib.with_value(config, "sparsity.patience_epochs", 2)
    net = network.build(config, {"depth": TargetSpec("depth", "depth")})
    variables = reference_weights.variables(net.model, np.zeros((1, 32, 40, 3), np.float32))
    return config, net, variables


def zeros_of(params):
    return jax.device_get(sparsity.zero_groups(params, models.backbone_groups))


def test_only_groups_that_stayed_zero_are_removed():
    config, net, variables = make_network()
    kernel = variables["params"]["backbone"]["layer1_0"]["conv2"]["kernel"]
    kernel[:, :, [0, 3, 5]] = 0
    groups = sparse_groups(config)
    optimizer = make_optimizer(config, groups, steps_per_epoch=1)
    state = create_train_state(variables, ("depth",), optimizer)
    counted = shrinking.begin(state.params, groups, config, macs=7)
    zeros = zeros_of(state.params)
    later = dict(zeros, **{"backbone/layer1_0/conv2": np.isin(np.arange(8), [0, 4, 5])})
    for found in (zeros, later):
        counted = shrinking.counted(counted, found, patience=2)
        counted = shrinking.from_json(json.loads(json.dumps(counted.to_json())))
    assert counted.zero_epochs["backbone/layer1_0/conv2"].tolist() == [2, 0, 0, 0, 1, 2, 0, 0]
    left, smaller, new = shrinking.shrink(counted, net, state, groups, patience=2)
    expected = kernel[:, :, [1, 2, 3, 4, 6, 7]]
    np.testing.assert_array_equal(new.params["backbone"]["layer1_0"]["conv2"]["kernel"], expected)
    assert new.params["backbone"]["layer1_0"]["conv1"]["kernel"].shape[-1] == 6
    assert left.zero_epochs["backbone/layer1_0/conv2"].tolist() == [0, 0, 0, 1, 0, 0]
    assert network.num_channels(smaller) == network.num_channels(net) - 2
    assert left.original["backbone/layer1_0/conv2"] == sparsity.LayerSize(8, 9 * 8) and left.macs == 7
    assert shrinking.shrink(left, smaller, new, groups, patience=2) is None
    wanted = jax.eval_shape(optimizer.init, new.learned)
    assert jax.tree.structure(new.opt_state) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_equal(np.shape(a), b.shape), new.opt_state, wanted)


def test_a_network_of_zeros_stays_as_it_is():
    config, net, variables = make_network()
    params = dict(variables["params"], backbone=jax.tree.map(np.zeros_like, variables["params"]["backbone"]))
    groups = sparse_groups(config)
    optimizer = make_optimizer(config, groups, steps_per_epoch=1)
    state = create_train_state(variables | {"params": params}, ("depth",), optimizer)
    counted = shrinking.begin(params, groups, config)
    for _ in range(2):
        counted = shrinking.counted(counted, zeros_of(params), patience=2)
    assert shrinking.shrink(counted, net, state, groups, patience=2) is None


def test_counts_do_not_overflow():
    counted = shrinking.Shrinking({}, {"conv": np.zeros(3, np.uint8)})
    for _ in range(300):
        counted = shrinking.counted(counted, {"conv": np.array([True, False, True])}, patience=255)
    assert counted.zero_epochs["conv"].tolist() == [255, 0, 255]


@pytest.mark.parametrize(("every", "due"), [(0, []), (1, [1, 2, 3]), (2, [2])])
def test_when_the_network_may_shrink(every, due):
    config = config_lib.with_value(tiny_config("unused"), "sparsity.compact_every_epochs", every)
    config = config_lib.with_value(config, "num_epochs", 4)
    assert [epoch for epoch in range(1, 5) if shrinking.is_due(epoch, config)] == due


def test_penalty_and_target_go_by_the_original_network():
    """Ten groups of eight, of which six lost half of their (zero) elements and four are gone: the same step."""
    rng = np.random.default_rng(0)
    params = {"a": rng.standard_normal((10, 8)).astype(np.float32)}
    params["a"][6:] = 0
    params["a"][:, 4:] = 0
    small = {"a": params["a"][:6, :4]}
    gradients = {"a": (rng.standard_normal((10, 8)) * (params["a"] != 0)).astype(np.float32)}
    groups = {"a": sparsity.ROWS}
    target = sparsity.TargetSparsity(0.9, 2000, initial_strength=1.0)
    make = functools.partial(sparsity.proximal_adam, 0.1, target, groups, bias_corrected=True)
    whole, smaller = make(), make(original=sparsity.layer_sizes(params, groups))
    states = [whole.init(params), smaller.init(small)]
    for _ in range(5):
        updates, states[0] = whole.update(gradients, states[0], params)
        params = optax.apply_updates(params, updates)
        updates, states[1] = smaller.update({"a": gradients["a"][:6, :4]}, states[1], small)
        small = optax.apply_updates(small, updates)
        np.testing.assert_allclose(small["a"], params["a"][:6, :4], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(states[0].target, states[1].target, rtol=1e-6)
    assert 0.1 < states[1].target.sparsity < 1
    counts = [
        sparsity.sparsity_summary(tree, groups, sparsity.layer_sizes({"a": np.zeros((10, 8))}, groups))
        for tree in (params, small)
    ]
    assert counts[0] == counts[1]


def test_what_compact_leaves_is_a_network_not_a_run(shrunk, data_dir, tmp_path):
    checkpoints.save_network(tmp_path, checkpoints.load_network(shrunk[0]))
    with pytest.raises(UserError, match="init_from"):
        loop.train_and_evaluate(shrinking_config(data_dir), tmp_path)
