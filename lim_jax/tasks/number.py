"""A number for the whole image, such as an age in years."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.tasks.base import ImageTask, Metric, Metrics, Sums
from lim_jax.tasks.palette import INVALID_COLOR
from lim_jax.tasks.sums import count, ratio, root_mean

_TILE = (230, 230, 230)
_HALF = np.uint32(
    0xFFFFF000
)  # the bits of a float32 without the lower half of its mantissa: products of two such are exact
_WRONG = 1.0  # deviations of the training set from which on a prediction counts as wrong in pictures


@dataclasses.dataclass(frozen=True)
class NumberTask(ImageTask):
    """Squared error in units of the training set's standard deviation; examples without a number (NaN) count nowhere.

    The logit is the distance to the training set's mean in that unit, so a new head starts at the mean, and numbers of
    any size train alike.

    Metrics, over the examples of the split that have a number:
      mae: mean absolute error, in the number's unit.
      rmse: root of the mean squared error, likewise.
      r2: 1 - squared error / variance in the split; None where all numbers are the same.

    Attributes:
      mean: of the training set.
      scale: its standard deviation; 0 before `fitted` has seen it.
    """

    mean: float = 0.0
    scale: float = 0.0
    loss_label: ClassVar[str] = "squared error, standardised"
    metric_info: ClassVar[Mapping[str, Metric]] = {
        "mae": Metric("mean error", "the number's unit", False),
        "rmse": Metric("RMSE", "the number's unit", False),
        "r2": Metric("R²", "fraction", True),
    }
    prediction_meaning: ClassVar[str] = "the number"
    logits_meaning: ClassVar[str] = "the number, less the training set's mean, in its standard deviations"

    @property
    def is_fitted(self) -> bool:
        return self.scale > 0

    def fitted(self, sums: Mapping[str, np.ndarray]) -> "NumberTask":
        """Returns the task with mean and standard deviation of the training set; see `Task.fitted`."""
        number = max(float(sums["numbers"]), 1.0)
        mean = float(sums["sum"]) / number
        variance = max(float(np.sum(sums["squares"])) / number - mean**2, 0.0)
        return dataclasses.replace(self, mean=mean, scale=variance**0.5 or 1.0)

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def meaning(self) -> str:
        return f"number in {self.spec.unit}" if self.spec.unit else "number"

    @property
    def prediction_range(self) -> tuple[float, float]:
        return -float("inf"), float("inf")

    def loss(self, logits: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Squared errors summed over the examples with a number; see `Task.loss`."""
        known = jnp.isfinite(target)
        wanted = (jnp.where(known, target, self.mean) - self.mean) / self._unit
        losses = jnp.square(logits[:, 0].astype(jnp.float32) - wanted)
        return jnp.sum(jnp.where(known, losses, 0)), count(known).astype(jnp.float32)

    def metrics(self, logits: jax.Array, target: jax.Array) -> Sums:
        """Sums of errors and, for the variance, of the numbers less the training set's mean; see `Task.metrics`."""
        known = jnp.isfinite(target)
        number = jnp.where(known, target, self.mean)
        error = jnp.where(known, self.activate(logits) - number, 0)
        return {
            "absolute": jnp.sum(jnp.abs(error)),
            "squared": jnp.sum(jnp.square(error)),
            "centred": jnp.sum(number - self.mean),
            "centred_squared": jnp.sum(jnp.square(number - self.mean)),
            "numbers": count(known),
        }

    def summarize(self, sums: Mapping[str, np.ndarray]) -> Metrics:
        """See the class docstring for what each metric is, `Task.summarize` for the contract."""
        number = float(sums["numbers"])
        variance = float(sums["centred_squared"]) - float(sums["centred"]) ** 2 / max(number, 1.0)
        varies = variance > 1e-6 * max(float(sums["centred_squared"]), 1e-30)
        return {
            "mae": ratio(sums["absolute"], number),
            "rmse": root_mean(sums["squared"], number),
            "r2": 1 - float(sums["squared"]) / variance if number and varies else None,
        }

    def activate(self, logits: jax.Array) -> jax.Array:
        """Returns numbers, float32 (B,)."""
        return self.mean + self._unit * logits[:, 0].astype(jnp.float32)

    @property
    def _unit(self) -> float:
        return self.scale or 1.0

    def caption(self, values: np.ndarray) -> str:
        """Shows one number with its unit; see `ImageTask.caption`."""
        value = float(values)
        text = f"{value:.4g} {self.spec.unit}".strip() if np.isfinite(value) else "not labelled"
        return f"{self.spec.name}: {text}"

    def background(self, values: np.ndarray) -> tuple[int, int, int]:
        """Light; grey for unlabelled; see `ImageTask.background`."""
        return _TILE if np.isfinite(float(values)) else INVALID_COLOR

    def is_wrong(self, target: np.ndarray, prediction: np.ndarray) -> bool:
        """Returns whether the prediction is more than a standard deviation away; see `ImageTask.is_wrong`."""
        return bool(np.isfinite(target) and abs(prediction - target) > _WRONG * self._unit)

    def deviation(self, found: np.ndarray, logits: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        """Returns the error of numbers in standard deviations, as logits are; see `Task.deviation`."""
        return super().deviation(found, logits, image_size) / self._unit

    def export_notes(self, decoded: bool) -> dict[str, Any]:
        """See `Task.export_notes`; without a range, and with what makes a number of a logit."""
        notes = {key: value for key, value in super().export_notes(decoded).items() if key != "range"}
        return notes | {"mean": self.mean, "standard_deviation": self._unit, "unit": self.spec.unit}

    def baseline_statistics(self, target: jax.Array) -> Sums:
        """Sums of the numbers and, in three parts, of their squares, exact of one example.

        Numbers that are close together and far from zero, such as dates, would lose their variance in float32.
        """
        known = jnp.isfinite(target)
        number = jnp.where(known, target, 0).astype(jnp.float32)
        high = (number.view(jnp.uint32) & _HALF).view(jnp.float32)
        low = number - high
        squares = jnp.sum(jnp.stack([high * high, 2 * high * low, low * low], axis=-1), axis=0)
        return {"numbers": count(known), "sum": jnp.sum(number), "squares": squares}

    def baseline_logits(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
        """The mean, which no constant beats in squared error."""
        mean = ratio(sums["sum"], sums["numbers"])
        return np.array([0.0 if mean is None else (mean - self.mean) / self._unit], np.float32)
