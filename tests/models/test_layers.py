import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

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


@pytest.mark.parametrize("rate", [1, 2, 4, 12, 24, 36])
@pytest.mark.parametrize("size", [(16, 16), (9, 13), (30, 5)])
@pytest.mark.parametrize("form", [layers.convolve_by_taps, layers.convolve_on_image])
def test_a_form_is_the_convolution(form, size, rate):
    x = reference_weights.normal("x", (2, *size, 3))
    kernel = reference_weights.normal("kernel", (3, 3, 3, 4))
    expected = value_and_gradients(lambda x, k: layers.convolve_by_op(x, k, dilation=rate), x, kernel)
    assert_close(value_and_gradients(lambda x, k: form(x, k, rate), x, kernel), expected)


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "rate"),
    [
        ((9, 13), 1, 1, 1),
        ((9, 13), 1, 2, 1),
        ((8, 6), 1, 2, 1),
        ((9, 12), 3, 2, 1),
        ((9, 12), 3, 1, 1),
        ((8, 8), 3, 1, 4),
        ((1, 1), 3, 1, 12),
    ],
)
def test_convolve_is_the_convolution(size, kernel_size, stride, rate):
    x = reference_weights.normal("x", (2, *size, 3))
    kernel = reference_weights.normal("kernel", (kernel_size, kernel_size, 3, 4))
    results = [
        value_and_gradients(lambda x, k, f=form: f(x, k, stride=stride, dilation=rate), x, kernel)
        for form in (layers.convolve, layers.convolve_by_op)
    ]
    assert_close(*results)


@pytest.mark.parametrize(
    ("size", "rate", "products"),
    [(16, 1, 1), (16, 2, 1), (16, 4, 9), (8, 2, 9), (32, 12, 9), (16, 12, 9), (32, 36, 1), (16, 24, 1), (33, 36, 1)],
)
def test_taps_that_see_only_padding_are_not_computed(size, rate, products):
    x, kernel = jnp.zeros((1, size, size, 2)), jnp.zeros((3, 3, 2, 2))
    text = str(jax.make_jaxpr(lambda x, k: layers.convolve(x, k, dilation=rate))(x, kernel))
    assert text.count("dot_general[") + text.count("conv_general_dilated[") == products


@pytest.mark.parametrize(("window", "stride", "padding"), [(3, 2, 1), (2, 2, 0)])
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_max_pool(size, window, stride, padding):
    x = reference_weights.normal("x", (2, *size, 3))
    expected = value_and_gradients(
        lambda x: nn.max_pool(x, (window, window), (stride, stride), [(padding, padding)] * 2), x
    )
    actual = value_and_gradients(lambda x: layers.max_pool(x, window=window, stride=stride, padding=padding), x)
    assert_close(actual, expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_stored_relu_is_relu(dtype):
    x = jnp.asarray([-3e38, -2.5, -1e-30, -0.0, 0.0, 1e-30, 0.3, 3e38], dtype)
    weights = jnp.arange(1, 9, dtype=dtype)

    def value_and_gradient(relu):
        y, pull = jax.vjp(relu, x)
        return y, *pull(weights)

    expected, actual = value_and_gradient(nn.relu), value_and_gradient(layers.stored_relu)
    for want, got in zip(expected, actual, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(np.float32(got), np.float32(want))


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
        0.1 * jnp.mean(layers.convolve(x, variables["params"]["kernel"]), axis=(0, 1, 2)),
        atol=1e-6,
    )


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_batch_norm_is_that_of_flax(train, dtype, tolerance):
    """Values, running moments and gradients, where the mean is large against the deviation."""
    x = (30 + reference_weights.normal("x", (4, 5, 6, 7))).astype(dtype)
    ours, theirs = (
        layers.BatchNorm(),
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


@pytest.mark.parametrize("mean", [0, 30, 1000])
@pytest.mark.parametrize("cells", [4, 20000])
def test_gradients_of_batch_norm_are_as_exact_as_the_mean(cells, mean):
    """Against float64; values with a standard deviation of one."""
    x = np.asarray(mean + reference_weights.normal("x", (cells, 5)))
    gradient, scale = np.asarray(reference_weights.normal("g", (cells, 5))), np.ones(5, np.float32)

    def pulled_back(x, scale):
        bias = jnp.zeros(5)
        return jax.vjp(lambda x, scale: layers.normalize_batch(x, scale, bias, None)[0], x, scale)[1](gradient)

    x_gradient, scale_gradient = jax.jit(pulled_back)(x, scale)
    x, gradient = x.astype(np.float64), gradient.astype(np.float64)
    rate = 1 / np.sqrt(x.var(0) + layers.BATCH_NORM_EPSILON)
    standard = (x - x.mean(0)) * rate
    along_scale = np.sum(gradient * standard, 0)
    tolerance = 1e-6 * (1 + mean)
    np.testing.assert_allclose(scale_gradient, along_scale, rtol=0, atol=tolerance * cells**0.5)
    expected = (gradient - gradient.mean(0) - standard * along_scale / cells) * rate
    np.testing.assert_allclose(x_gradient, expected, rtol=0, atol=tolerance * rate.max() ** 2)


def test_batch_norm_of_a_single_value_is_its_bias():
    """As after the pooling of a batch of one image: no variance, but no division by zero either."""
    layer, x = layers.ConvNorm(4), jnp.ones((1, 1, 1, 3))
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
