"""Random small programs over the operations that `lim_jax.structure` knows, with random zeros in their parameters."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jax import lax


@dataclasses.dataclass
class Builder:
    """Draws operations one by one; each maps earlier arrays and parameters to a new array."""

    draw: Any
    rng: np.random.Generator
    params: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    shapes: list[tuple[int, ...]] = dataclasses.field(default_factory=list)
    steps: list[Callable[[dict, list], Any]] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def choose(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def param(self, *shape: int, fan: int = 1) -> str:
        """Draws a parameter, parts of which are zero or, sometimes, constant."""
        value = self.rng.normal(size=shape).astype(np.float32) / np.float32(np.sqrt(fan))
        for axis, size in enumerate(shape):
            if self.rng.random() < 0.5:
                value[(slice(None),) * axis + (self.rng.random(size) < 0.5,)] = 0
        if self.rng.random() < 0.1:
            value[...] = 0
        name = f"p{len(self.params):02}"  # in the order of the tree
        self.params[name] = value
        return name

    def add(self, name: str, step: Callable[[dict, list], Any]) -> None:
        shaped = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in self.shapes]
        result = jax.eval_shape(step, self.params, shaped)
        if 0 < result.size <= 512:
            self.shapes.append(result.shape)
            self.steps.append(step)
            self.names.append(name)


def dense(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    width = b.integer(2, 5)
    w, c = b.param(shape[-1], width, fan=shape[-1]), b.param(width)
    b.add("dense", lambda p, v: v[i] @ p[w] + p[c])


def convolution(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    if len(shape) != 4:
        return
    channels = shape[-1]
    groups = b.choose(n for n in {1, 2, channels} if channels % n == 0)
    size, width = b.choose((1, 3)), groups * b.integer(1, 4 // min(groups, 4) + 1)
    padding, lhs_dilation = b.choose(
        (("SAME", (1, 1)), ("VALID", (1, 1)), (((1, 1), (2, 0)), (1, 1)), (((1, 2), (1, 1)), (2, 2)))
    )
    settings = dict(
        window_strides=b.choose(((1, 1), (2, 1))),
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=b.choose(((1, 1), (2, 1))),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    w = b.param(size, size, channels // groups, width, fan=size * channels)
    b.add("convolution", lambda p, v: lax.conv_general_dilated(v[i], p[w], **settings))


def unary(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    fn = b.choose(
        (
            jax.nn.relu,
            jnp.tanh,
            jax.nn.sigmoid,
            jnp.abs,
            jax.nn.gelu,
            lambda x: jnp.exp(-jnp.abs(x)),
            lambda x: x**2 / 9,
        )
    )
    b.add("unary", lambda p, v: fn(v[i]))


def binary(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    j = b.choose(k for k, other in enumerate(b.shapes) if other == shape)
    fn = b.choose(
        (jnp.add, jnp.subtract, lambda x, y: jnp.tanh(x * y), jnp.maximum, lambda x, y: jnp.where(x > y, x, y))
    )
    b.add("binary", lambda p, v: fn(v[i], v[j]))


def affine(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    axis = b.integer(0, len(shape) - 1)
    scale, shift = (b.param(*(n if a == axis else 1 for a, n in enumerate(shape))) for _ in range(2))
    b.add("affine", lambda p, v: v[i] * p[scale] + p[shift])


def normalise(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    axes = tuple(axis for axis in range(len(shape)) if b.draw(st.booleans()))
    scale, shift = b.param(shape[-1]), b.param(shape[-1])
    two_pass = b.draw(st.booleans())

    def step(p, v):
        x = v[i]
        mean = x.mean(axes, keepdims=True)
        var = ((x - mean) ** 2).mean(axes, keepdims=True) if two_pass else (x**2).mean(axes, keepdims=True)
        return (x - mean) * lax.rsqrt(var + 0.1) * p[scale] + p[shift]

    b.add("normalise", step)


def softmax(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    axis = b.integer(0, len(shape) - 1)
    b.add("softmax", lambda p, v: jax.nn.softmax(v[i], axis))


def transpose(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    order = b.draw(st.permutations(range(len(shape))))
    b.add("transpose", lambda p, v: v[i].transpose(order))


def reshape(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    axis = b.integer(0, len(shape) - 1)
    if b.draw(st.booleans()) and axis + 1 < len(shape):
        new = (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
    else:
        factor = b.choose(n for n in (1, 2, 3, 4) if shape[axis] % n == 0)
        new = (*shape[:axis], factor, shape[axis] // factor, *shape[axis + 1 :])
    if len(new) <= 5:
        b.add("reshape", lambda p, v: v[i].reshape(new))


def reduce(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    axis, keep = b.integer(0, len(shape) - 1), b.draw(st.booleans())
    fn = b.choose((jnp.sum, jnp.mean, jnp.max, jnp.min, jnp.prod))
    if len(shape) > 2 or keep:
        b.add("reduce", lambda p, v: jnp.tanh(fn(v[i], axis=axis, keepdims=keep)))


def along(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    axis = b.integer(0, len(shape) - 1)
    fn = b.choose(
        (
            lambda x: lax.cumsum(x, axis) / 3,
            lambda x: lax.cummax(x, axis),
            lambda x: jnp.sort(x, axis),
            lambda x: jnp.flip(x, axis),
            lambda x: lax.top_k(x, min(2, x.shape[-1]))[0],
        )
    )
    b.add("along", lambda p, v: fn(v[i]))


def concatenate(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    axis = b.integer(0, len(shape) - 1)

    def others(s):
        return (len(s), s[:axis], s[axis + 1 :])

    j = b.choose(k for k, other in enumerate(b.shapes) if others(other) == others(shape))
    b.add("concatenate", lambda p, v: jnp.concatenate([v[i], v[j]], axis))


def cut(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    axis = b.integer(0, len(shape) - 1)
    start, step = b.integer(0, shape[axis] - 1), b.integer(1, 2)
    fn = b.choose(
        (
            lambda x: x[(slice(None),) * axis + (slice(start, None, step),)],
            lambda x: jnp.split(x, [start], axis)[1],
            lambda x: jnp.take(x, jnp.array([start, 0]), axis),
            lambda x: lax.dynamic_slice_in_dim(x, start, 1, axis),
            lambda x: lax.dynamic_update_slice_in_dim(
                x, jnp.ones_like(lax.slice_in_dim(x, 0, 1, axis=axis)), start, axis
            ),
            lambda x: jnp.roll(x, start, axis),
        )
    )
    b.add("cut", lambda p, v: fn(v[i]))


def pad(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    axis, value = b.integer(0, len(shape) - 1), b.choose((0.0, 0.5))
    sizes = [(0, 0, 0)] * len(shape)
    sizes[axis] = (b.integer(-1, 2), b.integer(-1, 2), b.integer(0, 1))
    if shape[axis] > 2:
        b.add("pad", lambda p, v: lax.pad(v[i], value, sizes))


def pool(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    if len(shape) != 4:
        return
    window, padding = (1, b.integer(1, 2), 2, 1), b.choose(("SAME", "VALID"))
    start, fn = b.choose(((0.0, lax.add), (-np.inf, lax.max)))
    b.add("pool", lambda p, v: lax.reduce_window(v[i], start, fn, window, window, padding) / 2)


def attend(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    j = b.choose(k for k, other in enumerate(b.shapes) if other == shape)
    if len(shape) >= 2:
        b.add("attend", lambda p, v: jnp.tanh(jnp.einsum("...ac,...bc->...ab", v[i], v[j])))


def heads(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        return
    q, k, u = (b.param(shape[-1], 2, 3, fan=shape[-1]) for _ in range(3))
    o, c = b.param(2, 3, shape[-1], fan=6), b.param(2, 3)

    def step(p, v):
        query, key, value = (jnp.einsum("bsc,chd->bshd", v[i], p[name]) for name in (q, k, u))
        weights = jax.nn.softmax(jnp.einsum("bshd,bthd->bhst", query + p[c], key))
        return jnp.einsum("bhst,bthd,hdc->bsc", weights, value, p[o])

    b.add("heads", step)


def lookup(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    table = b.param(3, shape[-1])
    ids = b.rng.integers(0, 3, shape[:-1])
    b.add("lookup", lambda p, v: v[i] + p[table][ids])


def unknown(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    fn = b.choose(
        (
            lambda x: lax.cond(x.sum() > 0, lambda y: y + 1, lambda y: y * 2 + x.shape[0] / 2, x),
            lambda x: jnp.fft.irfft(jnp.fft.rfft(x, axis=-1), x.shape[-1], axis=-1),
            lambda x: lax.fori_loop(0, 2, lambda _, y: jnp.tanh(y), x),
            lambda x: x.at[..., 0].add(1.0),
        )
    )
    b.add("unknown", lambda p, v: fn(v[i]))


def recur(b: Builder, i: int, shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        return
    width = b.integer(2, 4)
    w, u, c = b.param(shape[-1], width, fan=shape[-1]), b.param(width, width, fan=width), b.param(width)

    def step(p, v):
        def body(h, x):
            h = jnp.tanh(h @ p[u] + x @ p[w] + p[c])
            return h, h

        return lax.scan(body, jnp.zeros((shape[0], width)), v[i].swapaxes(0, 1))[1].swapaxes(0, 1)

    b.add("recur", step)


OPERATIONS = (
    dense, dense, convolution, convolution, unary, unary, binary, affine, affine, normalise, softmax, transpose,
    reshape, reduce, along, concatenate, cut, pad, pool, attend, heads, lookup, unknown, recur,
)  # fmt: skip


@st.composite
def programs(draw, max_size: int = 9) -> tuple[Callable[..., Any], dict[str, np.ndarray], np.ndarray, list[str]]:
    """Draws `(fn, params, x, names)`: `fn(params, x)`, and the names of its operations for messages."""
    shape = draw(st.sampled_from([(2, 3), (2, 3, 4), (2, 4, 3, 4), (1, 3, 4, 2)]))
    b = Builder(draw, np.random.default_rng(draw(st.integers(0, 2**32 - 1))), shapes=[shape])
    for _ in range(draw(st.integers(1, max_size))):
        recent = len(b.shapes) - 1 - min(b.integer(0, 3), b.integer(0, 3), len(b.shapes) - 1)
        if b.shapes[recent]:
            b.choose(OPERATIONS)(b, recent, b.shapes[recent])
    steps = list(b.steps)
    extra = draw(st.integers(0, len(steps)))

    def fn(params, x):
        values = [x]
        for step in steps:
            values.append(step(params, values))
        return values[-1], values[extra]

    return fn, b.params, b.rng.normal(size=shape).astype(np.float32), b.names
