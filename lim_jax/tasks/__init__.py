"""Tasks: what a network learns to predict. One file per task; `base.py` is what they share.

    create(spec: TargetSpec, **settings) -> Task

makes a frozen dataclass (hashable, so it can be closed over or be a static argument). Settings: `label_smoothing`
(0.1) of a segmentation, `double_sigmoid` (False) of an attribute. With logits and targets as `base.Task` and
`lim_jax.data.specs` describe them:

    task.spec, task.num_outputs, task.meaning
    task.head(**settings) -> nn.Module       lim_jax.models.head(head_name, num_outputs=..., **settings)
    task.loss(logits, target) -> (sum, weight)      float32 scalars; both 0 when nothing is valid
    task.metrics(logits, target) -> {name: sums}    add up over batches and devices; host: in float64
    task.summarize(sums) -> {metric: float | None}  None: nothing valid defines it
    task.published_metric -> name            the metric of the paper's tables
    task.metric_info -> {name: Metric}       label, unit, higher_is_better; task.loss_label
    task.predict(logits, (H, W)) -> array    classes uint8 (B, H, W), relative depth (B, H, W),
                                             unit normals (B, H, W, 3) or probability (B,)
    task.activate(logits), task.decode(values)       the two halves of `predict`, before and after the interpolation
    task.prepare_target(target) -> array     the target in the same terms as `predict`'s result
    task.picture(values) -> uint8 (h, w, 3)  draws one prediction or one prepared target (NumPy)
    task.constant_statistics(target) -> {name: sums}         over the train split, for
    task.constant_logits(sums) -> float32 (num_outputs,)     the best constant prediction

All but `summarize`, `picture` and `constant_logits` are pure and run on the device; the constant prediction goes
through `loss` and `metrics` after `np.broadcast_to(constant, logits.shape)`.
"""

from typing import Any

from lim_jax.data.specs import TargetSpec
from lim_jax.tasks.attribute import AttributeTask
from lim_jax.tasks.base import Metric, Metrics, Sums, Task, resize_predictions, sample_target
from lim_jax.tasks.depth import DepthTask
from lim_jax.tasks.normals import NormalsTask
from lim_jax.tasks.segmentation import SegmentationTask

__all__ = [
    "AttributeTask",
    "DepthTask",
    "Metric",
    "Metrics",
    "NormalsTask",
    "SegmentationTask",
    "Sums",
    "Task",
    "create",
    "resize_predictions",
    "sample_target",
]

_TASKS: dict[str, type[Task]] = {
    "attribute": AttributeTask,
    "depth": DepthTask,
    "normals": NormalsTask,
    "segmentation": SegmentationTask,
}


def create(spec: TargetSpec, **settings: Any) -> Task:
    """Returns the task for a target of this kind; `settings` are the fields of the task's class."""
    return _TASKS[spec.kind](spec, **settings)
