"""Small networks of other people's making."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class ResNet(nn.Module):
    """Two residual blocks with batch norm, a depthwise convolution, group norm."""

    @nn.compact
    def __call__(self, x, train=False):
        def norm(x):
            return nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)

        x = nn.relu(norm(nn.Conv(8, (3, 3), strides=2, use_bias=False)(x)))
        for _ in range(2):
            y = nn.relu(norm(nn.Conv(8, (3, 3), use_bias=False)(x)))
            x = nn.relu(x + norm(nn.Conv(8, (3, 3), use_bias=False)(y)))
        x = nn.Conv(8, (3, 3), feature_group_count=8)(x)
        x = nn.GroupNorm(2)(nn.Conv(8, (1, 1))(x))
        return nn.Dense(4)(x.mean((1, 2)))


class Transformer(nn.Module):
    """One block with heads and an MLP."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8)(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x))
        x = x + nn.Dense(8)(nn.gelu(nn.Dense(12)(nn.RMSNorm()(x))))
        return nn.Dense(3)(x[:, 0])


def apply_mlp(params, x):
    """A plain MLP with a residual connection."""
    x = jax.nn.relu(x @ params["w1"] + params["b1"])
    x = x + jax.nn.relu(x @ params["w2"] + params["b2"]) @ params["w3"]
    return x @ params["w4"]


def mlp_params(key):
    """Its parameters: 3 inputs, 6 channels, 7 hidden ones, 2 outputs."""
    shapes = {"w1": (3, 6), "b1": (6,), "w2": (6, 7), "b2": (7,), "w3": (7, 6), "w4": (6, 2)}
    keys = jax.random.split(key, len(shapes))
    return {name: jax.random.normal(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=True)}


def randomized(variables, key):
    """Returns variables with random values, variances positive."""
    flat, treedef = jax.tree_util.tree_flatten_with_path(variables)
    keys = jax.random.split(key, len(flat))
    leaves = [jax.random.normal(k, leaf.shape) * 0.3 for k, (_, leaf) in zip(keys, flat, strict=True)]
    leaves = [
        jnp.abs(leaf) + 0.5 if path[-1].key == "var" else leaf for leaf, (path, _) in zip(leaves, flat, strict=True)
    ]
    return jax.tree.unflatten(treedef, leaves)
