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
_POINTS_PER_INCH, _LINE_HEIGHT = 72, 8  # of text; in points


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
    for row, (task, info) in zip(grid, metrics.items(), strict=True):
        for axes, key in zip(row, _AXES, strict=True):
            _draw(axes, points, task, info["metric"], key)
        row[0].set_title(f"{task}: {info['label']} ({'higher' if info['higher_is_better'] else 'lower'} is better)")
    for axes, (key, label) in zip(grid[-1], _AXES.items(), strict=True):
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.set_xlim(0, 1.08 * max(point[key] for point in points.values()))
    grid[-1][0].xaxis.set_major_formatter(EngFormatter(sep=""))
    style.legend_above(figure, grid[0][0], 2)
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
    """Writes the percentage left of each point, or right of it where that would hide the one before; all is drawn."""
    axes.autoscale_view()
    previous = None
    for x, y, percent in sparse:
        height = axes.transData.transform((x, y))[1] * _POINTS_PER_INCH / axes.figure.dpi
        crowded = previous is not None and abs(height - previous) < _LINE_HEIGHT
        previous = None if crowded else height
        offset, align = (6, "left") if crowded else (-6, "right")
        axes.annotate(
            f"{percent:.0f} %",
            (x, y),
            (offset, 0),
            textcoords="offset points",
            ha=align,
            va="center",
            fontsize=style.SMALL,
        )


def _draw(axes: "Axes", points: Mapping[str, Any], task: str, metric: str, key: str) -> None:
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
    _label(axes, sparse)
