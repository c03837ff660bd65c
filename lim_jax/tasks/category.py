"""One of several classes for the whole image, such as the weather."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.tasks import confusion, cross_entropy
from lim_jax.tasks.base import ImageTask, Metric, Metrics, Sums
from lim_jax.tasks.palette import INVALID_COLOR, class_colors
from lim_jax.tasks.sums import count, ratio


@dataclasses.dataclass(frozen=True)
class CategoryTask(ImageTask):
    """Cross entropy; examples without the label (-1) count nowhere.

    Metrics, over the examples of the split that have the label, fractions of 1:
      accuracy: share of right answers.
      balanced_accuracy: share of right answers of each class, then the mean over the classes that occur.
      macro_f1: 2 tp / (2 tp + fp + fn) of each class, then the mean over the classes that occur.
    """

    loss_label: ClassVar[str] = "cross entropy"
    metric_info: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric("accuracy", "fraction", True),
        "balanced_accuracy": Metric("accuracy, class mean", "fraction", True),
        "macro_f1": Metric("F1, class mean", "fraction", True),
    }
    is_continuous: ClassVar[bool] = False
    prediction_meaning: ClassVar[str] = "index into `classes`"
    logits_meaning: ClassVar[str] = "logits, one per class; the largest is the class"

    @property
    def num_outputs(self) -> int:
        return len(self.spec.class_names)

    @property
    def meaning(self) -> str:
        return "class index"

    @property
    def prediction_range(self) -> tuple[float, float]:
        return 0, self.num_outputs - 1

    def loss(self, logits: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Cross entropy summed over the examples that have the label; see `Task.loss`."""
        valid, losses = target >= 0, cross_entropy.losses(logits, target)
        return jnp.sum(jnp.where(valid, losses, 0)), count(valid).astype(jnp.float32)

    def metrics(self, logits: jax.Array, target: jax.Array) -> Sums:
        """Examples per target and answer; see `Task.metrics`."""
        return {"confusion": confusion.counts(target, self.activate(logits), self.num_outputs)}

    def summarize(self, sums: Mapping[str, np.ndarray]) -> Metrics:
        """See the class docstring for what each metric is, `Task.summarize` for the contract."""
        classes = confusion.per_class(sums["confusion"])
        return {
            "accuracy": ratio(classes.hits.sum(), classes.labelled.sum()),
            "balanced_accuracy": classes.mean(classes.hits, classes.labelled),
            "macro_f1": classes.mean(2 * classes.hits, classes.labelled + classes.answered),
        }

    def details(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns the share of right answers per class, and how often each is taken for which; see `Task.details`."""
        classes = confusion.per_class(sums["confusion"])
        scores = {"class_accuracy": (classes.hits, classes.labelled)}
        return confusion.details(self.spec.class_names, sums["confusion"], **scores)

    def activate(self, logits: jax.Array) -> jax.Array:
        """Returns class indices, uint8 (B,)."""
        return jnp.argmax(logits, axis=-1).astype(jnp.uint8)

    def caption(self, values: np.ndarray) -> str:
        """Names one class; see `ImageTask.caption`."""
        index = int(values)
        return f"{self.spec.name}: {'not labelled' if index < 0 else self.spec.class_names[index]}"

    def background(self, values: np.ndarray) -> tuple[int, int, int]:
        """The class's colour, pale; grey for unlabelled; see `ImageTask.background`."""
        if int(values) < 0:
            return INVALID_COLOR
        red, green, blue = (int(channel) // 3 + 170 for channel in class_colors(self.num_outputs)[int(values)])
        return red, green, blue

    def is_wrong(self, target: np.ndarray, prediction: np.ndarray) -> bool:
        """Returns whether the answer is not the label; see `ImageTask.is_wrong`."""
        return bool(target >= 0 and prediction != target)

    def file_notes(self) -> dict[str, Any]:
        """See `Task.file_notes`; also the names of the classes."""
        return super().file_notes() | {"class_names": self.spec.class_names}

    def export_notes(self, decoded: bool) -> dict[str, Any]:
        """See `Task.export_notes`; also the names of the classes."""
        return super().export_notes(decoded) | {"classes": list(self.spec.class_names)}

    def deviation(self, found: np.ndarray, logits: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        """Returns how much less than the largest logit the chosen class's is; see `Task.deviation`."""
        del image_size
        chosen = np.take_along_axis(logits, found[..., None].astype(int), axis=-1)[..., 0]
        return logits.max(axis=-1) - chosen

    def baseline_statistics(self, target: jax.Array) -> Sums:
        """Counts the examples of each class."""
        return {"labelled": jnp.sum(confusion.counts(target, jnp.maximum(target, 0), self.num_outputs), axis=0)}

    def baseline_logits(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
        """The class frequencies, a thousandth at least: what only the test split has does not ruin the loss."""
        labelled = np.asarray(sums["labelled"], np.float64)
        frequency = labelled / labelled.sum() if labelled.any() else np.full(self.num_outputs, 1 / self.num_outputs)
        return np.log(np.maximum(frequency, 1e-3)).astype(np.float32)
