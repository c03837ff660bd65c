"""What every task has in common: its interface, and how 1/8-resolution maps meet full-resolution targets.

A task is a frozen dataclass built from the `TargetSpec` of its data set. All the code that knows what the
task means lies in the task's own file: which head it takes, how its targets are prepared, its loss, its
metrics, the best constant prediction, and a picture of it.

Cell (i, j) of a dense head's output is centred on input pixel (8 i, 8 j), because every stride-2 operation of
the backbone is a 3×3 window with one pixel of padding. So the target of a cell is `target[8 i, 8 j]`
(`sample_target`), and the prediction at pixel (y, x) is the map at (y / 8, x / 8) (`resize_predictions`).
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.data.specs import TargetSpec

OUTPUT_STRIDE = 8

Sums = dict[str, jax.Array]
Metrics = dict[str, float | None]


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is shown to a reader.

    Attributes:
      label: its name in words.
      unit: what its numbers are; metrics of a task with the same unit share an axis.
      higher_is_better: whether large values are good.
    """

    label: str
    unit: str
    higher_is_better: bool


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A task: everything that depends on what its target means.

    Shapes: B images of H×W pixels; dense logits are float32 (B, ceil(H/8), ceil(W/8), `num_outputs`), an
    attribute's (B, 1). Targets are as `lim_jax.data.specs` describes them, at full resolution, and carry
    their own validity: what is invalid counts nowhere.

    Attributes:
      spec: the target as the data set describes it.
      head_name: the head of `lim_jax.models` that the task takes.
      loss_label: the loss in words.
      metric_info: the metrics of `summarize`, the published one first.
    """

    spec: TargetSpec
    head_name: ClassVar[str] = "deeplab"
    loss_label: ClassVar[str]
    metric_info: ClassVar[Mapping[str, Metric]]

    @property
    @abc.abstractmethod
    def num_outputs(self) -> int:
        """Number of logits per cell (dense) or per image (attribute)."""

    @property
    @abc.abstractmethod
    def meaning(self) -> str:
        """What the numbers of a prediction are, in words."""

    @property
    def published_metric(self) -> str:
        """The metric of the paper's tables: a key of `summarize`'s result."""
        return next(iter(self.metric_info))

    def head(self, **settings: Any) -> nn.Module:
        """Returns the task's head; `settings` (`channels`, ...) go to `lim_jax.models.head`."""
        from lim_jax import models  # imported late, so that losses and metrics come without the networks

        return models.head(self.head_name, num_outputs=self.num_outputs, **settings)

    @abc.abstractmethod
    def loss(self, logits: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns (sum of the losses, number of valid pixels or examples), two float32 scalars.

        Both add up over batches and devices; the loss is their quotient. With nothing valid both are 0 and
        the gradient is 0.
        """

    @abc.abstractmethod
    def metrics(self, logits: jax.Array, target: jax.Array) -> Sums:
        """Returns sums that add up over batches and devices; counts are int32, so they are exact."""

    @abc.abstractmethod
    def summarize(self, sums: Mapping[str, np.ndarray]) -> Metrics:
        """Turns the sums of a whole split (accumulate them in float64) into `{metric: number}`.

        A metric that nothing valid defines is None, which JSON writes as null.
        """

    def predict(self, logits: jax.Array, image_size: tuple[int, int]) -> jax.Array:
        """Returns predictions in the target's terms, upsampled to `image_size` = (height, width)."""
        return self.decode(resize_predictions(self.activate(logits), image_size))

    def activate(self, logits: jax.Array) -> jax.Array:
        """Returns what is interpolated between the cells of a dense task, of the logits' shape."""
        return logits

    def decode(self, values: jax.Array) -> jax.Array:
        """Returns the predictions of a dense task, given interpolated `activate` values (B, H, W, outputs)."""
        return values

    def prepare_target(self, target: jax.Array) -> jax.Array:
        """Returns targets in the terms of `predict`'s result, so that the two can be compared and shown."""
        return jnp.asarray(target)

    @abc.abstractmethod
    def picture(self, values: np.ndarray) -> np.ndarray:
        """Draws one prediction or one prepared target as uint8 (height, width, 3), invalid as `INVALID_COLOR`."""

    @abc.abstractmethod
    def constant_statistics(self, target: jax.Array) -> Sums:
        """Returns what `constant_logits` needs to know of the train split, as sums over its batches."""

    @abc.abstractmethod
    def constant_logits(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns float32 (num_outputs,): the best prediction that does not look at the image.

        Broadcast it to the logits' shape and it goes through `loss` and `metrics` as a network's output does.
        """


INVALID_COLOR = (128, 128, 128)


def sample_target(target: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns the pixels of a full-resolution target (B, H, W, ...) on which the logits' cells are centred."""
    sampled = target[:, ::OUTPUT_STRIDE, ::OUTPUT_STRIDE]
    if sampled.shape[:3] != logits.shape[:3]:
        raise ValueError(
            f"logits of shape {logits.shape} do not belong to a target of shape {target.shape}: "
            f"at output stride {OUTPUT_STRIDE} they should start with {sampled.shape[:3]}"
        )
    return sampled


def resize_predictions(maps: jax.Array, image_size: tuple[int, int]) -> jax.Array:
    """Upsamples (B, h, w, C) to (B, H, W, C), bilinear: pixel y reads the map at y / 8, clamped at the border."""
    rows, columns = (
        interpolation_matrix(np.arange(pixels) / OUTPUT_STRIDE, cells)
        for pixels, cells in zip(image_size, maps.shape[1:3], strict=True)
    )
    return interpolate(maps, rows, columns)


def interpolate(maps: jax.Array, rows: jax.Array | np.ndarray, columns: jax.Array | np.ndarray) -> jax.Array:
    """Returns (B, Y, X, C): maps (B, h, w, C) between their cells, by the matrices `rows` (Y, h), `columns` (X, w)."""
    # Full precision: the default on a GPU rounds to 10 bits, which moves class borders.
    precision = jax.lax.Precision.HIGHEST
    tall = jnp.einsum("Yy,byxc->bYxc", rows, maps, precision=precision)
    return jnp.einsum("Xx,bYxc->bYXc", columns, tall, precision=precision)


def interpolation_matrix(positions: np.ndarray, cells: int) -> np.ndarray:
    """Returns float32 (positions, cells): weights that read a row of cells linearly at positions 0..cells - 1.

    Positions before the first cell or after the last one read that cell.
    """
    positions = np.clip(positions, 0, cells - 1)
    distance = np.abs(positions[:, None] - np.arange(cells))
    return np.maximum(1 - distance, 0).astype(np.float32)


def count(condition: jax.Array) -> jax.Array:
    """Returns the number of true entries as an int32 scalar."""
    return jnp.sum(condition, dtype=jnp.int32)


def ratio(numerator: float | np.ndarray, denominator: float | np.ndarray) -> float | None:
    """Returns the quotient as a Python float, None when the denominator is 0."""
    return float(numerator) / float(denominator) if denominator else None


def histogram(values: jax.Array, valid: jax.Array, upper: float, bins: int) -> jax.Array:
    """Counts the valid values in `bins` equal bins of [0, upper], as int32 (bins,)."""
    index = jnp.clip(jnp.floor(values * (bins / upper)).astype(jnp.int32), 0, bins - 1)
    return jnp.zeros(bins, jnp.int32).at[index.ravel()].add(valid.ravel().astype(jnp.int32))


def histogram_median(counts: np.ndarray, upper: float) -> float | None:
    """Returns the median of what `histogram` counted, interpolated inside its bin; None if that is nothing."""
    cumulative = np.cumsum(counts, dtype=np.float64)
    half = cumulative[-1] / 2
    if not half:
        return None
    index = int(np.searchsorted(cumulative, half))
    before = cumulative[index - 1] if index else 0.0
    return float((index + (half - before) / counts[index]) * upper / len(counts))
