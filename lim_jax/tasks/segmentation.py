"""Semantic segmentation: one class per pixel."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.data.specs import IGNORE
from lim_jax.tasks.base import DenseTask, Metric, Metrics, Sums
from lim_jax.tasks.legends import ColorKey, Entry
from lim_jax.tasks.palette import INVALID_COLOR, class_colors
from lim_jax.tasks.sums import count, ratio


@dataclasses.dataclass(frozen=True)
class SegmentationTask(DenseTask):
    """Cross entropy with label smoothing; pixels labelled `IGNORE` count nowhere.

    Metrics, all fractions of 1:
      iou: the paper's. Per image Σ_c tp / Σ_c (tp + fp + fn) over the valid cells, at 1/8 resolution, then
        the mean over the images that have valid cells.
      miou: tp / (tp + fp + fn) per class over the whole split, at the image's resolution with upsampled
        logits, then the mean over the classes that occur in the split's targets.
      pixel_accuracy: share of the split's valid cells that are right, at 1/8 resolution: what the loss trains.
      pixel_accuracy_full: share of its valid pixels, at the image's resolution with upsampled logits.

    Attributes:
      label_smoothing: the share of each target's probability that is spread over all classes.
    """

    label_smoothing: float = 0.1
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
        """Returns `label_smoothing`, too; see `DenseTask.settings_from`."""
        return super().settings_from(config) | {"label_smoothing": config.label_smoothing}

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
        """Cross entropy against `(1 - ε) onehot + ε / classes`, summed over valid cells; see `Task.loss`."""
        logits, labels = self.matched(logits, target)
        valid = labels != IGNORE
        logits = logits.astype(jnp.float32)
        true_logit = jnp.sum(logits * jax.nn.one_hot(labels, self.num_outputs), axis=-1)
        unsmoothed = 1 - self.label_smoothing
        expected_logit = unsmoothed * true_logit + self.label_smoothing * jnp.mean(logits, axis=-1)
        losses = jax.nn.logsumexp(logits, axis=-1) - expected_logit
        return jnp.sum(jnp.where(valid, losses, 0)), count(valid).astype(jnp.float32)

    def metrics(self, logits: jax.Array, target: jax.Array) -> Sums:
        """The images' micro IoU, right and valid cells, pixels per target and prediction; see `Task.metrics`."""
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
            "confusion": self._confusion(target, prediction),
        }

    def summarize(self, sums: Mapping[str, np.ndarray]) -> Metrics:
        """See the class docstring for what each metric is, `Task.summarize` for the contract."""
        confusion = np.asarray(sums["confusion"])
        true_positives, labelled = np.diagonal(confusion), confusion.sum(axis=1)
        occurs = labelled > 0
        union = labelled + confusion.sum(axis=0) - true_positives
        return {
            "iou": ratio(sums["image_iou"], sums["images"]),
            "pixel_accuracy": ratio(sums["hits"], sums["cells"]),
            "miou": float(np.mean(true_positives[occurs] / union[occurs])) if occurs.any() else None,
            "pixel_accuracy_full": ratio(true_positives.sum(), labelled.sum()),
        }

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
        return {"labelled": jnp.sum(self._confusion(target, target), axis=0)}

    def baseline_logits(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
        """The smoothed class frequencies: the most frequent class wins, and no constant has a lower loss."""
        labelled = np.asarray(sums["labelled"], np.float64)
        uniform = np.full(self.num_outputs, 1 / self.num_outputs)
        frequency = labelled / labelled.sum() if labelled.any() else uniform
        smoothed = (1 - self.label_smoothing) * frequency + self.label_smoothing * uniform
        return np.log(np.maximum(smoothed, 1e-9)).astype(np.float32)

    def _confusion(self, target: jax.Array, prediction: jax.Array) -> jax.Array:
        """Returns int32 (classes, classes): how many valid pixels have each target (row) and prediction (column)."""
        pair = target.astype(jnp.int32) * self.num_outputs + prediction
        # IGNORE is larger than any class, so its pairs lie beyond the end and are dropped.
        counts = jnp.zeros(self.num_outputs**2, jnp.int32).at[pair.ravel()].add(1, mode="drop")
        return counts.reshape(self.num_outputs, self.num_outputs)
