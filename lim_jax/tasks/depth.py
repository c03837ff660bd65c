"""Depth, relative to the farthest point of the image; `lim_jax.tasks.metres` has it in metres."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.data.specs import TargetSpec
from lim_jax.tasks.base import DenseTask, Metric, Metrics, Sums, Task
from lim_jax.tasks.legends import ColorScale
from lim_jax.tasks.palette import INVALID_COLOR
from lim_jax.tasks.sums import count, histogram, histogram_median, ratio, root_mean

LOWEST = 0.1  # relative depth below this is clipped (as published)
CLIPPED_SHARE = 0.01  # share of an image's valid pixels above which relative depth is clipped (as published)
_HUBER_SHARE = 0.2  # of an image's largest error, where the reverse Huber loss turns from absolute to squared
_SCALE = ColorScale("relative depth (1: the farthest point of the image)", "viridis")
_MEDIAN_BINS = 1000


def _reverse_huber(error: jax.Array) -> jax.Array:
    """Returns |e| up to c, (e² + c²) / 2c above; c is a fifth of each image's largest error (Laina et al. 2016).

    Of an image, not of a batch as published, so that it does not matter which images a device gets.
    """
    size = jnp.abs(error)
    limit = _HUBER_SHARE * jnp.max(jax.lax.stop_gradient(size), axis=(1, 2), keepdims=True)
    limit = jnp.maximum(limit, jnp.finfo(jnp.float32).tiny ** 0.5)
    return jnp.where(size <= limit, size, (jnp.square(error) + jnp.square(limit)) / (2 * limit))


class Error(NamedTuple):
    """A loss of differences (B, h, w), 0 where nothing is valid: its name, and what it is, elementwise, 0 at 0."""

    label: str
    of: Callable[[jax.Array], jax.Array]


ERRORS = {
    "mse": Error("squared error", jnp.square),
    "l1": Error("absolute error", jnp.abs),
    "berhu": Error("reverse Huber loss", _reverse_huber),
}


@dataclasses.dataclass(frozen=True)
class DepthTask(DenseTask):
    """Error between sigmoid(logit) and relative depth, by default squared.

    Relative depth is the depth divided by the image's largest, clipped to [0.1, the image's own 99th
    percentile], both over the image's valid pixels at full resolution. No metric here is in metres.

    Metrics:
      mae: the paper's. Mean absolute error over the valid cells of the split, where the loss is.
      rmse: root of the mean squared error over the valid pixels of the split, at the image's resolution with
        upsampled predictions.

    Attributes:
      target: "relative"; in `metres.MetricDepthTask` "metres".
      error: how the loss measures errors, one of `ERRORS`.
    """

    target: str = "relative"
    error: str = "mse"
    metric_info: ClassVar[Mapping[str, Metric]] = {
        "mae": Metric("MAE", "relative depth", False),
        "rmse": Metric("RMSE", "relative depth", False),
    }
    stored_unit: ClassVar[float | None] = 1 / 65535
    prediction_meaning: ClassVar[str] = "depth of each pixel as a share of the image's largest; not metres"
    logits_meaning: ClassVar[str] = "logits; the sigmoid, upsampled, is the depth as a share of the image's largest"

    @classmethod
    def create(cls, spec: TargetSpec, **settings: Any) -> Task:
        """Returns the task of this kind whose `target` the settings name."""
        if settings.get("target") == "metres":
            from lim_jax.tasks.metres import MetricDepthTask

            return MetricDepthTask(spec, **settings)
        return cls(spec, **settings)

    @classmethod
    def settings_from(cls, config: Any) -> dict[str, Any]:
        """Returns `target` and `error`, in metres the cap, too; see `Task.settings_from`."""
        settings = super().settings_from(config) | {"error": config.depth.loss}
        if config.depth.target == "metres":
            settings |= {"target": "metres", "most": float(config.depth.max)}
        return settings

    @property
    def loss_label(self) -> str:
        return ERRORS[self.error].label

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def meaning(self) -> str:
        return "relative depth, 0 to 1: 1 is the farthest point of the image"

    @property
    def prediction_range(self) -> tuple[float, float]:
        return 0.0, 1.0

    def loss(self, logits: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Errors summed over the valid cells; see `Task.loss`."""
        error, valid = self._errors(logits, self.prepare_target(target))
        return jnp.sum(ERRORS[self.error].of(error)), count(valid).astype(jnp.float32)

    def metrics(self, logits: jax.Array, target: jax.Array) -> Sums:
        """Absolute errors of the cells, squared errors of the pixels, their counts; see `Task.metrics`."""
        depth = relative_depth(target)
        cell_error, cell_valid = self._errors(logits, depth)
        pixel_error = jnp.where(depth > 0, self.predict(logits, (depth.shape[1], depth.shape[2])) - depth, 0)
        return {
            "absolute": jnp.sum(jnp.abs(cell_error)),
            "cells": count(cell_valid),
            "squared": jnp.sum(jnp.square(pixel_error)),
            "pixels": count(depth > 0),
        }

    def summarize(self, sums: Mapping[str, np.ndarray]) -> Metrics:
        """See the class docstring for what each metric is, `Task.summarize` for the contract."""
        return {
            "mae": ratio(sums["absolute"], sums["cells"]),
            "rmse": root_mean(sums["squared"], sums["pixels"]),
        }

    def activate(self, logits: jax.Array) -> jax.Array:
        """Returns relative depth in (0, 1)."""
        return jax.nn.sigmoid(logits)

    def decode(self, values: jax.Array) -> jax.Array:
        """Returns relative depth in (0, 1), float32 (B, height, width)."""
        return values[..., 0]

    def prepare_target(self, target: jax.Array) -> jax.Array:
        """Returns `relative_depth` of the target."""
        return relative_depth(target)

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Draws relative depth (height, width) in the colours of `legend`; see `Task.picture`."""
        return np.where(np.asarray(values)[..., None] > 0, _SCALE.colors(values), np.array(INVALID_COLOR, np.uint8))

    def legend(self, *values: np.ndarray) -> ColorScale:
        """Returns the scale of relative depth, whatever the values; see `DenseTask.legend`."""
        del values
        return _SCALE

    def _errors(self, logits: jax.Array, depth: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns (prediction - prepared target, 0 where invalid; validity), both (B, h, w)."""
        logits, cells = self.matched(logits, depth)
        valid = cells > 0
        return jnp.where(valid, self.activate(logits[..., 0].astype(jnp.float32)) - cells, 0), valid

    def baseline_statistics(self, target: jax.Array) -> Sums:
        """Returns a histogram of relative depth."""
        depth = relative_depth(target)
        return {"histogram": histogram(depth, depth > 0, 1.0, _MEDIAN_BINS)}

    def baseline_logits(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
        """The median, which no constant beats in mean absolute error."""
        median = histogram_median(np.asarray(sums["histogram"]), 1.0)
        return np.array([0.0 if median is None else np.log(median / (1 - median))], np.float32)


def relative_depth(depth: jax.Array) -> jax.Array:
    """Returns the paper's depth target.

    Args:
      depth: (B, H, W) in any unit; 0 (or anything not positive and finite) is invalid.

    Returns:
      float32 (B, H, W): depth over the image's maximum, clipped to [0.1, the image's 99th percentile], where
      depth is valid; 0 where it is not. Percentiles interpolate linearly, as NumPy's do.
    """
    valid = (depth > 0) & jnp.isfinite(depth)
    depth = jnp.where(valid, depth, 0).astype(jnp.float32)
    largest = jnp.max(depth, axis=(1, 2), keepdims=True)
    relative = depth / jnp.where(largest > 0, largest, 1)
    clipped = jnp.minimum(jnp.maximum(relative, LOWEST), _upper_quantile(relative, valid)[:, None, None])
    return jnp.where(valid, clipped, 0)


def _upper_quantile(values: jax.Array, valid: jax.Array) -> jax.Array:
    """Returns (B,): what a `CLIPPED_SHARE` of each image's valid pixels exceed; invalid values must be 0.

    The largest values suffice, which is cheaper than sorting the image.
    """
    pixels = values.shape[1] * values.shape[2]
    needed = min(pixels, int(CLIPPED_SHARE * pixels) + 3)
    largest, _ = jax.lax.top_k(values.reshape(len(values), pixels), needed)
    position = CLIPPED_SHARE * jnp.maximum(jnp.sum(valid, axis=(1, 2)) - 1, 0)  # counted from the largest
    above = jnp.floor(position).astype(jnp.int32)
    indices = jnp.stack([above, jnp.minimum(above + 1, needed - 1)], axis=-1)
    high, low = jnp.moveaxis(jnp.take_along_axis(largest, indices, axis=1), 1, 0)
    return high + (low - high) * (position - above)
