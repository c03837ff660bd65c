"""Semantic segmentation: one class per pixel."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.data.specs import IGNORE, TargetSpec
from lim_jax.errors import UserError
from lim_jax.runtime.suggestions import nearest
from lim_jax.tasks import class_weights, confusion, cross_entropy
from lim_jax.tasks.base import DenseTask, Metric, Metrics, Sums
from lim_jax.tasks.legends import ColorKey, Entry
from lim_jax.tasks.palette import INVALID_COLOR, class_colors
from lim_jax.tasks.sums import count, ratio

_FEW = 8  # names that a line can list


@dataclasses.dataclass(frozen=True)
class SegmentationTask(DenseTask):
    """Cross entropy with label smoothing; pixels labelled `IGNORE`, or with a class to be ignored, count nowhere.

    Metrics, all fractions of 1:
      iou: the paper's. Per image Σ_c tp / Σ_c (tp + fp + fn) over the valid cells, where the loss is, then
        the mean over the images that have valid cells.
      miou: tp / (tp + fp + fn) per class over the whole split, at the image's resolution with upsampled
        logits, then the mean over the classes that occur in the split's targets.
      pixel_accuracy: share of the split's valid cells that are right, where the loss is.
      pixel_accuracy_full: share of its valid pixels, at the image's resolution with upsampled logits.

    Attributes:
      label_smoothing: the share of each target's probability that is spread over all classes.
      class_weights: by which a pixel's loss counts, by its class; the loss is then the weighted mean. (): all the same.
        "balanced": inversely to how often a class occurs in the train split, once `fitted` has counted.
      focal: γ of the focal loss (Lin et al. 2017): a pixel's loss is multiplied by `(1 - p)^γ`, p being the probability
        of its class. 0: never.
      ignore: names of classes whose pixels count as not labelled.
    """

    label_smoothing: float = 0.1
    class_weights: tuple[float, ...] | str = ()
    focal: float = 0.0
    ignore: tuple[str, ...] = ()
    loss_label: ClassVar[str] = "cross entropy"
    metric_info: ClassVar[Mapping[str, Metric]] = {
        "iou": Metric("IoU, micro", "fraction", True),
        "pixel_accuracy": Metric("pixel accuracy", "fraction", True),
        "miou": Metric("IoU, class mean", "fraction", True),
        "pixel_accuracy_full": Metric("pixel accuracy, full", "fraction", True),
    }
    is_continuous: ClassVar[bool] = False
    prediction_meaning: ClassVar[str] = "index into `classes`, per pixel"
    logits_meaning: ClassVar[str] = "logits, one per class; upsampled, the largest is the class"

    @classmethod
    def settings_from(cls, config: Any) -> dict[str, Any]:
        """Returns `label_smoothing` and the settings under `config.segmentation`; see `DenseTask.settings_from`."""
        own = config.segmentation
        return super().settings_from(config) | {
            "label_smoothing": config.label_smoothing,
            "class_weights": class_weights.parse(own.class_weights),
            "focal": own.focal,
            "ignore": tuple(name.strip() for name in own.ignore.split(",") if name.strip()),
        }

    @classmethod
    def create(cls, spec: TargetSpec, **settings: Any) -> "SegmentationTask":
        """See `Task.create`; raises `UserError` if weights or classes to be ignored are not those of the data set."""
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
        }
        task = cls(spec, **given)
        _check_ignored(task.ignore, spec)
        if task.class_weights and task.is_fitted and len(task.class_weights) != task.num_outputs:
            raise UserError(
                f"config.segmentation.class_weights has {len(task.class_weights)} numbers, but {spec.name} has "
                f"{task.num_outputs} classes: give one for each"
            )
        return task

    @property
    def is_fitted(self) -> bool:
        return self.class_weights != class_weights.BALANCED

    def fitted(self, sums: Mapping[str, np.ndarray]) -> "SegmentationTask":
        """Returns the task with weights that give each class that occurs an equal share; see `Task.fitted`."""
        labelled = np.asarray(sums["labelled"], np.float64)
        return dataclasses.replace(self, class_weights=class_weights.balanced(labelled))

    @property
    def num_outputs(self) -> int:
        return len(self.spec.class_names)

    @property
    def meaning(self) -> str:
        return "class indices"

    @property
    def prediction_range(self) -> tuple[float, float]:
        return 0, self.num_outputs - 1

    def loss(self, logits: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`cross_entropy.losses` summed over valid cells; with weights, their number is the sum of their weights.

        See `Task.loss`.
        """
        logits, labels = self.matched(logits, self._known(target))
        valid = labels != IGNORE
        losses = cross_entropy.losses(logits, labels, smoothing=self.label_smoothing, focal=self.focal)
        if self.class_weights:
            assert not isinstance(self.class_weights, str), "a task that is trained is fitted"
            of_classes = jnp.asarray(class_weights.normalized(self.class_weights))
            weights = jnp.where(valid, of_classes[jnp.where(valid, labels, 0)], 0)
            return jnp.sum(jnp.where(valid, weights * losses, 0)), jnp.sum(weights)
        return jnp.sum(jnp.where(valid, losses, 0)), count(valid).astype(jnp.float32)

    def metrics(self, logits: jax.Array, target: jax.Array) -> Sums:
        """The images' micro IoU, right and valid cells, pixels per target and prediction; see `Task.metrics`."""
        target = self._known(target)
        matched, cells = self.matched(logits, target)
        hits = jnp.sum(jnp.argmax(matched, axis=-1) == cells, axis=(1, 2))
        valid = jnp.sum(cells != IGNORE, axis=(1, 2))
        # Every wrong cell is one false positive and one false negative, so the union is 2 valid - hits.
        image_iou = jnp.where(valid > 0, hits / jnp.maximum(2 * valid - hits, 1), 0)
        prediction = self.predict(logits, (target.shape[1], target.shape[2]))
        return {
            "image_iou": jnp.sum(image_iou),
            "images": count(valid > 0),
            "hits": jnp.sum(hits, dtype=jnp.int32),
            "cells": jnp.sum(valid, dtype=jnp.int32),
            "confusion": confusion.counts(jnp.asarray(target, jnp.uint8), prediction, self.num_outputs),
        }

    def summarize(self, sums: Mapping[str, np.ndarray]) -> Metrics:
        """See the class docstring for what each metric is, `Task.summarize` for the contract."""
        classes = confusion.per_class(sums["confusion"])
        return {
            "iou": ratio(sums["image_iou"], sums["images"]),
            "pixel_accuracy": ratio(sums["hits"], sums["cells"]),
            "miou": classes.mean(classes.hits, classes.union),
            "pixel_accuracy_full": ratio(classes.hits.sum(), classes.labelled.sum()),
        }

    def details(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns the IoU of each class, None where it neither occurs nor is predicted, and the confusion matrix.

        Both are at the image's resolution, rows being labels and columns predictions, in pixels; see `Task.details`.
        """
        classes = confusion.per_class(sums["confusion"])
        return confusion.details(self.spec.class_names, sums["confusion"], class_iou=(classes.hits, classes.union))

    def prepare_target(self, target: jax.Array) -> jax.Array:
        """Returns classes, `IGNORE` where they are to be ignored; see `Task.prepare_target`."""
        return self._known(jnp.asarray(target))

    def _known(self, target: jax.Array) -> jax.Array:
        """Returns targets without the classes that are to be ignored."""
        if not self.ignore:
            return target
        table = np.arange(256, dtype=np.uint8)
        table[[self.spec.class_names.index(name) for name in self.ignore]] = IGNORE
        return jnp.asarray(table)[target]

    def decode(self, values: jax.Array) -> jax.Array:
        """Returns class indices, uint8 (B, height, width): of equal logits the first."""
        # argmax, but as one comparison after the other: XLA's reduction to an index is 11 times as slow on a CPU.
        largest = values[..., 0]
        classes = jnp.zeros(largest.shape, jnp.uint8)
        for index in range(1, self.num_outputs):
            better = values[..., index] > largest
            largest = jnp.where(better, values[..., index], largest)
            classes = jnp.where(better, jnp.uint8(index), classes)
        return classes

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Draws class indices (height, width) in the classes' colours; see `Task.picture`."""
        table = np.full((256, 3), INVALID_COLOR, np.uint8)
        table[: self.num_outputs] = self.colors
        return table[values]

    @property
    def colors(self) -> np.ndarray:
        """Returns uint8 (classes, 3): the data set's colours, or ours where it has none."""
        return np.array(self.spec.colors, np.uint8) if self.spec.colors else class_colors(self.num_outputs)

    def legend(self, *values: np.ndarray) -> ColorKey:
        """Returns the classes in the order of their indices, those in `values` with their pixels, or all."""
        pixels = np.zeros(self.num_outputs, int)
        for shown in values:
            pixels += np.bincount(shown.ravel(), minlength=self.num_outputs)[: self.num_outputs]
        present = np.flatnonzero(pixels) if values else range(self.num_outputs)
        names, colors = self.spec.class_names, self.colors
        entries = tuple(Entry(names[index], colors[index], int(pixels[index])) for index in present)
        return ColorKey(entries, invalid="not labelled, no measurement")

    def file_notes(self) -> dict[str, Any]:
        """See `Task.file_notes`; also the names of the classes."""
        return super().file_notes() | {"class_names": self.spec.class_names}

    def export_notes(self, decoded: bool) -> dict[str, Any]:
        """See `Task.export_notes`; also the names and the colours of the classes."""
        colors = ["#" + bytes(color).hex() for color in self.colors]
        return super().export_notes(decoded) | {"classes": list(self.spec.class_names), "colors": colors}

    def deviation(self, found: np.ndarray, logits: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        """Returns how much less than the largest logit the chosen class's is; see `Task.deviation`.

        Of classes that are equally good, rounding decides which one wins.
        """
        scores = np.asarray(self.upsampled(jnp.asarray(logits), image_size))
        chosen = np.take_along_axis(scores, found[..., None].astype(int), axis=-1)[..., 0]
        return scores.max(axis=-1) - chosen

    def baseline_statistics(self, target: jax.Array) -> Sums:
        """Counts the pixels of each class."""
        known = jnp.asarray(self._known(target), jnp.uint8)
        return {"labelled": jnp.sum(confusion.counts(known, known, self.num_outputs), axis=0)}

    def baseline_logits(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
        """The smoothed class frequencies: the most frequent class wins, and no constant has a lower loss."""
        labelled = np.asarray(sums["labelled"], np.float64)
        uniform = np.full(self.num_outputs, 1 / self.num_outputs)
        if self.class_weights and self.is_fitted:
            labelled = labelled * np.asarray(self.class_weights)
        frequency = labelled / labelled.sum() if labelled.any() else uniform
        smoothed = (1 - self.label_smoothing) * frequency + self.label_smoothing * uniform
        return np.log(np.maximum(smoothed, 1e-9)).astype(np.float32)


def _check_ignored(names: tuple[str, ...], spec: TargetSpec) -> None:
    """Raises `UserError` if one of the classes to be ignored is none, or no other is left."""
    unknown = [name for name in names if name not in spec.class_names]
    if unknown:
        meant, many = nearest(unknown[0], spec.class_names), len(spec.class_names) > _FEW
        known = f"{len(spec.class_names)} classes" if many else ", ".join(spec.class_names)
        hint = f"did you mean {meant!r}?" if meant else f"it has {known}"
        raise UserError(f"config.segmentation.ignore: {spec.name} has no class {unknown[0]!r}: {hint}")
    if set(names) == set(spec.class_names):
        raise UserError(f"config.segmentation.ignore leaves no class of {spec.name}")
