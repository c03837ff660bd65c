"""The figures of a run and of a compaction, as PNG files: plain data in, files out."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lim_jax.figures import compaction, confusion, curves, examples, style
from lim_jax.tasks.base import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(
    directory: pathlib.Path,
    *,
    tasks: Mapping[str, Task],
    history: curves.History,
    layers: compaction.Layers,
    batch: Mapping[str, Any],
    predictions: Mapping[str, np.ndarray],
    details: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[pathlib.Path]:
    """Writes all figures of a run.

    Args:
      directory: made if needed; figures that are already there are replaced.
      tasks: the run's tasks by name.
      history: the run's history, at least one record.
      layers: `{layer: {"groups": n, "zero_groups": n}}`, the counts that `results.json` holds.
      batch: the examples to show, `{"image": uint8 (N, H, W, 3), "targets": {task: array (N, ...)}}`; N of 3 to 6 is
        good.
      predictions: `Task.predict`'s results for that batch, by task.
      details: `Task.details` on the test split, of the tasks that have any.

    Returns:
      The files written.
    """
    figures: dict[str, Callable[[], Figure]] = {
        "losses": lambda: curves.loss_curves(tasks, history),
        "metrics": lambda: curves.metric_curves(tasks, history),
        "sparsity": lambda: curves.sparsity_curves(history),
        "groups": lambda: compaction.groups_per_layer(layers),
        "speed": lambda: curves.speed_curves(history),
        "predictions": lambda: examples.prediction_panel(tasks, batch, predictions),
    }
    for name, found in (details or {}).items():
        figures[f"confusion_{name}"] = functools.partial(confusion.confusion_matrix, name, found)
    return [write(directory / f"{name}.png", draw) for name, draw in figures.items()]


def write_compaction(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes the figure of a compaction, given the content of `compact.json`."""
    write(path, lambda: compaction.compaction_panel(content))


def write(path: pathlib.Path, draw: "Callable[[], Figure]") -> pathlib.Path:
    """Writes the figure that `draw` draws, and returns its path; the folder is made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with style.context():
        draw().savefig(path)
    return path
