"""Methods of balancing in the training step: gradients per task, over devices, and a state that steps move."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lim_jax import balancing, models
from lim_jax import config as config_lib
from lim_jax import network as network_lib
from lim_jax.data.specs import TargetSpec
from lim_jax.runtime import devices
from lim_jax.training import initialization, task_gradients
from lim_jax.training import step as step_lib
from lim_jax.training.state import first_state, make_optimizer, sparse_groups
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
SPECS = {name: TargetSpec(name, name) for name in ("depth", "normals")}
NORMALS = RNG.normal(size=(4, 32, 40, 3))
BATCH = {
    "image": RNG.integers(0, 256, (4, 32, 40, 3), np.uint8),
    "targets": {
        "depth": RNG.uniform(1, 5, (4, 32, 40)).astype(np.float32),
        "normals": np.float32(NORMALS / np.linalg.norm(NORMALS, axis=-1, keepdims=True)),
    },
}


def make(weighting, **changes):
    """A network, its configuration, and the state before the first step."""
    config = tiny_config("nowhere")
    config.model.width_multiplier, config.loss_weighting = 0.05, weighting
    config.update_from_flattened_dict(changes)
    config = config_lib.checked(config)
    network = network_lib.build(config, SPECS)
    optimizer = make_optimizer(config, sparse_groups(config), steps_per_epoch=1)
    variables = initialization.VariableInitializer(network.model, config.dataset.image_size).init(0)
    return network, config, optimizer, jax.device_get(first_state(variables, optimizer, config))


@functools.cache
def gradients(weighting, number=1, **changes):
    network, config, _, state = make(weighting, **changes)
    function = functools.partial(step_lib.batch_gradients, network=network, config=config)
    return jax.device_get(devices.data_parallel(function, jax.local_devices()[:number], 1)(state, BATCH))


def assert_close(found, expected, tolerance=2e-3):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.max(np.abs(b)), 1e-4), err_msg=str(path))


@pytest.mark.parametrize(
    ("changes", "head", "number"),
    [
        *[({}, "deeplabv3", number) for number in (1, 2)],
        *[({"rep_grad": True}, "deeplabv3", number) for number in (1, 2)],
        ({"rep_grad": True}, "deeplabv3plus", 1),  # with features of two resolutions
    ],
)
def test_gradients_with_equal_weights_are_those_of_the_sum(changes, head, number, monkeypatch):
    """CAGrad with a radius of 0, by the gradients of either kind, on any number of devices."""
    monkeypatch.setitem(balancing._METHODS, "cagrad", functools.partial(balancing.CAGrad, 0.0))
    network = {"model.head": head}
    assert_close(gradients("cagrad", number, **changes, **network), gradients("equal", number, **network))


def test_the_backbone_goes_by_what_the_method_makes_of_the_tasks_gradients():
    network, config, _, state = make("upgrad")
    key = jax.random.fold_in(jax.random.key(config.seed), 0)

    def loss(backbone, task):
        variables = {"params": {**state.params, "backbone": backbone}, "batch_stats": state.batch_stats}
        images = models.normalize_images(BATCH["image"])
        logits, _ = network.model.apply(variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key})
        total, count = network.tasks[task].loss(logits[task], BATCH["targets"][task])
        return total / count

    rows = [jax.jit(jax.grad(functools.partial(loss, task=task)))(state.params["backbone"]) for task in sorted(SPECS)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    gram = balancing.gram(stacked)
    weights = balancing.UPGrad().weights(gram, jnp.ones(2, bool), key)
    found = gradients("upgrad")
    expected = jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), stacked)
    assert_close(found.gradients["backbone"], jax.device_get(expected), 5e-3)
    for head in ("heads_depth", "heads_normals"):
        assert_close(found.gradients[head], gradients("equal").gradients[head])
    assert not any(found.gradients["loss_weighting"].values())

    function = functools.partial(
        task_gradients.group_cosines, network=network, config=config, groups=sparse_groups(config)
    )
    cosines = devices.data_parallel(function, jax.local_devices()[:1], 1)(state, BATCH)
    kernels = [leaf for path, leaf in jax.tree.leaves_with_path(stacked) if path[-1].key == "kernel" and leaf.ndim == 5]
    np.testing.assert_allclose(cosines, balancing.cosines(balancing.gram(kernels)), atol=5e-3)


@pytest.mark.parametrize("weighting", ["famo", "dwa"])
def test_a_step_moves_the_state_of_a_method(weighting):
    network, config, optimizer, first = make(weighting)
    step = step_lib.TrainStep(network, optimizer, config, jax.local_devices()[:1])
    step.compile_ahead(first, BATCH)
    state = devices.replicate(first, jax.local_devices()[:1])
    for _ in range(2):
        state, sums = step(state, BATCH)
    found = jax.device_get(state.balancing)
    assert state.step == 2 and np.isfinite(sums["total"][0])
    if weighting == "dwa":
        assert found["counts"].tolist() == [2, 2] and np.all(found["sums"] > 0)
    else:
        depth, normals = found["logits"]  # what fell more has less weight
        fell = found["before"]
        assert not found["stepped"] and depth == pytest.approx(-normals, abs=1e-5) and depth != 0
        assert np.all(np.isfinite(fell))


def test_famo_moves_its_weights_after_steps_alone_where_gradients_are_added_up():
    network, config, optimizer, first = make("famo", accumulation_steps=2)
    step = step_lib.TrainStep(network, optimizer, config, jax.local_devices()[:1])
    state = devices.replicate(first, jax.local_devices()[:1])
    moves = []
    for _ in range(5):
        state, _ = step(state, BATCH)
        moves.append(int(optax.tree.get(jax.device_get(state.balancing["optimizer"]), "count")))
    assert moves == [0, 1, 1, 2, 2]
