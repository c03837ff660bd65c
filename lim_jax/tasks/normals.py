"""Surface normals: one unit vector per pixel."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.tasks.base import DenseTask, Metric, Metrics, Sums
from lim_jax.tasks.legends import ColorKey, Entry
from lim_jax.tasks.sums import count, histogram, histogram_median, ratio

ERRORS = {"cosine": "1 − cosine", "l1": "absolute error"}  # and how they are called
ANGLES = {"within_11.25": 11.25, "within_22.5": 22.5, "within_30": 30.0}
_MEDIAN_BINS = 36000  # of 0.005 degrees
_SHORTEST = 1e-4  # predictions shorter than this are not stretched further, which bounds the gradient
_SHOWN_DIRECTIONS = {
    "up": (0, 0, 1),
    "down": (0, 0, -1),
    "to the camera": (0, -1, 0),
    "to the right": (1, 0, 0),
    "to the left": (-1, 0, 0),
}


@dataclasses.dataclass(frozen=True)
class NormalsTask(DenseTask):
    """1 - cosine between tanh(logits) and the normal, or another error; the length of the prediction does not matter.

    Metrics:
      cosine_similarity: the paper's. Mean over the valid cells of the split, where the loss is.
      angle_mean, angle_median: of the angle between prediction and target in degrees, over the valid pixels
        of the split, at the image's resolution with upsampled predictions; the median from bins of 0.005°.
      within_11.25, within_22.5, within_30: share of those pixels, a fraction of 1, whose angle is smaller.

    Attributes:
      error: how the loss measures errors, one of `ERRORS`: "cosine", or "l1", the sum of the components' differences.
    """

    error: str = "cosine"
    metric_info: ClassVar[Mapping[str, Metric]] = {
        "cosine_similarity": Metric("cosine similarity", "cosine", True),
        "angle_mean": Metric("mean angle", "degrees", False),
        "angle_median": Metric("median angle", "degrees", False),
        "within_11.25": Metric("within 11.25°", "fraction", True),
        "within_22.5": Metric("within 22.5°", "fraction", True),
        "within_30": Metric("within 30°", "fraction", True),
    }
    picture_meaning: ClassVar[str] = "uint8; v / 127.5 - 1 is a component"
    prediction_meaning: ClassVar[str] = "unit vector per pixel, in the camera's frame: x right, y into the scene, z up"
    logits_meaning: ClassVar[str] = (
        "logits of x right, y into the scene, z up; the tanh, upsampled, over its length is the unit vector"
    )

    @classmethod
    def settings_from(cls, config: Any) -> dict[str, Any]:
        """Returns `error`, too; see `DenseTask.settings_from`."""
        return super().settings_from(config) | {"error": config.normals.loss}

    @property
    def loss_label(self) -> str:
        return ERRORS[self.error]

    @property
    def num_outputs(self) -> int:
        return 3

    @property
    def meaning(self) -> str:
        return "unit vectors in the camera's frame: x right, y into the scene, z up"

    @property
    def prediction_range(self) -> tuple[float, float]:
        return -1.0, 1.0

    def loss(self, logits: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Errors summed over the valid cells; see `Task.loss`."""
        logits, cells = self.matched(logits, target)
        if self.error == "l1":
            valid = _is_valid(cells)
            error = jnp.sum(jnp.abs(_direction(jnp.tanh(logits.astype(jnp.float32))) - _direction(cells)), axis=-1)
        else:
            cosine, valid = _cosines(logits, cells)
            error = 1 - cosine
        return jnp.sum(jnp.where(valid, error, 0)), count(valid).astype(jnp.float32)

    def metrics(self, logits: jax.Array, target: jax.Array) -> Sums:
        """Cosines of the cells; angles of the pixels and their histogram; counts. See `Task.metrics`."""
        cosine, cell_valid = _cosines(*self.matched(logits, target))
        prediction = self.predict(logits, (target.shape[1], target.shape[2]))
        valid = _is_valid(target)
        angle = jnp.where(valid, _angle(prediction, target), 0)
        return {
            "cosine": jnp.sum(jnp.where(cell_valid, cosine, 0)),
            "cells": count(cell_valid),
            "angle": jnp.sum(angle),
            "pixels": count(valid),
            "angle_histogram": histogram(angle, valid, 180.0, _MEDIAN_BINS),
            **{name: count(valid & (angle < limit)) for name, limit in ANGLES.items()},
        }

    def summarize(self, sums: Mapping[str, np.ndarray]) -> Metrics:
        """See the class docstring for what each metric is, `Task.summarize` for the contract."""
        return {
            "cosine_similarity": ratio(sums["cosine"], sums["cells"]),
            "angle_mean": ratio(sums["angle"], sums["pixels"]),
            "angle_median": histogram_median(np.asarray(sums["angle_histogram"]), 180.0),
            **{name: ratio(sums[name], sums["pixels"]) for name in ANGLES},
        }

    def activate(self, logits: jax.Array) -> jax.Array:
        """Returns vectors of any length, their components in (-1, 1)."""
        return jnp.tanh(logits)

    def decode(self, values: jax.Array) -> jax.Array:
        """Returns unit normals, float32 (B, height, width, 3)."""
        return _direction(values)

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Draws normals (height, width, 3) as red = x, green = y, blue = z over -1..1; see `Task.picture`.

        An invalid normal (0, 0, 0) comes out as the grey of `INVALID_COLOR` by itself.
        """
        return np.clip(np.asarray(values) * 127.5 + 128, 0, 255).astype(np.uint8)

    def legend(self, *values: np.ndarray) -> ColorKey:
        """Returns a few directions that a surface can face, whatever the values; see `DenseTask.legend`."""
        del values
        return ColorKey(
            tuple(
                Entry(f"normal {where}", self.picture(np.array(normal))) for where, normal in _SHOWN_DIRECTIONS.items()
            )
        )

    def deviation(self, found: np.ndarray, logits: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        """Returns how far the vectors that normals are the directions of would have to move; see `Task.deviation`.

        Where such a vector has hardly any length, rounding decides where the normal points.
        """
        vectors = np.asarray(self.upsampled(jnp.asarray(logits), image_size))
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
        return super().deviation(found, logits, image_size) * np.minimum(lengths, 1)

    def baseline_statistics(self, target: jax.Array) -> Sums:
        """Sums the normals; invalid ones are zero vectors."""
        return {"direction": jnp.sum(target.astype(jnp.float32), axis=(0, 1, 2))}

    def baseline_logits(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
        """The mean direction, which no constant beats in cosine similarity."""
        total = np.asarray(sums["direction"], np.float64)
        length = np.linalg.norm(total)
        return np.arctanh(0.9 * total / length).astype(np.float32) if length else np.zeros(3, np.float32)


def _is_valid(normals: jax.Array) -> jax.Array:
    return jnp.any(normals != 0, axis=-1)


def _direction(vectors: jax.Array) -> jax.Array:
    """Returns the vectors over their lengths; those shorter than `_SHORTEST` over that, so 0 has a gradient."""
    square = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.maximum(square, _SHORTEST**2))


def _cosines(logits: jax.Array, cells: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns (cosine between tanh(logits) and the target at the same places, validity), both (B, h, w)."""
    prediction = _direction(jnp.tanh(logits.astype(jnp.float32)))
    return jnp.sum(prediction * _direction(cells), axis=-1), _is_valid(cells)


def _angle(first: jax.Array, second: jax.Array) -> jax.Array:
    """Returns the angle in degrees between vectors; by atan2, as arccos is inexact for small angles."""
    cross = jnp.linalg.norm(jnp.cross(first, second), axis=-1)
    return jnp.rad2deg(jnp.arctan2(cross, jnp.sum(first * second, axis=-1)))
