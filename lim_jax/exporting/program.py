"""The function that is exported: images in, predictions out, with all weights as constants of the function.

It is computed as suits each platform that the file is for (`Program.on`).

It computes in float32 whatever the run's dtype: its parameters are float32, results are the most exact ones, and
runtimes for CPUs hardly know bfloat16. Batch norm is folded into the convolutions. On a GPU, products are as precise as
JAX makes them by default.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax import compaction, models
from lim_jax.network import Network
from lim_jax.runtime import platforms

PyTree = Any


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A network for images of one size, and any number of them.

    Called with images (N, H, W, 3) it returns `{task: array}`.

    Attributes:
      network: with batch norm folded, in float32.
      weights: its `{"params"}`, numpy arrays.
      image_size: (height, width).
      normalises: takes uint8 images, 0..255, and normalises them; else float32 images that are normalised already.
      predicts: returns what `Task.predict` does, at the images' size; else the heads' raw logits, as they are.
    """

    network: Network
    weights: PyTree
    image_size: tuple[int, int]
    normalises: bool = True
    predicts: bool = True

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        return self.compute(self.weights, images)

    def on(self, platform: str) -> "Program":
        """Returns the same program, computed as suits a platform."""
        return dataclasses.replace(self, network=self.network.on(platforms.named(platform)))

    def compute(self, weights: PyTree, images: jax.Array) -> dict[str, jax.Array]:
        """Calls the function with weights that are given."""
        normalised: Any = models.normalize_images(images) if self.normalises else jnp.asarray(images)
        logits: Any = self.network.model.apply(weights, normalised, train=False)
        if not self.predicts:
            return logits
        return {name: task.predict(logits[name], self.image_size) for name, task in self.network.tasks.items()}

    def input(self, batch: Any) -> jax.ShapeDtypeStruct:
        """Returns shape and dtype of `batch` images; `batch` may be a symbolic dimension."""
        return jax.ShapeDtypeStruct((batch, *self.image_size, 3), np.uint8 if self.normalises else np.float32)

    @functools.cached_property
    def outputs(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of what it returns for one image."""
        return jax.eval_shape(self.__call__, self.input(1))


def build_program(
    network: Network, variables: PyTree, image_size: tuple[int, int], *, normalises: bool = True, predicts: bool = True
) -> Program:
    """Returns the program of a trained network, dense or compact.

    Args:
      network: as it was trained.
      variables: its `{"params", "batch_stats"}`.
      image_size: (height, width) of the images that the program takes.
      normalises, predicts: attributes of `Program`.
    """
    model, folded = compaction.fold_batch_norm(models.with_dtype(network.model, "float32"), variables)
    return Program(dataclasses.replace(network, model=model), folded, image_size, normalises, predicts)
