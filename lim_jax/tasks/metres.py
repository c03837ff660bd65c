"""Depth in metres."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.tasks.base import Metric, Metrics, Sums
from lim_jax.tasks.depth import DepthTask
from lim_jax.tasks.legends import ColorScale
from lim_jax.tasks.palette import INVALID_COLOR
from lim_jax.tasks.sums import count, histogram, histogram_median, ratio, root_mean

NEAREST = 1e-3  # metres: ratios and logarithms take no prediction as nearer
OVERFLOW = 65535.0  # what 16 bits hold where nothing was measured
DELTAS = {f"delta{i}": 1.25**i for i in (1, 2, 3)}
_SHOWN = 10.0  # metres that a picture tells apart where the depth has no limit
_COUNTED = 100.0  # metres that the histogram for the best constant tells apart where the depth has no limit
_BINS = 2000


@dataclasses.dataclass(frozen=True)
class MetricDepthTask(DepthTask):
    """Error between the logit and the depth in metres.

    A new head starts at the median depth of some training images.

    A pixel without a depth (0, not finite, 65535) or beyond `most` is invalid. Of a network that has a limit,
    predictions are clipped to 1 mm .. `most`; otherwise they are what the head gives.

    Metrics, over the valid pixels of the split at the labels' resolution with upsampled predictions p of depths t:
      abs_err: mean of |p - t|, metres.
      rel_err: mean of |p - t| / t.
      rmse: root of the mean of (p - t)², metres.
      log10: mean of |log₁₀ p - log₁₀ t|, p being 1 mm at least, as in the following ones.
      delta1, delta2, delta3: share of pixels with max(p / t, t / p) < 1.25, 1.25², 1.25³.

    Attributes:
      target: "metres".
      error: how the loss measures errors, one of `depth.ERRORS`.
      most: the largest depth that counts, metres; 0: no limit.
    """

    target: str = "metres"
    most: float = 0.0
    starts_at_constant: ClassVar[bool] = True
    stored_unit: ClassVar[float | None] = 0.001
    metric_info: ClassVar[Mapping[str, Metric]] = {
        "abs_err": Metric("mean error", "m", False),
        "rmse": Metric("RMSE", "m", False),
        "rel_err": Metric("relative error", "relative", False),
        "log10": Metric("log₁₀ error", "relative", False),
        "delta1": Metric("within a factor of 1.25", "fraction", True),
        "delta2": Metric("within 1.25²", "fraction", True),
        "delta3": Metric("within 1.25³", "fraction", True),
    }
    prediction_meaning: ClassVar[str] = "depth of each pixel in metres"
    logits_meaning: ClassVar[str] = "depth in metres, to be upsampled"

    @property
    def meaning(self) -> str:
        return "depth in metres"

    @property
    def prediction_range(self) -> tuple[float, float]:
        return (NEAREST, self.most) if self.most else (-float("inf"), float("inf"))

    def metrics(self, logits: jax.Array, target: jax.Array) -> Sums:
        """Sums of the errors of the valid pixels, and counts; see `Task.metrics`."""
        prediction = self.predict(logits, (target.shape[1], target.shape[2]))
        depth = self.prepare_target(target)
        valid = depth > 0
        depth = jnp.where(valid, depth, 1)
        error = jnp.where(valid, jnp.abs(prediction - depth), 0)
        quotient = jnp.where(valid, jnp.maximum(prediction, NEAREST) / depth, 1)
        factor = jnp.maximum(quotient, 1 / quotient)
        return {
            "absolute": jnp.sum(error),
            "relative": jnp.sum(error / depth),
            "squared": jnp.sum(jnp.square(error)),
            "log10": jnp.sum(jnp.abs(jnp.log10(quotient))),
            "pixels": count(valid),
            **{name: count(valid & (factor < limit)) for name, limit in DELTAS.items()},
        }

    def summarize(self, sums: Mapping[str, np.ndarray]) -> Metrics:
        """See the class docstring for what each metric is, `Task.summarize` for the contract."""
        return {
            "abs_err": ratio(sums["absolute"], sums["pixels"]),
            "rmse": root_mean(sums["squared"], sums["pixels"]),
            "rel_err": ratio(sums["relative"], sums["pixels"]),
            "log10": ratio(sums["log10"], sums["pixels"]),
            **{name: ratio(sums[name], sums["pixels"]) for name in DELTAS},
        }

    def activate(self, logits: jax.Array) -> jax.Array:
        """Returns metres, as they are."""
        return logits

    def decode(self, values: jax.Array) -> jax.Array:
        """Returns metres, float32 (B, height, width)."""
        return jnp.clip(values[..., 0], NEAREST, self.most) if self.most else values[..., 0]

    def prepare_target(self, target: jax.Array) -> jax.Array:
        """Returns metres, float32 (B, H, W), 0 where they are invalid."""
        depth = jnp.asarray(target, jnp.float32)
        valid = (depth > 0) & jnp.isfinite(depth) & (depth != OVERFLOW)
        if self.most:
            valid &= depth <= self.most
        return jnp.where(valid, depth, 0)

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Draws metres (height, width) in the colours of `legend`; see `Task.picture`."""
        drawn = self.legend().colors(values)
        return np.where(np.asarray(values)[..., None] != 0, drawn, np.array(INVALID_COLOR, np.uint8))

    def legend(self, *values: np.ndarray) -> ColorScale:
        """Returns the scale up to the limit, whatever the values; see `DenseTask.legend`."""
        del values
        return ColorScale("depth (m)", "viridis", self.most or _SHOWN)

    def export_notes(self, decoded: bool) -> dict[str, Any]:
        """See `Task.export_notes`; without a limit there is no range."""
        notes = super().export_notes(decoded) | {"unit": "m"}
        return notes if self.most else {key: value for key, value in notes.items() if key != "range"}

    def baseline_statistics(self, target: jax.Array) -> Sums:
        """Returns a histogram of metres."""
        depth = self.prepare_target(target)
        return {"histogram": histogram(depth, depth > 0, self.most or _COUNTED, _BINS)}

    def baseline_logits(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
        """The median, which no constant beats in mean absolute error."""
        median = histogram_median(np.asarray(sums["histogram"]), self.most or _COUNTED)
        return np.array([median or 0.0], np.float32)
