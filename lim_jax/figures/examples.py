"""Figures of examples: targets alone, and beside what a network predicts."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lim_jax.figures import color_keys, regions, style
from lim_jax.tasks.base import DenseTask, ImageTask, Task, dense_tasks, image_tasks
from lim_jax.tasks.legends import ColorKey, ColorScale
from lim_jax.tasks.palette import INVALID_COLOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_LARGEST_CELL = 1.5  # inches, of a picture
_TEXT_WIDTH = 1.3  # inches, of the answers to a picture
_LINE_HEIGHT = 0.3  # inches, of an answer
_TITLE_HEIGHT = 0.45  # inches
_LONG_TITLE = 24  # letters: longer names of files are broken after the folder
_LETTER = 0.62  # of the size of a font: the width of a letter, about
_GREY = "not labelled, no measurement"


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
    columns = 1 + len(tasks)
    targets = {
        name: np.stack([np.asarray(task.prepare_target(e["targets"][name][None]))[0] for e in examples.values()])
        for name, task in tasks.items()
    }
    legends = _legends({name: (task, (targets[name],)) for name, task in dense_tasks(tasks).items()})
    cell = min(style.WIDTH / columns, _LARGEST_CELL)
    height, width = next(iter(examples.values()))["image"].shape[:2]
    figure, part = _with_legends(max(cell * columns, 3.3), (cell * height / width + 0.2) * len(examples), legends)
    all_axes = part.subplots(len(examples), columns, squeeze=False)
    for row, (title, example) in enumerate(examples.items()):
        pictures = {_broken(title): example["image"]}
        pictures |= {name: task.picture(targets[name][row]) for name, task in tasks.items()}
        for axes, (title, picture) in zip(all_axes[row], pictures.items(), strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(title, fontsize=style.SMALL, loc="center")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for axes, (name, task) in zip(all_axes[row][1:], tasks.items(), strict=True):
            if isinstance(task, DenseTask):
                _write_names(axes, targets[name][row], task, cell)
    return figure


def _broken(title: str) -> str:
    """Breaks a file's name after its folder, so that it fits above a picture."""
    folder, slash, name = title.rpartition("/")
    return f"{folder}{slash}\n{name}" if len(title) > _LONG_TITLE and slash else title


def _legends(shown: Mapping[str, tuple[DenseTask, Sequence[np.ndarray]]]) -> list[ColorKey | ColorScale]:
    """Returns what the colours of these pictures mean; what is grey is named if something is."""
    legends: list[ColorKey | ColorScale] = []
    grey = False
    for task, values in shown.values():
        legend = task.legend(*values)
        legends.append(dataclasses.replace(legend, invalid=None) if isinstance(legend, ColorKey) else legend)
        grey |= any((task.picture(one) == INVALID_COLOR).all(-1).any() for value in values for one in value)
    return [*legends, ColorKey((), invalid=_GREY)] if grey else legends


def _with_legends(width: float, height: float, legends: Sequence[ColorKey | ColorScale]) -> "tuple[Figure, SubFigure]":
    """Returns a figure with the legends at its bottom, and its upper part, of so many inches, for the pictures."""
    heights = [height, *(color_keys.height(legend) for legend in legends)]
    figure = style.figure(width, sum(heights), padding=0.02)
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, legend in zip(parts[1:], legends, strict=True):
        color_keys.draw(part, legend)
    return figure, parts[0]


def _write_names(axes: "Axes", values: np.ndarray, task: DenseTask, inches: float) -> None:
    """Writes the names of classes on their larger regions, where they fit in a picture of so many inches."""
    if not task.spec.class_names:
        return
    from matplotlib.patheffects import withStroke

    pixels = values.shape[1] / (72 * inches)  # per point
    for region in regions.find(values, task.spec.class_names):
        if len(region.name) * _LETTER * style.SMALL * pixels <= region.width and style.SMALL * pixels <= region.height:
            text = axes.text(region.x, region.y, region.name, ha="center", va="center", fontsize=style.SMALL)
            text.set_path_effects([withStroke(linewidth=1.5, foreground="white")])


def prediction_panel(
    tasks: Mapping[str, Task],
    batch: Mapping[str, Any],
    predictions: Mapping[str, np.ndarray],
    names: Sequence[str] = (),
) -> "Figure":
    """Draws a row per example: the image, then target and prediction of every task; below it, what colours mean.

    Args:
      tasks: by name.
      batch: `{"image": uint8 (N, H, W, 3), "targets": {task: array (N, ...)}}`.
      predictions: `Task.predict`'s results for that batch, by task.
      names: what is written beside each row.
    """
    dense, answers = dense_tasks(tasks), image_tasks(tasks)
    images = np.asarray(batch["image"])
    shown = {
        name: _Shown(np.asarray(task.prepare_target(batch["targets"][name])), np.asarray(predictions[name]))
        for name, task in tasks.items()
    }
    legends = _legends({name: (task, shown[name]) for name, task in dense.items()})
    widths, row_height = _sizes(images.shape[1] / images.shape[2], len(dense), len(answers))
    figure, part = _with_legends(max(sum(widths), 3.3), _TITLE_HEIGHT + len(images) * row_height, legends)
    all_axes = part.subplots(len(images), len(widths), squeeze=False, width_ratios=widths)
    _write_titles(all_axes, list(dense))
    for row, image in enumerate(images):
        both = [(task, _of_row(shown[name], row)) for name, task in dense.items()]
        _draw_pictures(all_axes[row], image, both, widths[0])
        if names:
            all_axes[row][0].set_ylabel(_fitting(names[row], row_height), fontsize=style.SMALL)
        _write_answers(all_axes[row][-1], [(task, _of_row(shown[name], row)) for name, task in answers.items()])
    return figure


def _fitting(name: str, inches: float) -> str:
    """Breaks the lines of a row's name between words, so that they are no longer than the row is high."""
    letters = max(int(72 * inches / (_LETTER * style.SMALL)), 1)
    return "\n".join(textwrap.fill(line, letters, break_long_words=False) for line in name.splitlines())


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


def _draw_pictures(
    row: Sequence["Axes"], image: np.ndarray, shown: Sequence[tuple[DenseTask, _Shown]], inches: float
) -> None:
    row[0].imshow(image, interpolation="nearest")
    all_values = [(task, values) for task, both in shown for values in both]
    for axes, (task, values) in zip(row[1:], all_values, strict=False):
        axes.imshow(task.picture(values), interpolation="nearest")
        _write_names(axes, values, task, inches)


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
