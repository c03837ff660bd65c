"""Checks an exported file against the network it came from, on images of several kinds and two sizes of batch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax import models, tasks
from lim_jax.exporting.formats import Run
from lim_jax.exporting.program import Program
from lim_jax.network import Network

PyTree = Any


def differences(program: Program, run: Run, network: Network, weights: PyTree) -> dict[str, float]:
    """Compares a file's outputs with those of the network as it was trained, in float32 with its batch norms.

    Rounding decides which of two equal classes wins, and where a normal points whose vector has hardly any length.
    What counts is therefore how much worse than the best class the chosen one is, and how far the vector that a
    normal is the direction of would have to move.

    Args:
      program: that was exported.
      run: the exported file.
      network: the network that the program was built from.
      weights: its `{"params", "batch_stats"}`.

    Returns:
      By task, the largest difference, as a share of the largest expected number; infinite if shapes or dtypes are
      not those of the program or a number is not finite.
    """
    images = _images(program.image_size)
    exact = Network(models.with_dtype(network.model, "float32"), network.tasks)
    logits = jax.jit(exact.logits)(weights, images)
    given = images if program.normalises else np.asarray(models.normalize_images(jnp.asarray(images)))
    worst = dict.fromkeys(network.tasks, 0.0)
    for batch in (1, len(images)):
        found = run(given[:batch])
        shapes = jax.eval_shape(program, program.input(batch))
        for name, task in network.tasks.items():
            if (found[name].shape, found[name].dtype) != (shapes[name].shape, shapes[name].dtype):
                difference = np.inf
            elif program.predicts:
                difference = _of_predictions(task, found[name], logits[name][:batch], program.image_size)
            else:
                difference = _share(np.abs(found[name] - logits[name][:batch]), logits[name])
            worst[name] = max(worst[name], difference if np.isfinite(difference) else np.inf)
    return worst


def _images(size: tuple[int, int]) -> np.ndarray:
    """Returns three uint8 images: random pixels, random patches, a ramp."""
    rng, (height, width) = np.random.default_rng(0), size
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    coarse = rng.integers(0, 256, (-(-height // 16), -(-width // 16), 3), np.uint8)
    patches = coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    ramp = np.linspace(0, 255, height * width * 3).astype(np.uint8).reshape(height, width, 3)
    return np.stack([noise, patches, ramp])


def _of_predictions(task: tasks.Task, found: np.ndarray, logits: jax.Array, size: tuple[int, int]) -> float:
    if task.spec.kind == "segmentation":
        scores = np.asarray(tasks.resize_predictions(logits, size))
        chosen = np.take_along_axis(scores, found[..., None].astype(int), axis=-1)[..., 0]
        return _share(scores.max(axis=-1) - chosen, scores)
    expected = np.asarray(task.predict(logits, size))
    error = np.abs(found - expected)
    if task.spec.kind == "normals":
        vectors = np.asarray(tasks.resize_predictions(jnp.tanh(logits), size))
        error = error * np.minimum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1)
    return _share(error, expected)


def _share(error: np.ndarray | jax.Array, expected: np.ndarray | jax.Array) -> float:
    return float(np.max(error) / max(float(np.max(np.abs(expected))), 1e-30))
