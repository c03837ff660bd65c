"""How often each class is taken for which, and how well each one is found."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lim_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SCORES = {"class_iou": "IoU", "class_accuracy": "share right"}
_ROW = 0.16  # inches, of a class
_COLUMN = 0.105  # inches, least distance of two numbers below the matrix
_BARS = 1.1  # inches
_LETTER = 0.065  # inches, of a name
_MOST_WRITTEN = 15  # classes: the cells of more are too small for numbers


def confusion_matrix(task: str, details: Mapping[str, Any]) -> "Figure":
    """Draws a confusion matrix, each row as shares of the class's labels, and a bar for the score of each class.

    Classes that are neither labelled nor predicted are left out. Columns have the numbers of the rows' names.

    Args:
      task: its name.
      details: "confusion", counts with a row per label and a column per prediction, and "class_iou" or
        "class_accuracy", `{class: number | None}`, as `results.json` has them.
    """
    key = next(name for name in _SCORES if name in details)
    counts = np.array(details["confusion"], float)
    found = counts.sum(axis=0) + counts.sum(axis=1) > 0
    occurs = np.flatnonzero(found if found.any() else ~found)
    counts, all_names, all_scores = counts[np.ix_(occurs, occurs)], list(details[key]), list(details[key].values())
    names, scores = [f"{all_names[index]}  {index}" for index in occurs], [all_scores[index] for index in occurs]
    label = 0.3 + _LETTER * max(map(len, names), default=0)
    side = min(max(_ROW * len(names), 1.6), style.WIDTH - label - _BARS - 0.3)
    figure = style.figure(side + label + _BARS + 0.3, max(_ROW * len(names), 1.0) + 0.7)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[side, _BARS])
    scale = "" if len(names) <= _MOST_WRITTEN else " (white: 0, darkest: 100)"
    left.set(xlabel="predicted, by number", ylabel="labelled", title=f"{task}: % of each label{scale}")
    _draw_shares(left, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    every = max(int(np.ceil(_COLUMN * len(names) / side)), 1)
    turned = 90 if side / len(names) < 2 * _COLUMN else 0
    left.set_xticks(range(0, len(names), every), [str(index) for index in occurs[::every]], rotation=turned)
    left.set_yticks(range(len(names)), names)
    lengths = [0.0 if score is None else score for score in scores]
    right.barh(range(len(names)), lengths, color=style.BLUE, height=0.7)
    right.set(xlim=(0, 1.5), xticks=(0, 0.5, 1), xlabel=_SCORES[key], title="per class")
    for place, score in enumerate(scores):
        text = "none" if score is None else f"{score:.2f}"
        right.text(lengths[place] + 0.03, place, text, va="center", fontsize=style.SMALL)
    return figure


def _draw_shares(axes: "Axes", shares: np.ndarray) -> None:
    """Draws the shares as colours and, of few classes, as numbers."""
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    if len(shares) <= _MOST_WRITTEN:
        for row, column in np.argwhere(shares >= 0.005):
            ink = "white" if shares[row, column] > 0.6 else "black"
            text = f"{100 * shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=style.SMALL)
