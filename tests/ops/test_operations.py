"""Every operation in every form, shape and dtype is the reference in float64, gradients included."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lim_jax import ops
from lim_jax.ops import cpu, gpu, reference, taps
from tests.models import reference_weights

FORMS = [ops.REFERENCE, ops.CPU, ops.GPU]
EVERY_FORM = pytest.mark.parametrize("forms", FORMS, ids=[forms.name for forms in FORMS])
TOLERANCE = {"float32": 1e-5, "bfloat16": 3e-2}


def results(operation, arrays, dtype):
    """Returns the operation's value and its gradients, of a sum with weights that differ everywhere."""

    def both(*arrays):
        value, pull_back = jax.vjp(operation, *arrays)
        weights = jnp.cos(jnp.arange(value.size)).reshape(value.shape).astype(value.dtype)
        return value, *pull_back(weights)

    return jax.jit(both)(*(jnp.asarray(array, dtype) for array in arrays))


def exact(operation, arrays):
    """Returns `results` in float64, of the gradients that JAX derives; of numbers that bfloat16 has, too."""
    with jax.enable_x64(True):
        return [np.asarray(array) for array in results(operation, arrays, jnp.float64)]


def assert_alike(actual, expected, dtype, tolerance=None):
    for a, b in zip(actual, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, dtype)
        limit = (tolerance or TOLERANCE[dtype]) * np.max(np.abs(b))
        np.testing.assert_allclose(np.asarray(a, np.float64), b, rtol=0, atol=limit)


def rounded(tag, shape):
    """Returns random numbers that are the same in every dtype."""
    return np.asarray(jnp.asarray(reference_weights.normal(tag, shape), jnp.bfloat16), np.float32)


# Batch, size of the image, kernel size, stride, rate: odd sizes, dead taps, one cell, rates beyond the image.
CONVOLUTIONS = [
    (2, (9, 13), 1, 1, 1),
    (2, (8, 6), 1, 2, 1),
    (1, (9, 12), 3, 2, 1),
    (2, (9, 12), 3, 1, 1),
    (2, (16, 16), 3, 1, 2),
    (2, (8, 8), 3, 1, 4),
    (1, (30, 5), 3, 1, 4),
    (2, (9, 13), 3, 1, 12),
    (2, (9, 13), 3, 2, 3),
    (1, (1, 1), 3, 1, 12),
    (1, (3, 4), 5, 1, 2),
]


@functools.cache
def exact_convolution(case):
    batch, size, kernel_size, stride, rate = case
    arrays = rounded("x", (batch, *size, 3)), rounded("kernel", (kernel_size, kernel_size, 3, 4))
    return arrays, exact(lambda x, kernel: reference.convolve(x, kernel, stride, rate), arrays)


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@EVERY_FORM
def test_convolve(forms, case):
    arrays, expected = exact_convolution(case)
    operation = functools.partial(ops.convolve, stride=case[3], dilation=case[4], forms=forms)
    for dtype in TOLERANCE:
        assert_alike(results(operation, arrays, dtype), expected, dtype)


@pytest.mark.parametrize("form", [taps.BY_TAPS, taps.OP_WITH_TAPS], ids=["taps", "op with taps"])
@pytest.mark.parametrize("case", [(2, (16, 16), 3, 1, 1), (2, (30, 5), 3, 1, 2), (2, (9, 13), 3, 1, 36)], ids=str)
def test_a_form_is_the_convolution_where_no_rule_chooses_it(form, case):
    arrays, expected = exact_convolution(case)
    forms = dataclasses.replace(ops.REFERENCE, convolve=form)
    operation = functools.partial(ops.convolve, stride=case[3], dilation=case[4], forms=forms)
    assert_alike(results(operation, arrays, "float32"), expected, "float32")


@pytest.mark.parametrize(
    ("size", "rate", "products"),
    [(16, 1, 1), (16, 2, 1), (16, 4, 9), (8, 2, 9), (32, 12, 9), (16, 12, 9), (32, 36, 1), (16, 24, 1), (33, 36, 1)],
)
def test_taps_that_see_only_padding_are_not_computed(size, rate, products):
    x, kernel = jnp.zeros((1, size, size, 2)), jnp.zeros((3, 3, 2, 2))
    text = str(jax.make_jaxpr(lambda x, k: ops.convolve(x, k, dilation=rate, forms=ops.CPU))(x, kernel))
    assert text.count("dot_general[") + text.count("conv_general_dilated[") == products


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "rate", "on_cpu", "on_gpu"),
    [
        (32, 1, 1, 1, taps.BY_TAPS, gpu.MATRIX_PRODUCT),
        (32, 3, 1, 1, taps.OP_WITH_TAPS, ops.REFERENCE.convolve),
        (32, 3, 2, 1, ops.REFERENCE.convolve, ops.REFERENCE.convolve),
        (32, 3, 1, 2, taps.OP_WITH_TAPS, taps.OP_WITH_TAPS),
        (32, 3, 1, 12, taps.BY_TAPS, taps.OP_WITH_TAPS),
        (32, 3, 1, 24, taps.BY_TAPS, taps.OP_WITH_TAPS),
        (32, 3, 1, 36, taps.BY_TAPS, taps.BY_TAPS),
    ],
)
def test_rules(size, kernel_size, stride, rate, on_cpu, on_gpu):
    shapes = (16, size, size, 64), (kernel_size, kernel_size, 64, 64)
    assert cpu.form_of_convolution(*shapes, stride, rate) == on_cpu
    assert gpu.form_of_convolution(*shapes, stride, rate) == on_gpu


@pytest.mark.parametrize(("window", "stride", "padding"), [(3, 2, 1), (2, 2, 0)])
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
@EVERY_FORM
def test_max_pool(forms, size, window, stride, padding):
    """Of images without two equal cells in a window: gradients differ there, and each is one."""
    order = np.argsort(reference_weights.normal("order", (2, 9, 3)), axis=1)
    rows, columns = np.indices(size)
    x = np.float32(order[:, 3 * (rows % 3) + columns % 3] - 4)
    expected = exact(lambda x: reference.max_pool(x, window, stride, padding), [x])
    operation = functools.partial(ops.max_pool, window=window, stride=stride, padding=padding, forms=forms)
    for dtype in TOLERANCE:
        assert_alike(results(operation, [x], dtype), expected, dtype)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@EVERY_FORM
def test_relu(forms, dtype, train):
    x = jnp.asarray([-3e38, -2.5, -1e-30, -0.0, 0.0, 1e-30, 0.3, 3e38], dtype)
    weights = jnp.arange(1, 9, dtype=dtype)
    value, pull_back = jax.vjp(functools.partial(ops.relu, train=train, forms=forms), x)
    positive = np.float32(x) > 0
    for found, wanted in ((value, np.where(positive, x, 0)), (pull_back(weights)[0], np.where(positive, weights, 0))):
        assert found.dtype == dtype
        np.testing.assert_array_equal(np.float32(found), np.float32(wanted))


@pytest.mark.parametrize("shape", [(4, 5, 6, 7), (1, 3, 3, 3), (50, 3)])
@EVERY_FORM
def test_normalize_batch(forms, shape):
    """Where the mean is large against the deviation."""
    x, channels = 8 + np.round(8 * rounded("x", shape)) / 8, shape[-1:]
    arrays = [x, 1 + np.abs(rounded("scale", channels)), rounded("bias", channels)]
    expected = exact(lambda *arrays: reference.normalize_batch(*arrays)[0], arrays)
    for dtype, tolerance in (("float32", 1e-4), ("bfloat16", 3e-2)):

        def operation(x, scale, bias, dtype=dtype):
            return ops.normalize_batch(x.astype(dtype), scale, bias, forms=forms)[0].astype(jnp.float32)

        assert_alike(results(operation, arrays, "float32"), expected, "float32", tolerance)
    for found, wanted in zip(ops.normalize_batch(*arrays, forms=forms)[1:], (x.mean, x.var), strict=True):
        np.testing.assert_allclose(found, wanted(tuple(range(x.ndim - 1)), dtype=np.float64), rtol=1e-5)


@EVERY_FORM
def test_moments_and_gradients_are_those_of_the_global_batch(forms):
    arrays = [rounded("x", (4, 3, 5, 6)), 1 + np.abs(rounded("scale", (6,))), rounded("bias", (6,))]
    weights = rounded("g", (4, 3, 5, 6))
    expected = results(lambda *arrays: weights * reference.normalize_batch(*arrays)[0], arrays, "float32")

    def of_share(x, weights):
        def share(x, scale, bias):
            return weights * ops.normalize_batch(x, scale, bias, axis_name="batch", forms=forms)[0]

        return jax.vjp(share, x, *map(jnp.asarray, arrays[1:]))

    def both(x, weights, directions):
        value, pull_back = of_share(x, weights)
        x_gradient, *others = pull_back(directions)
        return value, x_gradient, *jax.lax.psum(others, "batch")

    directions = np.cos(np.arange(weights.size, dtype=np.float32)).reshape(weights.shape)
    shares = [array.reshape(2, 2, 3, 5, 6) for array in (arrays[0], weights, directions)]
    value, x_gradient, *others = jax.jit(jax.vmap(both, axis_name="batch"))(*shares)
    found = [value.reshape(weights.shape), x_gradient.reshape(weights.shape), *(other[0] for other in others)]
    assert_alike(found, [np.asarray(array, np.float64) for array in expected], "float32")


@pytest.mark.parametrize("mean", [0, 30, 1000])
@pytest.mark.parametrize("cells", [4, 20000])
@EVERY_FORM
def test_gradients_of_batch_norm_are_as_exact_as_the_mean(forms, cells, mean):
    """Against float64; values with a standard deviation of one."""
    x = np.asarray(mean + reference_weights.normal("x", (cells, 5)))
    gradient, scale = np.asarray(reference_weights.normal("g", (cells, 5))), np.ones(5, np.float32)

    def pulled_back(x, scale):
        bias = jnp.zeros(5)
        return jax.vjp(lambda x, scale: ops.normalize_batch(x, scale, bias, forms=forms)[0], x, scale)[1](gradient)

    x_gradient, scale_gradient = jax.jit(pulled_back)(x, scale)
    x, gradient = x.astype(np.float64), gradient.astype(np.float64)
    rate = 1 / np.sqrt(x.var(0) + ops.BATCH_NORM_EPSILON)
    standard = (x - x.mean(0)) * rate
    along_scale = np.sum(gradient * standard, 0)
    tolerance = 1e-6 * (1 + mean)
    np.testing.assert_allclose(scale_gradient, along_scale, rtol=0, atol=tolerance * cells**0.5)
    expected = (gradient - gradient.mean(0) - standard * along_scale / cells) * rate
    np.testing.assert_allclose(x_gradient, expected, rtol=0, atol=tolerance * rate.max() ** 2)


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((3, 3, 5, 64), (2,)),  # whole rows of lanes
        ((1, 1, 4, 300), (2,)),  # blocks of rows, and a rest
        ((2, 2, 5, 6), (2,)),
        ((70, 9), (1,)),  # groups that are neighbours
        ((40, 33), ()),
        ((3, 4), (0, 1)),
    ],
)
@EVERY_FORM
def test_sum_groups(forms, shape, kept):
    quantities = tuple(jnp.asarray(rounded(tag, shape)) for tag in ("a", "b", "c"))
    found = jax.jit(lambda *arrays: forms.sum_groups(arrays, kept))(*quantities)
    inside = tuple(axis for axis in range(len(shape)) if axis not in kept)
    for total, array in zip(found, quantities, strict=True):
        wanted = np.sum(np.asarray(array, np.float64), axis=inside)
        assert (total.shape, total.dtype) == (wanted.shape, jnp.float32)
        np.testing.assert_allclose(total, wanted, rtol=0, atol=1e-5 * max(np.abs(wanted).max(), 1))


def test_equal_layers_are_traced_once():
    """Values and gradients, however many layers there are."""
    traced = []

    def counted(form):
        def counting(function):
            def call(*arguments):
                traced.append(call)
                return function(*arguments)

            return call

        return ops.Form(*map(counting, form))

    forms = dataclasses.replace(
        ops.CPU, convolve=counted(ops.CPU.convolve), normalize_batch=counted(ops.CPU.normalize_batch)
    )

    def network(kernels, x):
        for kernel in kernels:
            x = ops.convolve(x, kernel, dilation=2, forms=forms)
            x = ops.normalize_batch(x, jnp.ones(4), jnp.zeros(4), forms=forms)[0]
        return jnp.sum(x)

    def traces(layers):
        traced.clear()
        jax.jit(jax.grad(network, (0, 1))).lower([jnp.ones((3, 3, 4, 4))] * layers, jnp.ones((1, 8, 8, 4)))
        return {form: traced.count(form) for form in traced}

    counts = traces(3)
    assert counts == {  # values by themselves, and to be differentiated
        forms.convolve.value: 2,
        forms.convolve.gradients: 1,
        forms.normalize_batch.value: 2,
        forms.normalize_batch.gradients: 1,
    }
    assert not traces(6), "what was traced for three layers serves six"
