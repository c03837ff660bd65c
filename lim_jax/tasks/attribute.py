"""A binary attribute of the whole image, such as "smiling"."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.tasks.base import INVALID_COLOR, Metric, Metrics, Sums, Task, count, ratio

_TILE = (48, 144)  # height, width of a picture


@dataclasses.dataclass(frozen=True)
class AttributeTask(Task):
    """Binary cross entropy; examples without the label (-1) count nowhere.

    Metrics, over the examples of the split that have the label, fractions of 1:
      accuracy: the paper's. Share of right answers.
      f1: 2 tp / (2 tp + fp + fn) of the positive class; None when it neither occurs nor is predicted.

    Attributes:
      double_sigmoid: do what the paper's code does: the loss takes the sigmoid of the head's sigmoid, and the
        answer is yes above a probability of 0.4. The default takes one sigmoid, and 0.5.
    """

    double_sigmoid: bool = False
    head_name: ClassVar[str] = "classifier"
    loss_label: ClassVar[str] = "binary cross entropy"
    metric_info: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric("accuracy", "fraction", True),
        "f1": Metric("F1", "fraction", True),
    }

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def meaning(self) -> str:
        return f"probability; above {self.threshold:g} the answer is yes"

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

    def predict(self, logits: jax.Array, image_size: tuple[int, int]) -> jax.Array:
        """Returns the probability of the attribute, float32 (B,); the image's size does not matter."""
        del image_size
        return jax.nn.sigmoid(logits[:, 0])

    def caption(self, values: np.ndarray) -> str:
        """Puts one probability, or one target, into words."""
        value = float(values)
        if value < 0:
            return f"{self.spec.name}: not labelled"
        answer = "yes" if value > self.threshold else "no"
        return f"{self.spec.name}: {answer}" if value in (0, 1) else f"{self.spec.name}: {answer} ({value:.2f})"

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Writes `caption` on a tile: light for yes, dark for no, grey for unlabelled; see `Task.picture`."""
        import cv2  # only pictures need it

        value = float(values)
        color = INVALID_COLOR if value < 0 else (230,) * 3 if value > self.threshold else (40,) * 3
        tile = np.full((*_TILE, 3), color, np.uint8)
        ink = (255,) * 3 if color[0] < 100 else (0,) * 3
        for line, text in enumerate(self.caption(values).split(": ")):
            cv2.putText(tile, text, (4, 18 + 20 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, 1, cv2.LINE_AA)
        return tile

    def constant_statistics(self, target: jax.Array) -> Sums:
        """Counts positive and labelled examples."""
        return {"positive": count(target == 1), "labelled": count(target >= 0)}

    def constant_logits(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
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
