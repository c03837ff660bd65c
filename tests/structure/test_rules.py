"""What each class of primitives lets pass: of a channel that nobody reads, the column that makes it goes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lim_jax.structure import compact

DEAD = [1, 4]  # of 6 channels
NHWC = ("NHWC", "HWIO", "NHWC")


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def between(operation):
    """Returns a function that makes 6 channels, applies an operation to (2, 5, 6), and reads all channels but two."""
    reader = normal(6, 3)
    reader[DEAD] = 0
    params = {"w": normal(3, 6), "o": reader}
    return lambda p, x: operation(x @ p["w"]) @ p["o"], params, normal(2, 5, 3)


@jax.custom_vjp
def with_own_gradient(x):
    return jnp.sin(x)


with_own_gradient.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * x,))

PASSING = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "clip": lambda y: jnp.clip(y, -1, 1),
    "power": lambda y: y**3 + lax.integer_pow(y, 2) + lax.rsqrt(y * y + 1),
    "where": lambda y: jnp.where(y > 0, y, jnp.exp(y)),
    "types": lambda y: y.astype(jnp.bfloat16).astype(jnp.float32),
    "scalars": lambda y: 2.0 * y - 1.0 / 3,
    "softmax along places": lambda y: jax.nn.softmax(y, axis=1),
    "batch norm": lambda y: (y - y.mean((0, 1))) * lax.rsqrt(y.var((0, 1)) + 1e-3),
    "maximum of places": lambda y: y.max(1, keepdims=True) - y.min(1, keepdims=True),
    "index of maximum": lambda y: y.argmax(1).astype(jnp.float32),
    "cumulative": lambda y: lax.cumsum(y, 1) + lax.cummax(y, 1, reverse=True),
    "sorted places": lambda y: jnp.sort(y, 1),
    "pooling": lambda y: lax.reduce_window(y, -np.inf, lax.max, (1, 3, 1), (1, 2, 1), "SAME"),
    "average pooling": lambda y: lax.reduce_window(y, 0.0, lax.add, (1, 2, 1), (1, 1, 1), "VALID"),
    "slice": lambda y: y[:, 1::2],
    "dynamic slice": lambda y: lax.dynamic_slice_in_dim(y, 2, 2, 1),
    "dynamic update": lambda y: lax.dynamic_update_slice_in_dim(y, y[:, :1] * 2, 3, 1),
    "one place": lambda y: y[:, 0],
    "taken places": lambda y: jnp.take(y, jnp.array([3, 0, 0]), axis=1),
    "padded places": lambda y: jnp.pad(y, ((0, 0), (1, 2), (0, 0)), constant_values=0.5),
    "reversed places": lambda y: y[:, ::-1],
    "concatenated places": lambda y: jnp.concatenate([y, 2 * y], 1),
    "transposed": lambda y: y.transpose(2, 0, 1).transpose(1, 2, 0),
    "merged places": lambda y: y.reshape(10, 6),
    "split places": lambda y: y[:, :4].reshape(2, 2, 1, 2, 6),
    "squeezed": lambda y: y[:, None].squeeze(1),
    "broadcast": lambda y: jnp.broadcast_to(y[:, :, None], (2, 5, 2, 6)),
    "jit": jax.jit(jnp.tanh),
    "remat": jax.checkpoint(lambda y: jnp.sin(jnp.sin(y))),
    "own gradient": with_own_gradient,
    "vmap": jax.vmap(lambda y: y - y.sum(0)),
    "loop": lambda y: lax.scan(lambda h, row: (jnp.tanh(h + row),) * 2, jnp.zeros((2, 6)), y.swapaxes(0, 1))[1],
    "loop backwards": lambda y: lax.scan(lambda h, r: (h / 2 + r, h), y[:, 0], y.swapaxes(0, 1), reverse=True)[1],
    "reversed channels": lambda y: y[..., ::-1][..., ::-1],
    "split channels": lambda y: jnp.concatenate(jnp.split(y, 3, -1), -1),
    "padded channels": lambda y: jnp.pad(y, ((0, 0), (0, 0), (2, 1)))[..., 2:8],
    "taken channels": lambda y: jnp.take(y, jnp.array([5, 4, 3, 2, 1, 0]), -1)[..., ::-1],
}  # fmt: skip

MIXING = {
    "layer norm": lambda y: jax.nn.standardize(y),
    "softmax of channels": jax.nn.softmax,
    "cumulative channels": lambda y: lax.cumsum(y, 2),
    "sorted channels": lambda y: jnp.sort(y, 2),
    "fourier transform": lambda y: jnp.fft.fft(y).real,
    "branches": lambda y: lax.cond(y.sum() > 0, lambda y: y, lambda y: -y, y),
    "loop of unknown length": lambda y: lax.while_loop(lambda y: y.sum() > 1, lambda y: y / 2, y),
    "scatter": lambda y: y.at[:, 0].add(y.sum((1, 2), keepdims=True)[:, 0]),
}


@pytest.mark.parametrize("name", PASSING)
def test_channels_pass(name):
    fn, params, x = between(PASSING[name])
    compacted = compact(fn, params, x)
    assert compacted.params["w"].shape == (3, 4) and compacted.params["o"].shape == (4, 3)
    assert compacted.difference < 1e-6


@pytest.mark.parametrize("name", MIXING)
def test_mixed_channels_stay(name):
    fn, params, x = between(MIXING[name])
    compacted = compact(fn, params, x)
    assert compacted.params["w"].shape == (3, 6)
    assert compacted.difference < 1e-6


def convolution(**settings):
    return lambda x, kernel: lax.conv_general_dilated(
        x, kernel, **{"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC, **settings}
    )


# settings of a convolution of 6 channels, the shape of its kernel, and that of the compact one
CONVOLUTIONS = {
    "plain": (dict(), (3, 3, 6, 4), (3, 3, 4, 2)),
    "strided": (dict(window_strides=(2, 1), padding="VALID"), (3, 3, 6, 4), (3, 3, 4, 2)),
    "dilated": (dict(rhs_dilation=(2, 2)), (3, 3, 6, 4), (3, 3, 4, 2)),
    "transposed": (dict(lhs_dilation=(2, 2), padding=((1, 2), (1, 2))), (3, 3, 6, 4), (3, 3, 4, 2)),
    "depthwise": (dict(feature_group_count=6), (3, 3, 1, 12), (3, 3, 1, 4)),
    "grouped": (dict(feature_group_count=3), (1, 1, 2, 6), (1, 1, 2, 4)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name):
    """Of the input channels 1 and 4 are read with zeros, and of the outputs the first half only is used."""
    settings, shape, expected = CONVOLUTIONS[name]
    params = {"w": normal(2, 6), "k": normal(*shape), "o": normal(shape[-1], 2)}
    if name in ("depthwise", "grouped"):
        params["o"][4:] = 0
    else:
        params["k"][:, :, DEAD] = 0
        params["o"][2:] = 0
    fn = lambda p, x: convolution(**settings)(jnp.tanh(x @ p["w"]), p["k"]) @ p["o"]  # noqa: E731
    compacted = compact(fn, params, normal(2, 5, 4, 2))
    assert compacted.params["k"].shape == expected and compacted.difference < 1e-6
    assert compacted.params["w"].shape == (2, expected[2] if expected[2] > 2 else {"depthwise": 2, "grouped": 4}[name])


def test_other_layouts_of_a_convolution():
    params = {"w": normal(6, 2), "k": normal(4, 6, 3)}
    params["k"][:, DEAD] = 0

    def fn(p, x):
        y = jnp.einsum("oc,bct->bot", p["w"], x)
        return lax.conv_general_dilated(y, p["k"], (1,), "SAME", dimension_numbers=("NCH", "OIH", "NCH"))

    compacted = compact(fn, params, normal(2, 2, 5))
    assert compacted.params["w"].shape == (4, 2) and compacted.params["k"].shape == (4, 4, 3)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_constant_channels_are_folded_exactly_next_to_borders(padding):
    """Channels 0 to 2 are made by zeros; what is left of them is a bias, and, where there is padding, a frame."""
    params = {"w": normal(2, 6), "b": normal(6), "k": normal(3, 3, 6, 4)}
    params["w"][:, :3] = 0
    fn = lambda p, x: convolution(padding=padding)(jax.nn.sigmoid(x @ p["w"] + p["b"]), p["k"])  # noqa: E731
    compacted = compact(fn, params, normal(2, 5, 4, 2))
    assert compacted.params["k"].shape == (3, 3, 3, 4) and compacted.params["b"].shape == (3,)
    assert compacted.difference < 1e-6
    larger = normal(3, 7, 6, 2)  # the frame depends on the size
    np.testing.assert_allclose(compacted.fn(compacted.params, larger), fn(params, larger), atol=2e-5)


@pytest.mark.parametrize("heads_first", [True, False])
def test_heads(heads_first):
    """A head leaves whole where an axis is split into heads and features, and so does a feature of all heads."""
    params = {"w": normal(3, 6), "o": normal(6, 2)}
    rows = np.arange(6).reshape(3, 2)
    params["o"][rows[1] if heads_first else rows[:, 1]] = 0

    def fn(p, x):
        y = (x @ p["w"]).reshape(2, 5, 3, 2)
        weights = jax.nn.softmax(jnp.ones((2, 3, 5, 5)), -1)
        return jnp.einsum("bhst,bthd->bshd", weights, y).reshape(2, 5, 6) @ p["o"]

    compacted = compact(fn, params, normal(2, 5, 3))
    assert compacted.params["w"].shape == (3, 4 if heads_first else 3) and compacted.difference < 1e-6


def test_concatenated_channels_are_told_apart():
    params = {"a": normal(3, 4), "b": normal(3, 5), "o": normal(9, 2)}
    params["o"][[1, 5, 6]] = 0
    fn = lambda p, x: jnp.concatenate([x @ p["a"], jnp.tanh(x @ p["b"])], -1) @ p["o"]  # noqa: E731
    compacted = compact(fn, params, normal(2, 3))
    shapes = {name: leaf.shape for name, leaf in compacted.params.items()}
    assert shapes == {"a": (3, 3), "b": (3, 3), "o": (6, 2)}


def test_recurrent_units_leave():
    params = {"w": normal(3, 16), "u": normal(4, 16), "o": normal(4, 2)}
    params["u"][2] = params["o"][2] = 0

    def step(p, carry, row):
        h, c = carry
        i, f, g, o = jnp.split(row @ p["w"] + h @ p["u"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), h

    def fn(p, x):
        start = (jnp.zeros((2, 4)),) * 2
        return lax.scan(lambda carry, row: step(p, carry, row), start, x)[1] @ p["o"]

    compacted = compact(fn, params, normal(7, 2, 3))
    shapes = {name: leaf.shape for name, leaf in compacted.params.items()}
    assert shapes == {"w": (3, 12), "u": (3, 12), "o": (3, 2)} and compacted.difference < 1e-6


def test_looked_up_features_leave():
    params = {"table": normal(7, 6), "o": normal(6, 3)}
    params["o"][DEAD] = 0
    ids = jnp.array([[0, 6, 2]])
    compacted = compact(lambda p, ids: p["table"][ids] @ p["o"], params, ids)
    assert compacted.params["table"].shape == (7, 4)
