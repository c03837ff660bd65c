"""The figures of a sweep over λ: performance, sparsity, latency, and sparsity over the epochs (figure 3 of the paper).

All are as wide as a column of a page of two. Bars are one standard deviation to each side.
"""

import csv
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lim_jax.figures import style
from sweeps.rows import Row, value
from sweeps.series import Series
from sweeps.tables import Signs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 3.4  # inches
_LETTER = 0.06  # inches, of a label
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
_SPARSITY = {"group_percent": "groups", "parameter_percent": "parameters"}


def performance(found: Series, signs: Signs, units: Mapping[str, Mapping[str, Any]], which: str) -> "Figure":
    """Draws each metric over λ, a panel each, with the dense network's dashed (figure 3a).

    Args:
      found: the rows to show.
      signs: the metrics to show, by task.
      units: `Sweep.metrics`.
      which: results, as of `rows.of`.
    """
    panels = [(task, metric) for task in found.rows[0].tasks for metric in signs.get(task, {})]
    figure = style.figure(COLUMN, 1.15 * len(panels) + 0.5 + _turned_height(found))
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (task, metric), color in zip(all_axes, panels, style.COLORS * 9, strict=False):
        numbers = [row.metric(task, metric, which).values() for row in found.rows]
        _curve(axes, found, numbers, color, "")
        if found.rows[0].is_dense and (dense := value(numbers[0])):
            axes.axhline(dense.mean, color="0.4", linewidth=0.8, linestyle="--")
        label = units[task][metric]["label"]
        axes.set_title(f"{task}: {label} ({'higher' if signs[task][metric] else 'lower'} is better)")
    _name_places(all_axes[-1], found)
    return figure


def sparsity(found: Series) -> "Figure":
    """Draws the shares of zero groups and parameters over λ (figure 3b)."""
    figure = style.figure(COLUMN, 2.3 + _turned_height(found))
    axes = figure.subplots()
    for index, (key, label) in enumerate(_SPARSITY.items()):
        _curve(axes, found, [row.sparsity(key).values() for row in found.rows], style.COLORS[index], label, index)
    axes.set(ylim=(-3, 103), ylabel="zero in the backbone (%)")
    _name_places(axes, found)
    style.legend_above(figure, axes, 2)
    return figure


def latency(found: Series, costs: Sequence[Mapping[str, Any] | None]) -> "Figure":
    """Draws the latency of the backbone over λ, with zeros stored and with them removed (figure 3d).

    Args:
      found: the rows.
      costs: of each row, as `lim_jax.prediction.costs.measured` returns them; None: nothing to measure.
    """
    figure = style.figure(COLUMN, 2.3 + _turned_height(found))
    axes = figure.subplots()
    for index, (form, label) in enumerate((("dense", "zeros stored"), ("compact", "zeros removed"))):
        numbers = [[one["latency_ms"][form]] if one else [] for one in costs]
        _curve(axes, found, numbers, style.COLORS[index], label, index)
    axes.set(ylabel="backbone, one image (ms)")
    axes.set_ylim(0, None)
    _name_places(axes, found)
    style.legend_above(figure, axes, 2)
    return figure


def over_epochs(found: Series, histories: Sequence[Sequence[tuple[int, float]]]) -> "Figure":
    """Draws the share of zero groups over the epochs, a line for each λ (figure 3c).

    Args:
      found: the rows.
      histories: of each row, what `zero_groups` returns of a run.
    """
    figure = style.figure(COLUMN, 2.6)
    axes = figure.subplots()
    shown = [(label, points) for label, points in zip(found.labels, histories, strict=True) if points]
    for index, (label, points) in enumerate(shown):
        epochs, percents = zip(*points, strict=True)
        axes.plot(
            epochs,
            percents,
            color=style.COLORS[index % len(style.COLORS)],
            linestyle=_DASHES[index % len(_DASHES)],
            marker=_MARKERS[index % len(_MARKERS)] if len(epochs) < 12 else "",
            label=label,
        )
    axes.set(ylim=(-3, 103), ylabel="zero groups (%)", xlabel="epoch")
    style.whole_epochs(axes, max((points[-1][0] for _, points in shown), default=1))
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=3 if found.is_curve else 1,
        title=found.axis,
        title_fontsize=style.SMALL,
    )
    return figure


def zero_groups(workdir: pathlib.Path) -> list[tuple[int, float]]:
    """Returns (epoch, % of groups that are zero) of a run, finished or not; empty if it has not ended an epoch."""
    try:
        with (workdir / "history.csv").open() as file:
            return [(int(line["epoch"]), float(line["sparsity/group_percent"])) for line in csv.DictReader(file)]
    except (OSError, KeyError, ValueError):
        return []


def longest_history(root: pathlib.Path, row: Row) -> list[tuple[int, float]]:
    """Returns the history of the run of a row that got furthest, of several the first."""
    return max((zero_groups(root / run.name) for run in row.runs.values()), key=len)


def _curve(axes: "Axes", shown: Series, numbers: Sequence[Any], color: str, label: str, index: int = 0) -> None:
    """Draws mean and deviation of the numbers at each place that has some; joins them where they are a curve."""
    known = [(place, found) for place, one in enumerate(numbers) if (found := value(one))]
    axes.errorbar(
        [place for place, _ in known],
        [found.mean for _, found in known],
        yerr=[found.deviation or 0.0 for _, found in known],
        color=color,
        linestyle=_DASHES[index] if shown.is_curve else "none",
        marker=_MARKERS[index],
        capsize=2.5,
        label=label,
    )


def _turned_height(found: Series) -> float:
    """Returns the inches that the labels below the axis need where they are turned, as those of several lines are."""
    return 0 if found.is_curve else _LETTER * max(len(line) for label in found.labels for line in label.splitlines())


def _name_places(axes: "Axes", found: Series) -> None:
    axes.set_xticks(found.places, list(found.labels), rotation=0 if found.is_curve else 90)
    axes.set(xlabel=found.axis, xlim=(-0.4, len(found.rows) - 0.6))
    axes.grid(axis="x", visible=False)
