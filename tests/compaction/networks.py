"""Random sparse networks, and a quick way to run them."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from lim_jax import models
from tests.models import reference_weights

SIZE = (41, 57)


def make_model(backbone: str, dtype: str = "float32") -> models.MultiTaskModel:
    """Returns the narrowest network with that backbone and a head of each kind: DeepLabv3, DeepLabv3+, a classifier."""
    heads = {
        "depth": models.head("deeplab", 1, channels=8, dtype=dtype),
        "normals": models.head("deeplab", 3, channels=8, skip_channels=8, dtype=dtype),
        "smiling": models.head("classifier", 1, channels=16, dtype=dtype),
    }
    return models.MultiTaskModel(models.backbone(backbone, 0.05, dtype=dtype), heads)


def random_images(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Returns two normalised images."""
    return rng.standard_normal((2, *size, 3), np.float32)


def random_variables(model: models.MultiTaskModel, rng: np.random.Generator) -> dict[str, Any]:
    """Returns random variables with batch norms that shift in both directions."""
    variables = reference_weights.variables(model, np.zeros((1, *SIZE, 3), np.float32))

    def shift(path, leaf):
        moved = 0.3 * rng.standard_normal(leaf.shape, np.float32)
        return moved if jax.tree_util.keystr(path).endswith(("['bias']", "['mean']")) else leaf

    return jax.tree.map_with_path(shift, variables)


def with_zero_groups(variables: dict[str, Any], rng: np.random.Generator, shares: dict[str, tuple]) -> dict[str, Any]:
    """Zeroes input channels of convolutions.

    Args:
      variables: of a network.
      rng: decides how many, and which.
      shares: a part of the path of a convolution, and the shares of zero groups to choose from; the first that fits.
    """

    def zero(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        choices = next((choices for part, choices in shares.items() if part in name), None)
        if choices is None or not name.endswith("/kernel") or leaf.ndim != 4:
            return leaf
        share = choices[rng.integers(len(choices))]
        return leaf * (rng.random(leaf.shape[2]) >= share)[:, None]

    return variables | {"params": jax.tree.map_with_path(zero, variables["params"])}


def compiled(model: Any, variables: dict[str, Any], images: np.ndarray) -> Callable[..., Any]:
    """Returns the function (variables, images) -> outputs of a module, compiled in a hurry."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    call = jax.jit(model.apply).lower(variables, images).compile(compiler_options=options)
    return lambda *arguments: jax.device_get(call(*arguments))


def run(model: Any, variables: dict[str, Any], images: np.ndarray) -> Any:
    """Returns what a module computes, for networks that run once."""
    return compiled(model, variables, images)(variables, images)


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a tree's leaves by path."""
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
