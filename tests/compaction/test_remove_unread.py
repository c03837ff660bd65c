"""A network without groups that stay zero trains as the whole one does: the same steps, in float64.

The whole network's groups are held at zero, since without a penalty that is strong enough they would come back.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lim_jax import compaction, models, sparsity
from lim_jax.compaction import graph as graph_lib
from tests.compaction.networks import make_model, random_images, random_variables, shapes, with_zero_groups

pytestmark = pytest.mark.slow

STEPS = 3
# Layers without any input, whose outputs are their batch norm's bias, and without any output; a dead stage's end.
SHARES = {
    "layer1_1/conv1": (1.0,),
    "layer2_0/conv2": (1.0,),
    "layer4_1/conv": (1.0,),
    "stem_conv1": (0.3,),
    "downsample": (0.5,),
    "backbone": (0.2, 0.5, 0.8),
}


def zero_rows(params):
    """By the path of each convolution of the backbone: which of its input channels it does not read."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params["backbone"]):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith("/kernel"):
            found[f"backbone/{name.removesuffix('/kernel')}"] = ~np.any(leaf, axis=(0, 1, 3))
    return found


def training(model, original):
    """Returns a compiled training step: (variables, moments, what is held at zero, strength, images) -> the same."""

    def loss(params, batch_stats, images):
        variables = {"params": params, "batch_stats": batch_stats}
        logits, updated = model.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
        )
        targets = {task: jnp.sin(jnp.arange(values.size, dtype=values.dtype)) for task, values in logits.items()}
        return sum(jnp.mean((logits[task].ravel() - targets[task]) ** 2) for task in logits), updated["batch_stats"]

    def optimizer(strength):
        groups, settings = models.backbone_groups, {"weight_decay": 0.1, "bias_corrected": True}
        return sparsity.proximal_adam(1e-2, strength, groups, original=original, **settings)

    @jax.jit
    def step(variables, opt_state, kept, strength, images):
        params = variables["params"]
        (value, stats), gradients = jax.value_and_grad(loss, has_aux=True)(params, variables["batch_stats"], images)
        updates, opt_state = optimizer(strength).update(gradients, opt_state, params)
        params = jax.tree.map(lambda p, u, keep: (p + u) * keep, params, updates, kept)
        return {"params": params, "batch_stats": stats}, opt_state, value

    def train(variables, kept, strength, images):
        opt_state, losses = optimizer(strength).init(variables["params"]), []
        for _ in range(STEPS):
            variables, opt_state, value = step(variables, opt_state, kept, np.float64(strength), images)
            losses.append(float(value))
        return jax.device_get((variables, opt_state.inner[0], losses))

    return train


@functools.cache
def networks():
    """A network with zero groups: its variables, images, the smaller network, and functions that train both."""
    rng = np.random.default_rng(0)
    model = make_model("resnet18d", "float64")
    variables = with_zero_groups(random_variables(make_model("resnet18d"), rng), rng, SHARES)
    small = compaction.remove_unread(model, variables, zero_rows(variables["params"]))
    sizes = sparsity.layer_sizes(variables["params"], models.backbone_groups)
    return variables, random_images(rng, (33, 41)), small, training(model, None), training(small.model, sizes)


@functools.cache
def pair(strength):
    """The whole and the smaller network after the same steps."""
    variables, images, small, train_whole, train_smaller = networks()
    kept = jax.tree.map(np.ones_like, variables["params"])
    for path, zero in zero_rows(variables["params"]).items():
        graph_lib.branch_of(kept, path)["kernel"][:, :, zero] = 0
    if strength:  # what has no gradient any more has become zero, too
        for path, cut in small.cuts.items():
            branch = graph_lib.branch_of(kept, path)
            gone = np.setdiff1d(np.arange(branch["kernel"].shape[-1]), cut.columns)
            branch["kernel"][..., gone] = 0
        variables = variables | {"params": jax.tree.map(np.multiply, variables["params"], kept)}
    with jax.enable_x64(True):
        whole, smaller = (jax.tree.map(np.float64, tree) for tree in (variables, small.variables))
        ones = jax.tree.map(np.ones_like, smaller["params"])
        return small, train_whole(whole, kept, strength, images), train_smaller(smaller, ones, strength, images)


def assert_same(small, whole, smaller):
    for name, tree in whole.items():
        expected = compaction.take(tree, small.cuts)
        assert shapes(smaller[name]) == shapes(expected)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-6), smaller[name], expected)


@pytest.mark.parametrize("strength", [0.0, 3e-2])
def test_training_steps_are_the_same(strength):
    small, (whole, moments, losses), (smaller, smaller_moments, smaller_losses) = pair(strength)
    np.testing.assert_allclose(smaller_losses, losses, rtol=1e-9)
    assert len({round(loss, 6) for loss in losses}) == STEPS
    assert_same(small, whole, smaller)
    assert_same(small, {"mu": moments.mu, "nu": moments.nu}, {"mu": smaller_moments.mu, "nu": smaller_moments.nu})
    counts = [
        sum(leaf.size for leaf in jax.tree.leaves(variables["params"]["backbone"])) for variables in (smaller, whole)
    ]
    assert counts[0] < 0.6 * counts[1]
    if strength:  # groups that died on the way died in both
        before, after = (zero_rows(tree) for tree in (small.variables["params"], smaller["params"]))
        assert sum(int(zero.sum()) for zero in after.values()) > sum(int(zero.sum()) for zero in before.values())


def test_layers_without_inputs_stay_and_learn():
    small, (whole, _, _), (smaller, _, _) = pair(0.0)
    assert small.cuts["backbone/layer1_1/conv1"].inputs == ()
    branch = smaller["params"]["backbone"]["layer1_1"]["conv1"]
    assert set(branch) == {"bn"}
    before = small.variables["params"]["backbone"]["layer1_1"]["conv1"]["bn"]["bias"]
    assert np.all(branch["bn"]["bias"] != before)
    assert "conv1" not in smaller["params"]["backbone"]["layer2_0"]
    assert "conv1" in whole["params"]["backbone"]["layer2_0"]


@pytest.mark.parametrize("backbone", ["resnet18d", "resnet50d", "resnet18"])
def test_nothing_else_is_left_to_remove(backbone):
    model = make_model(backbone)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        shares = {"backbone": (0.0, 0.3, 0.6, 0.9, 1.0)}
        variables = with_zero_groups(random_variables(model, rng), rng, shares)
        small = compaction.remove_unread(model, variables, zero_rows(variables["params"]))
        wanted = jax.eval_shape(small.model.init, jax.random.key(0), random_images(rng))
        assert shapes(small.variables) == shapes(wanted)
        again = compaction.remove_unread(small.model, small.variables, {})
        assert again.model == small.model


def test_kernels_on_constant_channels_are_kept_and_cut():
    """A network that was compacted before, then trained on."""
    rng = np.random.default_rng(0)
    model = make_model("resnet18d")
    shares = {"layer1_0": (1.0,), "stem": (0.3,), "backbone": (0.5,)}
    compacted = compaction.compact(model, with_zero_groups(random_variables(model, rng), rng, shares))
    assert "constant_kernel" in str(shapes(compacted.variables["params"]))
    params = compacted.variables["params"]
    zero = {path: np.arange(len(rows)) % 2 == 0 for path, rows in zero_rows(params).items()}
    small = compaction.remove_unread(compacted.model, compacted.variables, zero)
    wanted = jax.eval_shape(small.model.init, jax.random.key(0), random_images(rng))
    assert shapes(small.variables) == shapes(wanted)
    for path, cut in small.cuts.items():
        old, new = (graph_lib.branch_of(tree, path) for tree in (params, small.variables["params"]))
        if "constant_kernel" in old and len(cut.columns):
            np.testing.assert_array_equal(new["constant_kernel"], old["constant_kernel"][..., cut.columns])


def test_what_stays_computes_the_same_in_training():
    """Of a network whose first stage carries on what the stem emits, by its identity path."""
    backbone = "resnet18"
    rng = np.random.default_rng(1)
    model = make_model(backbone, "float64")
    variables = with_zero_groups(random_variables(make_model(backbone), rng), rng, SHARES)
    small = compaction.remove_unread(model, variables, zero_rows(variables["params"]))
    assert len(small.surviving["stem_conv1"]) < model.backbone.architecture.stem[0].features
    images = random_images(rng, (33, 41))

    def outputs(model, variables):
        call = functools.partial(model.apply, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})
        return jax.jit(call)(jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables), images)[0]

    with jax.enable_x64(True):
        expected, found = outputs(model, variables), outputs(small.model, small.variables)
    for task, values in expected.items():
        np.testing.assert_allclose(found[task], values, rtol=0, atol=1e-6 * np.max(np.abs(values)))
