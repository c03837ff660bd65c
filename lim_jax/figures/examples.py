"""Figures of examples: targets alone, and beside what a network predicts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lim_jax.figures import color_keys, style
from lim_jax.tasks.base import DenseTask, ImageTask, Task, dense_tasks, image_tasks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST_CELL = 1.5  # inches, of a picture
_TEXT_WIDTH = 1.3  # inches, of the answers to a picture
_LINE_HEIGHT = 0.3  # inches, of an answer
_TITLE_HEIGHT = 0.45  # inches


class _Shown(NamedTuple):
    """What is shown of a task: prepared targets and predictions of all examples, (N, ...)."""

    target: np.ndarray
    prediction: np.ndarray


def target_panel(tasks: Mapping[str, Task], examples: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """Draws a row per example: the image, then the target of every task.

    Args:
      tasks: by name.
      examples: `{"image": uint8 (H, W, 3), "targets": {task: array}}` by what is written above the image.
    """
    from matplotlib.figure import Figure

    columns = 1 + len(tasks)
    figure = Figure(figsize=(1.7 * columns, 1.7 * len(examples) + 0.3), layout="constrained")
    all_axes = figure.subplots(len(examples), columns, squeeze=False)
    for row, (title, example) in zip(all_axes, examples.items(), strict=True):
        pictures = {title: example["image"]}
        for name, task in tasks.items():
            target = np.asarray(task.prepare_target(example["targets"][name][None]))[0]
            pictures[name] = task.picture(target)
        for axes, (title, picture) in zip(row, pictures.items(), strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(title, fontsize=style.SMALL)
            axes.set_axis_off()
    return figure


def prediction_panel(
    tasks: Mapping[str, Task], batch: Mapping[str, Any], predictions: Mapping[str, np.ndarray]
) -> "Figure":
    """Draws a row per example: the image, then target and prediction of every task; below it, what colours mean.

    Args:
      tasks: by name.
      batch: `{"image": uint8 (N, H, W, 3), "targets": {task: array (N, ...)}}`.
      predictions: `Task.predict`'s results for that batch, by task.
    """
    dense, answers = dense_tasks(tasks), image_tasks(tasks)
    images = np.asarray(batch["image"])
    shown = {
        name: _Shown(np.asarray(task.prepare_target(batch["targets"][name])), np.asarray(predictions[name]))
        for name, task in tasks.items()
    }
    legends = [task.legend(*shown[name]) for name, task in dense.items()]
    widths, row_height = _sizes(images.shape[1] / images.shape[2], len(dense), len(answers))
    heights = [_TITLE_HEIGHT + len(images) * row_height, *(color_keys.height(legend) for legend in legends)]
    figure = style.figure(max(sum(widths), 3.3), sum(heights), padding=0.02)
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    all_axes = parts[0].subplots(len(images), len(widths), squeeze=False, width_ratios=widths)
    _write_titles(all_axes, list(dense))
    for row, image in enumerate(images):
        _draw_pictures(all_axes[row], image, [(task, _of_row(shown[name], row)) for name, task in dense.items()])
        _write_answers(all_axes[row][-1], [(task, _of_row(shown[name], row)) for name, task in answers.items()])
    for part, legend in zip(parts[1:], legends, strict=True):
        color_keys.draw(part, legend)
    return figure


def _sizes(shape: float, dense: int, answers: int) -> tuple[list[float], float]:
    """Returns the widths of the columns and the height of a row, in inches.

    Args:
      shape: an image's height over its width.
      dense, answers: number of tasks.
    """
    text_width = _TEXT_WIDTH if answers else 0.0
    pictures = 1 + 2 * dense
    cell = min((style.WIDTH - text_width) / pictures, _LARGEST_CELL)
    return [cell] * pictures + [text_width] * bool(answers), max(cell * shape, _LINE_HEIGHT * answers)


def _of_row(shown: _Shown, row: int) -> _Shown:
    return _Shown(shown.target[row], shown.prediction[row])


def _write_titles(all_axes: np.ndarray, names: Sequence[str]) -> None:
    titles = ["image", *(f"{name},\n{which}" for name in names for which in ("target", "prediction"))]
    for axes, title in zip(all_axes[0], titles, strict=False):
        axes.set_title(title, loc="center", fontsize=style.SMALL)
    for axes in all_axes.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)


def _draw_pictures(row: Sequence["Axes"], image: np.ndarray, shown: Sequence[tuple[DenseTask, _Shown]]) -> None:
    pictures = [image, *(task.picture(values) for task, both in shown for values in both)]
    for axes, picture in zip(row, pictures, strict=False):
        axes.imshow(picture, interpolation="nearest")


def _write_answers(axes: "Axes", shown: Sequence[tuple[ImageTask, _Shown]]) -> None:
    """Writes target and prediction of each task, in vermilion where they differ."""
    for line, (task, (target, prediction)) in enumerate(shown):
        answer = task.caption(prediction).removeprefix(f"{task.spec.name}: ")
        axes.text(
            0,
            1 - line / len(shown),
            f"{task.caption(target)}\n  predicted {answer}",
            va="top",
            fontsize=style.SMALL,
            color=style.VERMILION if task.is_wrong(target, prediction) else "black",
        )
