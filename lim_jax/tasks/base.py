"""The interface of a task, `Task`, and what its two kinds have in common: `DenseTask` and `ImageTask`.

A task is a frozen dataclass built from the `TargetSpec` of its data set. All the code that knows what the
task means lies in the task's own file: which head it takes, how its targets are prepared, its loss, its
metrics, the best constant prediction, and how it is shown and described. `lim_jax.tasks` says how to add one.
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
from lim_jax.tasks.interpolation import (
    OUTPUT_STRIDE,
    SKIP_STRIDE,
    map_shape,
    resize_predictions,
    sample_target,
    stretch,
)
from lim_jax.tasks.legends import ColorKey, ColorScale
from lim_jax.tasks.palette import INVALID_COLOR

Sums = dict[str, jax.Array]
Metrics = dict[str, float | None]

_CELLS = "cell (i, j) is centred on pixel ({0} i, {0} j); predictions are bilinear between cells"
_STRETCHED_CELLS = "the corners' cells lie on the corners' pixels; logits are bilinear between cells"
_WITH_SKIP = "deeplabv3plus"  # of `config.model.head`
_SKIP_SHARE, _LEAST_SKIP = 48 / 256, 8  # channels of the skip: as published, of the head's; at least
_TILE = (48, 144)  # height, width of the picture of an answer
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


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
    """A task: everything that depends on what its target means. Derive new ones from `DenseTask` or `ImageTask`.

    Shapes: B images of H×W pixels; logits are float32 (B, *`logits_shape((H, W))`). Targets are as
    `lim_jax.data.specs` describes them, at full resolution, and carry their own validity: what is invalid counts
    nowhere.

    Attributes:
      spec: the target as the data set describes it.
      head_name: the head of `lim_jax.models` that the task takes unless it is configured.
      loss_label: the loss in words.
      metric_info: the metrics of `summarize`, the published one first.
      starts_at_constant: whether a new head's bias is the best constant prediction, because logits near 0, which all
        others start with, would be far from any target.
      is_continuous: whether predictions are numbers that may be averaged; indices of classes are not.
      picture_meaning: what the numbers of `picture` are, for who reads the file of it.
      stored_unit: what 1 is worth in a 16-bit image of predictions; None: they are no such numbers.
      prediction_meaning: what an exported file's predictions are.
      logits_meaning: what an exported file's logits are, and how predictions are made of them.
    """

    spec: TargetSpec
    head_name: ClassVar[str]
    loss_label: ClassVar[str]
    metric_info: ClassVar[Mapping[str, Metric]]
    starts_at_constant: ClassVar[bool] = False
    is_continuous: ClassVar[bool] = True
    picture_meaning: ClassVar[str] = "colours"
    stored_unit: ClassVar[float | None] = None
    prediction_meaning: ClassVar[str]
    logits_meaning: ClassVar[str]

    @classmethod
    def settings_from(cls, config: Any) -> dict[str, Any]:
        """Returns the fields of the task, apart from `spec`, that the configuration of a run (`Config`) decides."""
        del config
        return {}

    @classmethod
    def create(cls, spec: TargetSpec, **settings: Any) -> "Task":
        """Returns the task with these settings, which may be another class's of the same kind."""
        return cls(spec, **settings)

    @property
    @abc.abstractmethod
    def num_outputs(self) -> int:
        """Number of logits per cell or per image."""

    @property
    @abc.abstractmethod
    def meaning(self) -> str:
        """What the numbers of a prediction are, in words."""

    @property
    @abc.abstractmethod
    def prediction_range(self) -> tuple[float, float]:
        """The smallest and the largest number that a prediction can hold."""

    @property
    def published_metric(self) -> str:
        """The metric of the paper's tables: a key of `summarize`'s result."""
        return next(iter(self.metric_info))

    def head(self, name: str = "", **settings: Any) -> nn.Module:
        """Returns the head of that name, or the task's; `settings` (`channels`, ...) go to `lim_jax.models.head`."""
        from lim_jax import models  # imported late, so that losses and metrics come without the networks

        return models.head(name or self.head_name, num_outputs=self.num_outputs, **settings)

    def head_settings(self, config: Any) -> dict[str, Any]:
        """Returns `head`'s settings for the configuration of a run (`Config`), its name among them."""
        return {"name": self.head_name, "channels": config.model.head_channels, "dtype": config.dtype}

    @abc.abstractmethod
    def logits_shape(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        """Returns the shape of the logits of one image of `(height, width)`."""

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

    def details(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns what `summarize` leaves out of the same sums, JSON-serialisable: figures per class, a confusion."""
        del sums
        return {}

    @property
    def is_fitted(self) -> bool:
        """Whether nothing of the task depends on training examples that it has not seen yet."""
        return True

    def fitted(self, sums: Mapping[str, np.ndarray]) -> "Task":
        """Returns the task with what it takes from training examples, given their `baseline_statistics`."""
        del sums
        return self

    @abc.abstractmethod
    def activate(self, logits: jax.Array) -> jax.Array:
        """Returns the first half of `predict`, which needs no image size: see `DenseTask` and `ImageTask`."""

    @abc.abstractmethod
    def predict(self, logits: jax.Array, image_size: tuple[int, int]) -> jax.Array:
        """Returns predictions in the target's terms, for images of `image_size` = (height, width)."""

    def prepare_target(self, target: jax.Array) -> jax.Array:
        """Returns targets in the terms of `predict`'s result, so that the two can be compared and shown."""
        return jnp.asarray(target)

    @abc.abstractmethod
    def picture(self, values: np.ndarray) -> np.ndarray:
        """Draws one prediction or one prepared target as uint8 (height, width, 3), invalid as `INVALID_COLOR`."""

    @abc.abstractmethod
    def baseline_statistics(self, target: jax.Array) -> Sums:
        """Returns what `baseline_logits` needs to know of the train split, as sums over its batches."""

    @abc.abstractmethod
    def baseline_logits(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns float32 (num_outputs,): the best prediction that does not look at the image.

        Broadcast it to the logits' shape and it goes through `loss` and `metrics` as a network's output does.
        """

    def file_notes(self) -> dict[str, Any]:
        """Returns what a reader of a file of predictions needs to know, by name; strings or tuples of them."""
        return {"meaning": self.meaning}

    def export_notes(self, decoded: bool) -> dict[str, Any]:
        """Returns what the model card of an exported file says of this output, JSON-serialisable.

        Args:
          decoded: whether the file gives `predict`'s results; otherwise it gives logits.
        """
        if decoded:
            return {"meaning": self.prediction_meaning, "range": list(self.prediction_range)}
        return {"meaning": self.logits_meaning}

    def deviation(self, found: np.ndarray, logits: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        """Returns by how much another program's predictions are wrong, at most, in terms of the logits.

        Args:
          found: predictions to check, of the shape of `predict`'s result.
          logits: that they should come from.
          image_size: (height, width) of the images.
        """
        return np.abs(found - np.asarray(self.predict(jnp.asarray(logits), image_size)))


@dataclasses.dataclass(frozen=True)
class DenseTask(Task):
    """A task with a prediction per pixel, from a map of logits (ceil(H/stride), ceil(W/stride), `num_outputs`).

    `predict` has two halves: `activate` makes numbers of the logits, `decode` reads them at the image's size. What is
    interpolated in between depends on where the loss is.

    Attributes:
      loss_resolution: "features": the loss compares each cell with the pixel it is centred on, and predictions are what
        `activate` gives, interpolated. "image": logits are resized to the labels first, their corners on the image's
        corners, for loss, metrics and predictions alike.
      output_stride: pixels of the image per cell of the logits, along one axis.
    """

    loss_resolution: str = "features"
    output_stride: int = OUTPUT_STRIDE
    head_name: ClassVar[str] = "deeplab"

    @classmethod
    def settings_from(cls, config: Any) -> dict[str, Any]:
        """Returns `loss_resolution` and `output_stride`; see `Task.settings_from`."""
        stride = SKIP_STRIDE if config.model.head == _WITH_SKIP else OUTPUT_STRIDE
        return {"loss_resolution": config.loss_resolution, "output_stride": stride}

    @property
    def at_image(self) -> bool:
        """Whether `loss_resolution` is "image"."""
        return self.loss_resolution == "image"

    def matched(self, logits: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns logits and targets (B, ...) at the same places: where the loss is."""
        if self.at_image:
            return stretch(logits, (target.shape[1], target.shape[2])), target
        return logits, sample_target(target, logits, self.output_stride)

    def upsampled(self, logits: jax.Array, image_size: tuple[int, int]) -> jax.Array:
        """Returns what `decode` reads for images of `image_size` = (height, width): (B, height, width, outputs)."""
        if self.at_image:
            return self.activate(stretch(logits, image_size))
        return resize_predictions(self.activate(logits), image_size, self.output_stride)

    def interpolated(self, logits: jax.Array) -> jax.Array:
        """Returns what is interpolated, of the logits' shape; for who interpolates by himself, before `decoded`."""
        return logits if self.at_image else self.activate(logits)

    def decoded(self, values: jax.Array) -> jax.Array:
        """Returns the predictions (B, H, W, ...), given interpolated `interpolated` values (B, H, W, outputs)."""
        return self.decode(self.activate(values) if self.at_image else values)

    def head_settings(self, config: Any) -> dict[str, Any]:
        """See `Task.head_settings`; dropout and skip are configured, too."""
        settings = super().head_settings(config) | {"dropout": config.model.dropout_rate}
        if config.model.head == _WITH_SKIP:
            settings["skip_channels"] = max(round(_SKIP_SHARE * config.model.head_channels), _LEAST_SKIP)
        return settings

    def logits_shape(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        """Returns (ceil(H/stride), ceil(W/stride), `num_outputs`)."""
        return (*map_shape(image_size, self.output_stride), self.num_outputs)

    def predict(self, logits: jax.Array, image_size: tuple[int, int]) -> jax.Array:
        """Returns predictions in the target's terms, upsampled to `image_size` = (height, width)."""
        return self.decode(self.upsampled(logits, image_size))

    def activate(self, logits: jax.Array) -> jax.Array:
        """Returns the numbers that `decode` reads, elementwise, of the logits' shape."""
        return logits

    @abc.abstractmethod
    def decode(self, values: jax.Array) -> jax.Array:
        """Returns the predictions (B, H, W, ...), given `activate`'s numbers at the image's size (B, H, W, outputs)."""

    @abc.abstractmethod
    def legend(self, *values: np.ndarray) -> ColorKey | ColorScale:
        """Returns what the colours of `picture` mean: all of them, or those that matter for `values`.

        Args:
          *values: predictions and prepared targets that are shown, of any shape; none of them: all that there can be.
        """

    def export_notes(self, decoded: bool) -> dict[str, Any]:
        """See `Task.export_notes`; of logits it also says where their cells lie."""
        cells = _STRETCHED_CELLS if self.at_image else _CELLS.format(self.output_stride)
        return super().export_notes(decoded) | ({} if decoded else {"cells": cells})


@dataclasses.dataclass(frozen=True)
class ImageTask(Task):
    """A task with one answer per image, from logits (`num_outputs`,). Answers are shown as text."""

    head_name: ClassVar[str] = "classifier"

    def head_settings(self, config: Any) -> dict[str, Any]:
        """See `Task.head_settings`; which head it is is configured, too."""
        return super().head_settings(config) | {"name": config.model.image_head}

    def logits_shape(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        """Returns (`num_outputs`,); the image's size does not matter."""
        del image_size
        return (self.num_outputs,)

    def predict(self, logits: jax.Array, image_size: tuple[int, int]) -> jax.Array:
        """Returns `activate`'s result; the image's size does not matter."""
        del image_size
        return self.activate(logits)

    @abc.abstractmethod
    def activate(self, logits: jax.Array) -> jax.Array:
        """Returns the predictions, (B, ...)."""

    @abc.abstractmethod
    def caption(self, values: np.ndarray) -> str:
        """Puts one prediction or one target into words: "<name>: <answer>"."""

    @abc.abstractmethod
    def background(self, values: np.ndarray) -> tuple[int, int, int]:
        """Returns the colour (RGB, 0..255) that `caption` is written on; `INVALID_COLOR` for an unlabelled target."""

    def record(self, values: np.ndarray) -> dict[str, Any]:
        """Returns one prediction as columns of a table, by name."""
        return {self.spec.name: self.caption(values).partition(": ")[2]}

    @abc.abstractmethod
    def is_wrong(self, target: np.ndarray, prediction: np.ndarray) -> bool:
        """Returns whether one prediction contradicts its target; an unlabelled one contradicts nothing."""

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Writes `caption` on a tile in the colour `background`; see `Task.picture`."""
        import cv2  # only pictures need it

        color = self.background(values)
        tile = np.full((*_TILE, 3), color, np.uint8)
        ink = _WHITE if is_dark(color) else _BLACK
        for line, text in enumerate(self.caption(values).split(": ")):
            cv2.putText(tile, text, (4, 18 + 20 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, 1, cv2.LINE_AA)
        return tile


def is_dark(color: tuple[int, int, int]) -> bool:
    """Returns whether text on this background (RGB, 0..255) should be light."""
    return max(color) < min(INVALID_COLOR)


def dense_tasks(tasks: Mapping[str, Task]) -> dict[str, DenseTask]:
    """Returns the tasks with a prediction per pixel, by name, in their order."""
    return {name: task for name, task in tasks.items() if isinstance(task, DenseTask)}


def image_tasks(tasks: Mapping[str, Task]) -> dict[str, ImageTask]:
    """Returns the tasks with one answer per image, by name, in their order."""
    return {name: task for name, task in tasks.items() if isinstance(task, ImageTask)}
