import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lim_jax import ops
from lim_jax.models import layers
from tests.models import reference_weights


def value_and_gradients(function, *arguments):
    """Returns `function(*arguments)` and its gradients, of a sum with weights that differ everywhere."""

    def both(*arguments):
        value, pull_back = jax.vjp(function, *arguments)
        weights = jnp.cos(jnp.arange(value.size, dtype=jnp.float32)).reshape(value.shape)
        return value, *pull_back(weights)

    return jax.jit(both)(*arguments)


def assert_close(actual, expected, tolerance=1e-5):
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(np.max(np.abs(b))))


def test_batch_norm_uses_the_moments_of_the_global_batch():
    devices = 4
    if jax.device_count() < devices:
        pytest.skip("needs 4 devices")
    layer = layers.ConvNorm(5, 3)
    x = reference_weights.normal("x", (8, 6, 6, 3))
    variables = layer.init(jax.random.key(0), x)

    def step(variables, x, axis_name=None):
        return layer.apply(variables, x, train=True, axis_name=axis_name, mutable=["batch_stats"])

    expected, expected_state = step(variables, x)
    split = jax.pmap(lambda v, x: step(v, x, "batch"), axis_name="batch", in_axes=(None, 0), out_axes=(0, None))
    actual, actual_state = split(variables, x.reshape(devices, 2, 6, 6, 3))
    assert_close([actual.reshape(expected.shape)], [expected])
    assert_close(jax.tree.leaves(actual_state), jax.tree.leaves(expected_state))
    np.testing.assert_allclose(
        expected_state["batch_stats"]["bn"]["mean"],
        0.1 * jnp.mean(ops.convolve(x, variables["params"]["kernel"]), axis=(0, 1, 2)),
        atol=1e-6,
    )


@pytest.mark.parametrize(("shape", "has_moments"), [((1, 1, 1, 5), False), ((2, 1, 1, 5), True), ((1, 1, 2, 5), True)])
def test_one_value_per_channel_is_normalised_by_the_running_moments(shape, has_moments):
    layer, x = layers.BatchNorm(), reference_weights.normal("x", shape)
    variables = layer.init(jax.random.key(0), x)
    variables["batch_stats"] = {"mean": jnp.full(5, 2.0), "var": jnp.full(5, 4.0)}
    trained, changed = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    moved = bool(jnp.any(changed["batch_stats"]["mean"] != 2.0) & jnp.any(changed["batch_stats"]["var"] != 4.0))
    assert moved == has_moments
    assert bool(jnp.all(trained == layer.apply(variables, x))) != has_moments


@pytest.mark.parametrize("forms", [ops.REFERENCE, ops.CPU], ids=lambda forms: forms.name)
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_batch_norm_is_that_of_flax(train, dtype, tolerance, forms):
    """Values, running moments and gradients, where the mean is large against the deviation."""
    x = (30 + reference_weights.normal("x", (4, 5, 6, 7))).astype(dtype)
    ours, theirs = (
        layers.BatchNorm(forms),
        nn.BatchNorm(not train, momentum=layers.BATCH_NORM_MOMENTUM, epsilon=1e-5, use_fast_variance=False),
    )
    variables = theirs.init(jax.random.key(0), x)
    noise = {name: reference_weights.normal(name, (7,)) for name in ("scale", "bias", "mean", "var")}
    variables = jax.tree.map_with_path(lambda path, leaf: leaf + jnp.abs(noise[path[-1].key]), variables)
    assert jax.tree.structure(ours.init(jax.random.key(0), x)) == jax.tree.structure(variables)

    def results(apply):
        def normalized(params, x):
            return apply({**variables, "params": params}, x)[0].astype(jnp.float32)

        return [*value_and_gradients(normalized, variables["params"], x), apply(variables, x)[1]]

    actual = results(lambda v, x: ours.apply(v, x, train, mutable=["batch_stats"]))
    expected = results(lambda v, x: theirs.apply(v, x.astype(jnp.float32), mutable=["batch_stats"]))
    assert {leaf.dtype for leaf in jax.tree.leaves(actual[1::2])} == {jnp.dtype("float32")}
    assert_close(jax.tree.leaves(actual), jax.tree.leaves(expected), tolerance)


def test_batch_norm_of_equal_values_is_its_bias():
    """As after the pooling of a batch of two equal images: no variance, but no division by zero either."""
    layer, x = layers.ConvNorm(4), jnp.ones((2, 1, 1, 3))
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    train = jax.jit(lambda x: layer.apply(variables, x, train=True, mutable=["batch_stats"])[0])
    np.testing.assert_array_equal(train(x)[0, 0, 0], variables["params"]["bn"]["bias"])
    np.testing.assert_allclose(jax.jit(jax.grad(lambda x: jnp.sum(train(x))))(x), 0, atol=1e-4)


def test_dropout_does_not_depend_on_the_number_of_devices():
    devices = 4
    if jax.device_count() < devices:
        pytest.skip("needs 4 devices")
    layer, x, key = layers.Dropout(0.3), jnp.ones((8, 50, 40)), {"dropout": jax.random.key(3)}
    expected = layer.apply({}, x, train=True, rngs=key)
    split = jax.pmap(
        lambda x, key: layer.apply({}, x, train=True, axis_name="batch", rngs=key),
        axis_name="batch",
        in_axes=(0, None),
    )
    np.testing.assert_array_equal(split(x.reshape(devices, 2, 50, 40), key).reshape(x.shape), expected)
    assert len({row.tobytes() for row in np.asarray(expected)}) == 8, "every example has its own noise"


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.6])
def test_dropout_keeps_the_mean(rate):
    layer, x = layers.Dropout(rate), jnp.ones((4, 5000))
    y = layer.apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
    assert float(jnp.mean(y == 0)) == pytest.approx(rate, abs=0.02)
    assert float(jnp.max(y)) == pytest.approx(1 / (1 - rate))
    np.testing.assert_array_equal(layer.apply({}, x), x)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters_and_statistics():
    x = reference_weights.normal("x", (2, 8, 8, 3))
    outputs = {}
    for dtype in ("float32", "bfloat16"):
        layer = layers.ConvNorm(6, 3, dilation=4, dtype=dtype)
        variables = jax.jit(layer.init)(jax.random.key(0), x)
        train = jax.jit(lambda v, layer=layer: layer.apply(v, x, train=True, mutable=["batch_stats"]))
        outputs[dtype], state = train(variables)
        assert {leaf.dtype for leaf in jax.tree.leaves((variables, state))} == {jnp.dtype("float32")}
        assert outputs[dtype].dtype == dtype
    assert_close([outputs["bfloat16"].astype(jnp.float32)], [outputs["float32"]], tolerance=0.03)


@pytest.mark.parametrize("size", [(4, 6), (3, 5), (1, 2)])
def test_a_doubled_map_is_linear_between_its_cells(size):
    x = reference_weights.normal("x", (2, -(-size[0] // 2), -(-size[1] // 2), 3))
    rows, columns = (np.minimum(np.arange(fine) / 2, -(-fine // 2) - 1) for fine in size)
    tall = np.stack([(x[:, int(y)] + x[:, int(np.ceil(y))]) / 2 for y in rows], axis=1)
    expected = np.stack([(tall[:, :, int(c)] + tall[:, :, int(np.ceil(c))]) / 2 for c in columns], axis=2)
    np.testing.assert_allclose(layers.doubled(x, size), expected, rtol=1e-6)
