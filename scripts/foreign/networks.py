"""Networks that are not ours, from several libraries, as functions of parameters and inputs."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

PyTree = Any
Case = tuple[Callable[..., Any], PyTree, jax.Array]  # function, parameters, input


class ResNet(nn.Module):
    """A ResNet for classification, arXiv 1512.03385, that strides in its 3×3 convolutions, of Flax's modules."""

    stages: tuple[int, ...]
    bottleneck: bool
    width: int = 64
    classes: int = 1000

    @nn.compact
    def __call__(self, x):
        def conv(x, features, size, strides=1):
            x = nn.Conv(features, (size, size), strides, use_bias=False)(x)
            return nn.BatchNorm(use_running_average=True)(x)

        x = nn.max_pool(nn.relu(conv(x, self.width, 7, 2)), (3, 3), (2, 2), "SAME")
        for stage, repeats in enumerate(self.stages):
            inner = self.width * 2**stage
            outer = 4 * inner if self.bottleneck else inner
            for index in range(repeats):
                strides = 2 if stage and not index else 1
                if self.bottleneck:
                    y = nn.relu(conv(nn.relu(conv(x, inner, 1)), inner, 3, strides))
                    y = conv(y, outer, 1)
                else:
                    y = conv(nn.relu(conv(x, inner, 3, strides)), outer, 3)
                x = nn.relu(y + (x if x.shape == y.shape else conv(x, outer, 1, strides)))
        return nn.Dense(self.classes)(x.mean((1, 2)))


class MobileNetV2(nn.Module):
    """Inverted residuals: 1×1 to more channels, depthwise 3×3, 1×1 to fewer; arXiv 1801.04381, table 2."""

    width: float = 1.0
    stages: tuple[tuple[int, int, int, int], ...] = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    @nn.compact
    def __call__(self, x):
        def conv(x, features, size=1, strides=1, groups=1):
            x = nn.Conv(features, (size, size), strides, use_bias=False, feature_group_count=groups)(x)
            return nn.BatchNorm(use_running_average=True)(x)

        x = nn.relu6(conv(x, int(32 * self.width), 3, 2))
        for expansion, features, repeats, strides in self.stages:
            for index in range(repeats):
                step, wide = strides if index == 0 else 1, x.shape[-1] * expansion
                y = nn.relu6(conv(x, wide)) if expansion > 1 else x
                y = nn.relu6(conv(y, wide, 3, step, groups=wide))
                y = conv(y, int(features * self.width))
                x = x + y if x.shape == y.shape else y
        return nn.Dense(1000)(nn.relu6(conv(x, int(1280 * self.width))).mean((1, 2)))


class UNet(nn.Module):
    """Four levels with skips, group norm, transposed convolutions."""

    width: int = 32

    @nn.compact
    def __call__(self, x):
        def block(x, features):
            for _ in range(2):
                x = nn.relu(nn.GroupNorm(num_groups=None, group_size=1)(nn.Conv(features, (3, 3))(x)))
            return x

        widths = [self.width * 2**level for level in range(4)]
        skips = []
        for features in widths[:-1]:
            skips.append(block(x, features))
            x = nn.max_pool(skips[-1], (2, 2), (2, 2))
        x = block(x, widths[-1])
        for features, skip in zip(widths[-2::-1], skips[::-1], strict=True):
            x = nn.ConvTranspose(features, (2, 2), (2, 2))(x)
            x = block(jnp.concatenate([skip, x], -1), features)
        return nn.Conv(3, (1, 1))(x)


class ViT(nn.Module):
    """A vision transformer, arXiv 2010.11929; the defaults are ViT-S/16."""

    width: int = 384
    depth: int = 12
    heads: int = 6

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(self.width, (16, 16), strides=16)(x)
        x = x.reshape(x.shape[0], -1, self.width)
        x = jnp.concatenate(
            [jnp.zeros_like(x[:, :1]) + self.param("class", nn.initializers.zeros, (self.width,)), x], 1
        )
        x = x + self.param("positions", nn.initializers.normal(0.02), x.shape[1:])
        for _ in range(self.depth):
            x = x + nn.MultiHeadDotProductAttention(self.heads)(nn.LayerNorm()(x))
            x = x + nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(nn.LayerNorm()(x))))
        return nn.Dense(1000)(nn.LayerNorm()(x)[:, 0])


class LSTM(nn.Module):
    """Layers of LSTMs over a sequence, and a classifier of the last state."""

    width: int = 512
    depth: int = 2

    @nn.compact
    def __call__(self, x):
        for _ in range(self.depth):
            x = nn.RNN(nn.OptimizedLSTMCell(self.width))(x)
        return nn.Dense(10)(x[:, -1])


class NNXNet(nnx.Module):
    """Convolutions with residual connections in NNX."""

    def __init__(self, width: int, depth: int, rngs: nnx.Rngs):
        self.stem = nnx.Conv(3, width, (3, 3), strides=2, rngs=rngs)
        self.blocks = nnx.List([(nnx.Conv(width, width, (3, 3), rngs=rngs)) for _ in range(2 * depth)])
        self.norms = nnx.List([nnx.BatchNorm(width, use_running_average=True, rngs=rngs) for _ in range(2 * depth)])
        self.out = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.stem(x))
        for i in range(0, len(self.blocks), 2):
            y = nnx.relu(self.norms[i](self.blocks[i](x)))
            x = nnx.relu(x + self.norms[i + 1](self.blocks[i + 1](y)))
        return self.out(x.mean((1, 2)))


class EquinoxNet(eqx.Module):
    """A convolutional network in Equinox: channels first, one example at a time."""

    layers: list
    out: eqx.nn.MLP

    def __init__(self, width: int, depth: int, key: jax.Array):
        keys = jax.random.split(key, depth + 1)
        widths = [3] + [width * 2 ** min(i, 2) for i in range(depth)]
        self.layers = [
            eqx.nn.Conv2d(a, b, 3, stride=2, padding=1, key=k)
            for a, b, k in zip(widths, widths[1:], keys, strict=False)
        ]
        self.out = eqx.nn.MLP(widths[-1], 10, 2 * width, 2, key=keys[-1])

    def __call__(self, x):
        for layer in self.layers:
            x = jax.nn.gelu(layer(x))
        return self.out(x.mean((1, 2)))


def _linen(model: nn.Module, shape: tuple[int, ...], **kwargs: Any) -> Case:
    x = jax.random.normal(jax.random.key(0), shape)
    variables = jax.jit(functools.partial(model.init, **kwargs))(jax.random.key(1), x)
    return lambda variables, x: model.apply(variables, x, **kwargs), _perturbed(variables), x


def _nnx(width: int, depth: int, shape: tuple[int, ...]) -> Case:
    graph, state = nnx.split(NNXNet(width, depth, nnx.Rngs(0)))
    x = jax.random.normal(jax.random.key(0), shape)
    return lambda state, x: nnx.merge(graph, state)(x), _perturbed(state), x


def _equinox(width: int, depth: int, shape: tuple[int, ...]) -> Case:
    params, static = eqx.partition(EquinoxNet(width, depth, jax.random.key(1)), eqx.is_array)
    x = jax.random.normal(jax.random.key(0), shape)
    return lambda params, x: jax.vmap(eqx.combine(params, static))(x), _perturbed(params), x


def _perturbed(params: PyTree) -> PyTree:
    """Returns parameters whose vectors (scales, biases, statistics) are no longer all zeros or ones."""
    rng = np.random.default_rng(0)

    def moved(leaf: Any) -> Any:
        if leaf.ndim > 1 or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32)

    return jax.tree.map(moved, params)


# The gates of Flax's LSTM are one product, so that a channel leaves when no gate reads it: its groups are coupled.
KINDS = {"LSTM (Linen)": "coupled"}  # others: "input_channels"

# At the size that they are used at, or small enough for a test.
NETWORKS: dict[str, Callable[[bool], Case]] = {
    "ResNet-18 (Linen)": lambda small: _linen(
        ResNet((2, 2, 2, 2), False, 4, 10) if small else ResNet((2, 2, 2, 2), False),
        (2, 32, 32, 3) if small else (1, 224, 224, 3),
    ),
    "ResNet-50 (Linen)": lambda small: _linen(
        ResNet((2, 1), True, 4, 10) if small else ResNet((3, 4, 6, 3), True),
        (2, 32, 32, 3) if small else (1, 224, 224, 3),
    ),
    "MobileNetV2 (Linen)": lambda small: _linen(
        MobileNetV2(0.25, ((1, 16, 1, 1), (3, 24, 2, 2))) if small else MobileNetV2(),
        (2, 16, 16, 3) if small else (1, 224, 224, 3),
    ),
    "U-Net (Linen)": lambda small: _linen(UNet(4 if small else 32), (2, 16, 16, 3) if small else (1, 128, 128, 3)),
    "ViT-S/16 (Linen)": lambda small: _linen(
        ViT(16, 2, 2) if small else ViT(), (2, 32, 32, 3) if small else (1, 224, 224, 3)
    ),
    "LSTM (Linen)": lambda small: _linen(LSTM(8 if small else 512), (2, 5, 3) if small else (1, 64, 128)),
    "residual network (NNX)": lambda small: _nnx(*((8, 2, (2, 12, 12, 3)) if small else (128, 6, (1, 64, 64, 3)))),
    "convolutional network (Equinox)": lambda small: _equinox(
        *((8, 3, (2, 3, 16, 16)) if small else (64, 4, (1, 3, 128, 128)))
    ),
}
