"""Checks an exported file against the network it came from, on images of several kinds and two sizes of batch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax import models, tasks
from lim_jax.errors import UserError
from lim_jax.exporting.formats import Run
from lim_jax.exporting.program import Program
from lim_jax.network import Network
from lim_jax.runtime import platforms

PyTree = Any


def differences(program: Program, run: Run, network: Network, variables: PyTree) -> dict[str, float]:
    """Compares a file's outputs with those of the network as it was trained, in float32 with its batch norms.

    Rounding decides which of two equal classes wins, and where a normal points whose vector has hardly any length.
    What counts is therefore how much worse than the best class the chosen one is, and how far the vector that a
    normal is the direction of would have to move. Neither that nor sigmoid or tanh make an error of the logits larger.

    On the CPU, whatever else there is: a GPU's matrix products round to 10 bits unless told otherwise.

    Args:
      program: that was exported.
      run: the exported file.
      network: the network that the program was built from.
      variables: its `{"params", "batch_stats"}`.

    Returns:
      By task, the largest difference, as a share of the largest logit; infinite if shapes or dtypes are not those of
      the program or a number is not finite.
    """
    exact = Network(models.with_dtype(network.model, "float32"), network.tasks).on(platforms.named("cpu"))
    images = _images(program.image_size)
    given = images if program.normalises else np.asarray(models.normalize_images(jnp.asarray(images)))
    worst = dict.fromkeys(network.tasks, 0.0)
    with jax.default_device(_cpu()):
        logits = jax.device_get(jax.jit(exact.logits)(variables, images))
        for batch in (1, len(images)):
            found = run(given[:batch])
            for name, task in network.tasks.items():
                difference, wanted = np.inf, program.outputs[name]
                if (found[name].shape, found[name].dtype) == ((batch, *wanted.shape[1:]), wanted.dtype):
                    error = _error(task, program, found[name], logits[name][:batch])
                    difference = float(np.max(error) / _scale(task, program, logits[name]))
                worst[name] = max(worst[name], difference if np.isfinite(difference) else np.inf)
    return worst


def _cpu() -> Any:
    try:
        return jax.devices("cpu")[0]
    except RuntimeError as error:
        raise UserError(
            "exported files are checked on the CPU, which JAX_PLATFORMS excludes: add ,cpu to it"
        ) from error


def _images(size: tuple[int, int]) -> np.ndarray:
    """Returns three uint8 images: random pixels, random patches, a ramp."""
    rng, (height, width) = np.random.default_rng(0), size
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    coarse = rng.integers(0, 256, (-(-height // 16), -(-width // 16), 3), np.uint8)
    patches = coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    ramp = np.linspace(0, 255, height * width * 3).astype(np.uint8).reshape(height, width, 3)
    return np.stack([noise, patches, ramp])


def _error(task: tasks.Task, program: Program, found: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Returns by how much each number found is wrong, in terms of the logits."""
    if not program.predicts:
        return np.abs(found - logits)
    return task.deviation(found, logits, program.image_size)


def _scale(task: tasks.Task, program: Program, logits: np.ndarray) -> float:
    """Returns what errors are a share of: the largest logit, or 1 if that is more and predictions are of that size."""
    bounded = program.predicts and task.is_continuous
    return max(float(np.max(np.abs(logits))), 1.0 if bounded else 1e-30)
