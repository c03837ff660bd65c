"""A network layer by layer: which groups training left, and what compaction changed."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lim_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Layers = Mapping[str, Mapping[str, int]]  # {layer: {"groups": n, "zero_groups": n}}, as `results.json` has them

_LAYERS_PER_ROW = 60  # labels of 7 points just fit
_SQUARE_ROOT = {"functions": (np.sqrt, np.square)}  # a scale on which 3 and 2048 are both legible and 0 stays 0
_SIDES = (("dense", style.PALE_BLUE), ("compact", style.BLUE))
_COLUMNS = {"inputs": "channels read\n(square-root scale)", "parameters": "parameters", "macs": "MACs, one image"}


def groups_per_layer(layers: Layers) -> "Figure":
    """Draws the groups of every layer before and after training (the bars of the paper's figure 3).

    Heights are square roots, so that a layer of 3 input channels and one of 2048 are both legible and 0 stays 0.
    """
    names = sorted(layers, key=_network_order)
    rows = [list(row) for row in np.array_split(np.array(names), max(-(-len(names) // _LAYERS_PER_ROW), 1))]
    figure = style.figure(style.WIDTH if len(names) > 12 else 4.5, 3.1 * len(rows))
    most = max((layers[name]["groups"] for name in names), default=1)
    for axes, row in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        _draw_groups(axes, {name: layers[name] for name in row}, most)
    style.legend_above(figure, figure.axes[0], 2)
    return figure


def groups_of_networks(networks: Mapping[str, Layers]) -> "Figure":
    """Draws the groups of every layer of several networks, one above the other, as `groups_per_layer` draws one.

    Args:
      networks: their layers, by what is written above each; all have the same layers.
    """
    figure = style.figure(style.WIDTH, 1.15 * len(networks) + 1.2)
    all_axes = figure.subplots(len(networks), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, layers) in zip(all_axes, networks.items(), strict=True):
        names = sorted(layers, key=_network_order)
        _draw_groups(axes, {name: layers[name] for name in names}, max(each["groups"] for each in layers.values()))
        total, zero = (sum(each[key] for each in layers.values()) for key in ("groups", "zero_groups"))
        axes.set(title=f"{title}: {100 * zero / total:.1f} % of the groups are zero", ylabel="")
        axes.label_outer()
        if len(names) > _LAYERS_PER_ROW:
            for label in axes.get_xticklabels()[1::2]:
                label.set_visible(False)
    figure.supylabel("groups (square-root scale)", fontsize=8)
    style.legend_above(figure, all_axes[0], 2)
    return figure


def compaction_panel(content: Mapping[str, Any]) -> "Figure":
    """Draws what compaction changed, layer by layer (channels read, parameters, MACs), and the latency.

    Args:
      content: of `compact.json`.
    """
    layers = content["layers"]
    figure = style.figure(style.WIDTH, 0.13 * len(layers) + 2.4)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(0.13 * len(layers) + 0.8, 1.4))[:, 0]
    _draw_layers(upper, layers)
    _draw_latencies(lower.subplots(), _latencies(content))
    return figure


def _draw_groups(axes: "Axes", layers: Layers, most: int) -> None:
    """Draws a row of layers; `most`: the groups of the network's largest layer."""
    total = np.array([counts["groups"] for counts in layers.values()])
    live = total - np.array([counts["zero_groups"] for counts in layers.values()])
    places = range(len(layers))
    axes.bar(places, total, width=0.8, color=style.PALE_BLUE, label="before: all groups")
    axes.bar(places, live, width=0.8, color=style.BLUE, label="after: groups that are not zero")
    for index in np.flatnonzero(live == 0).tolist():
        axes.text(
            index, 0, "0", ha="center", va="bottom", color=style.VERMILION, fontweight="bold", fontsize=style.SMALL
        )
    axes.set_yscale("function", **_SQUARE_ROOT)
    axes.set(ylim=(0, most), xlim=(-0.7, max(len(layers), 6) - 0.3), ylabel="groups (square-root scale)")
    axes.set_yticks(_ticks(most))
    axes.set_xticks(places, [style.short(name) for name in layers], rotation=90)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)


def _draw_layers(part: "SubFigure", layers: Mapping[str, Mapping[str, Any]]) -> None:
    """Draws a row of bars per layer, for each of `_COLUMNS`."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    all_axes = part.subplots(1, len(_COLUMNS), sharey=True)
    for axes, (field, label) in zip(all_axes, _COLUMNS.items(), strict=True):
        for which, color in _SIDES:
            axes.barh(range(len(layers)), [row[field][which] for row in layers.values()], color=color, label=which)
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    channels = all_axes[0]
    channels.set_xscale("function", **_SQUARE_ROOT)
    most = max((row["inputs"]["dense"] for row in layers.values()), default=1)
    channels.set_xlim(0, most)
    channels.set_xticks(_ticks(most))
    channels.set_yticks(range(len(layers)), [style.short(name) for name in layers])
    channels.set_ylim(len(layers) - 0.4, -0.6)
    part.legend(*channels.get_legend_handles_labels(), loc="outside upper center", ncols=2)


def _ticks(most: int) -> list[int]:
    """Returns the ticks of a square-root scale of counts; the last one is the largest count."""
    return [0, *(tick for tick in (4, 16, 64, 256, 1024, 4096) if tick <= 0.6 * most), most]


def _latencies(content: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Returns `{"backbone, batch 1": {"dense": ms, "compact": ms}}`, for the whole network and for each batch size."""
    return {
        f"{name}, batch {key.removeprefix('batch_')}": value
        for name, field in (("whole network", "latency_ms"), ("backbone", "backbone_latency_ms"))
        for key, value in content[field].items()
        if key.startswith("batch_")
    }


def _draw_latencies(axes: "Axes", latencies: Mapping[str, Mapping[str, float]]) -> None:
    """Draws two bars for each of `_latencies`, with their values."""
    for offset, (which, color) in zip((-0.2, 0.2), _SIDES, strict=True):
        places = [place + offset for place in range(len(latencies))]
        bars = axes.barh(places, [value[which] for value in latencies.values()], height=0.4, color=color)
        axes.bar_label(bars, fmt="%.3g", padding=2, fontsize=style.SMALL)
    axes.set_yticks(range(len(latencies)), list(latencies))
    axes.set(ylim=(len(latencies) - 0.5, -0.5), xlabel="latency (ms, median)")
    axes.margins(x=0.1)
    axes.grid(axis="y", visible=False)


def _network_order(layer: str) -> tuple[Any, ...]:
    """Sorts layers from input to output: the stem first, then by the numbers in the name."""
    return "stem" not in layer, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", layer)]
