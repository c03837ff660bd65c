"""How often each class is taken for which, and how well each one is found."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lim_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCORES = {"class_iou": "IoU", "class_accuracy": "share right"}
_ROW = 0.16  # inches, of a class
_MOST_WRITTEN = 15  # classes: the cells of more are too small for numbers


def confusion_matrix(task: str, details: Mapping[str, Any]) -> "Figure":
    """Draws a confusion matrix, each row as shares of the class's labels, and a bar for the score of each class.

    Args:
      task: its name.
      details: "confusion", counts with a row per label and a column per prediction, and "class_iou" or
        "class_accuracy", `{class: number | None}`, as `results.json` has them.
    """
    key = next(name for name in _SCORES if name in details)
    names, scores = list(details[key]), [0.0 if score is None else score for score in details[key].values()]
    counts = np.array(details["confusion"], float)
    labelled = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(labelled, 1)
    side = max(_ROW * len(names), 1.6)
    label = 0.075 * max(map(len, names))
    figure = style.figure(side + 2 * label + 2.2, side + label + 0.8)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[side, 1.2])
    places = range(len(names))
    left.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    left.set_xticks(places, names, rotation=90, fontsize=style.SMALL)
    left.set_yticks(places, names, fontsize=style.SMALL)
    left.grid(visible=False)
    left.set(xlabel="predicted", ylabel="labelled", title=f"{task}: % of each label")
    if len(names) <= _MOST_WRITTEN:
        for row, column in np.argwhere(shares >= 0.005):
            ink = "white" if shares[row, column] > 0.6 else "black"
            text = f"{100 * shares[row, column]:.0f}"
            left.text(column, row, text, ha="center", va="center", color=ink, fontsize=style.SMALL)
    right.barh(places, scores, color=style.BLUE, height=0.7)
    right.set(xlim=(0, 1.35), xticks=(0, 0.5, 1), xlabel=_SCORES[key], title="per class")
    for place, value in zip(places, details[key].values(), strict=True):
        text = "none" if value is None else f"{value:.2f}"
        right.text(scores[place] + 0.03, place, text, va="center", fontsize=style.SMALL)
    return figure
