"""Tasks: what a network learns to predict. One file per kind of task.

    create(spec: TargetSpec, **settings) -> Task             a frozen dataclass: hashable, may be a static argument
    from_config(spec: TargetSpec, config) -> Task            with the settings that the configuration of a run decides

Everything above this package asks a task what it needs to know and never which kind it is. With logits and targets as
`base.Task` and `lim_jax.data.specs` describe them:

    task.spec, task.num_outputs, task.logits_shape((H, W))
    task.head(**settings) -> nn.Module       lim_jax.models.head(head_name, num_outputs=..., **settings)
    task.loss(logits, target) -> (sum, valid_count)          float32 scalars; both 0 when nothing is valid
    task.metrics(logits, target) -> {name: sums}    add up over batches and devices; host: in float64
    task.summarize(sums) -> {metric: float | None}  None: nothing valid defines it
    task.details(sums) -> {...}              what else results.json has of them: per class, a confusion matrix
    task.fitted(sums) -> Task                with what it takes from the train split; `is_fitted` says whether it has
    task.published_metric -> name            the metric of the paper's tables
    task.metric_info -> {name: Metric}       label, unit, higher_is_better; task.loss_label
    task.predict(logits, (H, W)) -> array    classes uint8 (B, H, W), depth (B, H, W),
                                             unit normals (B, H, W, 3) or probability (B,)
    task.prepare_target(target) -> array     the target in the same terms as `predict`'s result
    task.baseline_statistics(target) -> {name: sums}         over the train split, for
    task.baseline_logits(sums) -> float32 (num_outputs,)     the best constant prediction
    task.picture(values) -> uint8 (h, w, 3)  draws one prediction or one prepared target (NumPy)
    task.meaning, .file_notes(), .export_notes(decoded)      what a file of predictions says of itself

A `DenseTask` predicts per pixel: `activate(logits)` and `decode(values)` are the halves of `predict`, before and after
the interpolation; `legend()` says what its colours mean. An `ImageTask` gives one answer per image, shown as
text: `caption`, `background`, `is_wrong`. `dense_tasks` and `image_tasks` pick them out of a mapping.

All but `summarize`, `baseline_logits` and what shows and describes are pure and run on the device; the best constant
prediction goes through `loss` and `metrics` after `np.broadcast_to(constant, logits.shape)`.

To add a task: say in `lim_jax.data.specs` what its target looks like and what marks it as invalid (a kind in `KINDS`,
an array in `TargetSpec.missing`); derive a class from `DenseTask` or `ImageTask` in a new file here, which pyright and
Python hold to its interface; and give it a line in `_TASKS` below. Records, training, evaluation, prediction, figures
and export need nothing more. A data set that has such targets says so in its specs; where mirroring or enlarging an
image changes the numbers of its target, as with normals, `lim_jax.data.augmentation` has to know.
"""

from typing import Any

from lim_jax.data.specs import TargetSpec
from lim_jax.tasks.attribute import AttributeTask
from lim_jax.tasks.base import DenseTask, ImageTask, Metric, Metrics, Sums, Task, dense_tasks, image_tasks
from lim_jax.tasks.category import CategoryTask
from lim_jax.tasks.depth import DepthTask
from lim_jax.tasks.gain import delta_m
from lim_jax.tasks.interpolation import resize_predictions, sample_target
from lim_jax.tasks.metres import MetricDepthTask
from lim_jax.tasks.normals import NormalsTask
from lim_jax.tasks.number import NumberTask
from lim_jax.tasks.segmentation import SegmentationTask

__all__ = [
    "AttributeTask",
    "CategoryTask",
    "DenseTask",
    "DepthTask",
    "ImageTask",
    "Metric",
    "MetricDepthTask",
    "Metrics",
    "NormalsTask",
    "NumberTask",
    "SegmentationTask",
    "Sums",
    "Task",
    "create",
    "delta_m",
    "dense_tasks",
    "from_config",
    "image_tasks",
    "resize_predictions",
    "sample_target",
]

_TASKS: dict[str, type[Task]] = {
    "attribute": AttributeTask,
    "category": CategoryTask,
    "depth": DepthTask,
    "normals": NormalsTask,
    "number": NumberTask,
    "segmentation": SegmentationTask,
}


def create(spec: TargetSpec, **settings: Any) -> Task:
    """Returns the task for a target of this kind; `settings` are the fields of the task's class."""
    return _TASKS[spec.kind].create(spec, **settings)


def from_config(spec: TargetSpec, config: Any) -> Task:
    """Returns the task for a target of this kind, with its settings from the configuration of a run."""
    return create(spec, **_TASKS[spec.kind].settings_from(config))
