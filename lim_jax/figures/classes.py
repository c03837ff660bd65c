"""How well each class of a segmentation is found, and what it is taken for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lim_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINE = 0.16  # inches, of a class


def class_scores(confusion: np.ndarray, names: Sequence[str]) -> "Figure":
    """Draws the IoU of every class that occurs, the most frequent first, with its share of the pixels.

    Args:
      confusion: counts (classes, classes), of pixels by target (row) and prediction (column).
      names: of the classes.
    """
    order = _by_frequency(confusion)
    right = np.diagonal(confusion)[order]
    labelled, predicted = confusion.sum(axis=1)[order], confusion.sum(axis=0)[order]
    iou = right / np.maximum(labelled + predicted - right, 1)
    figure = style.figure(4.5, 0.9 + _LINE * len(order))
    axes = figure.subplots()
    bars = axes.barh(range(len(order)), iou, color=style.BLUE)
    shares = 100 * labelled / max(labelled.sum(), 1)
    axes.bar_label(bars, [f"{v:.2f} ({s:.2g} % of pixels)" for v, s in zip(iou, shares, strict=True)], padding=2)
    for text in axes.texts:
        text.set_fontsize(style.SMALL)
    axes.set_yticks(range(len(order)), [names[index] for index in order])
    axes.set(xlim=(0, 1.45), xticks=np.linspace(0, 1, 6), ylim=(len(order) - 0.4, -0.6), xlabel="IoU")
    axes.set_title(f"mean over {len(order)} classes: {iou.mean():.3f}")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return figure


def confusion_matrix(confusion: np.ndarray, names: Sequence[str]) -> "Figure":
    """Draws what the pixels of each class that occurs are taken for, in shares of the class; see `class_scores`."""
    rows = _by_frequency(confusion)
    columns = [*rows, *(i for i in np.flatnonzero(confusion.sum(axis=0)).tolist() if i not in rows)]
    shares = confusion[rows][:, columns] / np.maximum(confusion.sum(axis=1)[rows, None], 1)
    side = min(max(2.4 + _LINE * len(columns), 4.0), style.WIDTH)
    figure = style.figure(side, max(1.4 + _LINE * len(rows), 3.0))
    axes = figure.subplots()
    picture = axes.imshow(shares, vmin=0, vmax=1, cmap="viridis", interpolation="nearest", aspect="auto")
    axes.set_xticks(range(len(columns)), [names[index] for index in columns], rotation=90)
    axes.set_yticks(range(len(rows)), [names[index] for index in rows])
    axes.set(xlabel="predicted", ylabel="target, the most frequent first")
    axes.grid(visible=False)
    figure.colorbar(picture, ax=axes, label="share of the target's pixels", shrink=0.6)
    return figure


def _by_frequency(confusion: np.ndarray) -> list[int]:
    labelled = confusion.sum(axis=1)
    return [index for index in np.argsort(-labelled, kind="stable").tolist() if labelled[index] > 0]
