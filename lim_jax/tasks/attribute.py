"""A binary attribute of the whole image, such as "smiling"."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.tasks.base import ImageTask, Metric, Metrics, Sums
from lim_jax.tasks.palette import INVALID_COLOR
from lim_jax.tasks.sums import count, ratio

_LIGHT, _DARK = (230, 230, 230), (40, 40, 40)


@dataclasses.dataclass(frozen=True)
class AttributeTask(ImageTask):
    """Binary cross entropy; examples without the label (-1) count nowhere.

    Metrics, over the examples of the split that have the label, fractions of 1:
      accuracy: the paper's. Share of right answers.
      f1: 2 tp / (2 tp + fp + fn) of the positive class; None when it neither occurs nor is predicted.

    Attributes:
      double_sigmoid: do what the paper's code does: the loss takes the sigmoid of the head's sigmoid, and the
        answer is yes above a probability of 0.4. The default takes one sigmoid, and 0.5.
    """

    double_sigmoid: bool = False
    loss_label: ClassVar[str] = "binary cross entropy"
    metric_info: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric("accuracy", "fraction", True),
        "f1": Metric("F1", "fraction", True),
    }
    prediction_meaning: ClassVar[str] = "probability that the image has the attribute"
    logits_meaning: ClassVar[str] = "logits; the sigmoid is the probability that the image has the attribute"

    @classmethod
    def settings_from(cls, config: Any) -> dict[str, Any]:
        """Returns `double_sigmoid`; see `Task.settings_from`."""
        return {"double_sigmoid": config.published.double_sigmoid}

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def meaning(self) -> str:
        return f"probability; above {self.threshold:g} the answer is yes"

    @property
    def prediction_range(self) -> tuple[float, float]:
        return 0.0, 1.0

    @property
    def threshold(self) -> float:
        """The probability above which the answer is yes."""
        return 0.4 if self.double_sigmoid else 0.5

    def loss(self, logits: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Binary cross entropy summed over the examples that have the label; see `Task.loss`."""
        logit, valid = logits[:, 0].astype(jnp.float32), target >= 0
        if self.double_sigmoid:
            logit = jax.nn.sigmoid(logit)
        losses = jax.nn.softplus(logit) - logit * target
        return jnp.sum(jnp.where(valid, losses, 0)), count(valid).astype(jnp.float32)

    def metrics(self, logits: jax.Array, target: jax.Array) -> Sums:
        """The four counts of the confusion matrix; see `Task.metrics`."""
        answer = jax.nn.sigmoid(logits[:, 0]) > self.threshold
        positive, negative = target == 1, target == 0
        return {
            "true_positives": count(answer & positive),
            "false_positives": count(answer & negative),
            "false_negatives": count(~answer & positive),
            "true_negatives": count(~answer & negative),
        }

    def summarize(self, sums: Mapping[str, np.ndarray]) -> Metrics:
        """See the class docstring for what each metric is, `Task.summarize` for the contract."""
        hits, rejections = sums["true_positives"], sums["true_negatives"]
        errors = sums["false_positives"] + sums["false_negatives"]
        return {
            "accuracy": ratio(hits + rejections, hits + rejections + errors),
            "f1": ratio(2 * hits, 2 * hits + errors),
        }

    def activate(self, logits: jax.Array) -> jax.Array:
        """Returns the probability of the attribute, float32 (B,)."""
        return jax.nn.sigmoid(logits[:, 0])

    def caption(self, values: np.ndarray) -> str:
        """Puts one probability, or one target, into words."""
        value = float(values)
        if value < 0:
            return f"{self.spec.name}: not labelled"
        answer = "yes" if value > self.threshold else "no"
        return f"{self.spec.name}: {answer}" if value in (0, 1) else f"{self.spec.name}: {answer} ({value:.2f})"

    def record(self, values: np.ndarray) -> dict[str, Any]:
        """Returns the answer and its probability; see `ImageTask.record`."""
        answer = "yes" if float(values) > self.threshold else "no"
        return {self.spec.name: answer, f"{self.spec.name}_probability": round(float(values), 6)}

    def background(self, values: np.ndarray) -> tuple[int, int, int]:
        """Light for yes, dark for no, grey for unlabelled; see `ImageTask.background`."""
        if float(values) < 0:
            return INVALID_COLOR
        return _LIGHT if float(values) > self.threshold else _DARK

    def is_wrong(self, target: np.ndarray, prediction: np.ndarray) -> bool:
        """Returns whether the answer is not the label; see `ImageTask.is_wrong`."""
        return bool(target >= 0 and (prediction > self.threshold) != target)

    def export_notes(self, decoded: bool) -> dict[str, Any]:
        """See `Task.export_notes`; it also says from which probability on the answer is yes."""
        return super().export_notes(decoded) | {"yes_above_probability": self.threshold}

    def baseline_statistics(self, target: jax.Array) -> Sums:
        """Counts positive and labelled examples."""
        return {"positive": count(target == 1), "labelled": count(target >= 0)}

    def baseline_logits(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
        """The majority's answer, at the logit that no constant beats in cross entropy.

        With `double_sigmoid` at a firm ±7, because the frequency itself may lie on the other side of 0.4.
        """
        share = ratio(sums["positive"], sums["labelled"])
        if share is None:
            logit = 0.0
        elif self.double_sigmoid:
            logit = 7.0 if share >= 0.5 else -7.0
        else:
            share = min(max(share, 1e-3), 1 - 1e-3)
            logit = np.log(share / (1 - share))
        return np.array([logit], np.float32)
