"""Accuracy against size and latency of networks with different shares of zero groups, as a figure and as a table."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lim_jax.figures import style, tables
from lim_jax.runtime.tables import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_AXES = {"parameters": "parameters", "latency_ms": "latency, one image (ms)"}
_DENSE = "dense"
_POINTS_PER_INCH = 72
_TEXT = (26, 8)  # width and height of a percentage, in points
_GAP = 3  # points: half of what a marker takes, and what is left between it and a text


def draw(content: Mapping[str, Any]) -> "Figure":
    """Draws the published metric of each task, a row each, against parameters and against latency.

    Args:
      content: of `tradeoff.json`: `{"metrics": {task: {"metric", "label", "higher_is_better", ...}}, "networks": {name:
        {"target", "group_percent", "test", "parameters", "macs", "latency_ms", "delta_m"}}}`, one of them "dense".
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator

    metrics, points = content["metrics"], content["networks"]
    figure = style.figure(style.WIDTH, 1.55 * len(metrics) + 0.7)
    grid = figure.subplots(len(metrics), len(_AXES), squeeze=False, sharey="row", sharex="col")
    shown = []
    for row, (task, info) in zip(grid, metrics.items(), strict=True):
        for axes, key in zip(row, _AXES, strict=True):
            shown.append((axes, _draw(axes, points, task, info["metric"], key)))
        row[0].set_title(f"{task}: {info['label']} ({'higher' if info['higher_is_better'] else 'lower'} is better)")
    for axes, (key, label) in zip(grid[-1], _AXES.items(), strict=True):
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.set_xlim(0, 1.08 * max(point[key] for point in points.values()))
    grid[-1][0].xaxis.set_major_formatter(EngFormatter(sep=""))
    style.legend_above(figure, grid[0][0], 2)
    figure.draw_without_rendering()  # so that everything has its place
    for axes, sparse in shown:
        _label(axes, sparse)
    return figure


def table(content: Mapping[str, Any]) -> str:
    """Returns a row per network, aligned."""
    metrics = {task: info["metric"] for task, info in content["metrics"].items()}
    names = [f"{task} {name}" for task, name in metrics.items()]
    rows = [("", "groups zero, %", *names, "Δm, %", "parameters", "MACs", "latency, ms")]
    for name, point in content["networks"].items():
        numbers = [tables.number(point["test"][task][metric]) for task, metric in metrics.items()]
        gain = "-" if point["delta_m"] is None else f"{point['delta_m']:+.1f}"
        counts = (f"{point['parameters']:,}", f"{point['macs']:,}", f"{point['latency_ms']:.3g}")
        rows.append((name, f"{point['group_percent']:.1f}", *numbers, gain, *counts))
    return aligned(rows)


def _label(axes: "Axes", sparse: Sequence[tuple[float, float, float]]) -> None:
    """Writes the percentages beside the points, where they hide neither another nor a point; all else is drawn."""
    if not sparse:
        return
    inches = axes.transData.transform([(x, y) for x, y, _ in sparse]) / axes.figure.dpi
    points = [(_POINTS_PER_INCH * across, _POINTS_PER_INCH * up) for across, up in inches]
    aside, above = (2 * _GAP + size / 2 for size in _TEXT)
    taken: list[tuple[float, float]] = []
    for (x, y, percent), (across, up) in zip(sparse, points, strict=True):
        offsets = [(-aside, 0.0), (aside, 0.0), (0.0, above), (0.0, -above)]  # the best first
        free = (offset for offset in offsets if _is_free((across + offset[0], up + offset[1]), taken, points))
        offset = next(free, offsets[0])
        taken.append((across + offset[0], up + offset[1]))
        axes.annotate(
            f"{percent:.0f} %",
            (x, y),
            offset,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=style.SMALL,
        )


def _is_free(
    middle: tuple[float, float], taken: Sequence[tuple[float, float]], points: Sequence[tuple[float, float]]
) -> bool:
    """Returns whether a text around `middle` hides none of the texts around `taken` and none of the points."""
    return not any(
        all(abs(one - other) < limit for one, other, limit in zip(middle, place, limits, strict=True))
        for places, limits in ((taken, _TEXT), (points, tuple(size / 2 + _GAP for size in _TEXT)))
        for place in places
    )


def _draw(
    axes: "Axes", points: Mapping[str, Any], task: str, metric: str, key: str
) -> list[tuple[float, float, float]]:
    """Draws one metric against one size; returns x, y and the percentage of the sparse networks."""
    sparse = [
        (point[key], value, point["group_percent"])
        for name, point in points.items()
        if name != _DENSE and (value := point["test"][task][metric]) is not None
    ]
    axes.plot([x for x, _, _ in sparse], [y for _, y, _ in sparse], "o-", color=style.BLUE, label="% of groups zero")
    dense = points[_DENSE]["test"][task][metric]
    if dense is not None:
        axes.axhline(dense, color=style.VERMILION, linewidth=0.8, linestyle="--")
        axes.plot(points[_DENSE][key], dense, "D", color=style.VERMILION, label="dense")
    axes.margins(y=0.2)
    return sparse
