"""Draws what `scaling` measured: time per image and per pixel, and memory."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, ScalarFormatter

_BAND = 0.25
_COLORS = {"gradients": "#D55E00", "inference": "#0072B2"}  # Okabe-Ito
_NAMES = {"gradients": "training (forward and backward)", "inference": "inference"}
_MARKERS = {"gradients": "o", "inference": "s"}


def draw(lines: Sequence[Mapping[str, Any]], file: pathlib.Path) -> None:
    """Draws the lines of `scaling` to `file`."""
    points = [line for line in lines if line.get("sweep") in ("batch_size", "image_size") and "us_per_pixel" in line]
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.5), layout="constrained")
    for sweep, axis in zip(("batch_size", "image_size"), axes, strict=False):
        for what in _COLORS:
            _draw_costs(axis, sweep, what, [p for p in points if p["sweep"] == sweep and p["what"] == what])
    size = next(p["image_size"] for p in points if p["sweep"] == "batch_size")
    axes[0].set(xlabel=f"images per batch, {size}×{size} pixels", ylabel="milliseconds per image")
    axes[1].set(xlabel="side of one image in pixels", ylabel="microseconds per pixel")
    for what in _COLORS:
        _draw_memory(axes[2], what, [p for p in points if p["what"] == what])
    axes[2].set(xlabel="megapixels per batch", ylabel="peak memory in GB", ylim=(0, None))
    for axis, letter in zip(axes, "abc", strict=True):
        axis.set_title(letter, loc="left", fontsize=9, fontweight="bold")
        axis.tick_params(labelsize=7)
        axis.xaxis.label.set_size(8)
        axis.yaxis.label.set_size(8)
        axis.grid(which="major", alpha=0.3, linewidth=0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    handles.append(Patch(color="0.5", alpha=0.25, linewidth=0))
    labels.append(f"median ± {100 * _BAND:.0f} %")
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.savefig(file, dpi=200)
    plt.close(figure)


def _draw_costs(axis: Axes, sweep: str, what: str, points: Sequence[Mapping[str, Any]]) -> None:
    """Draws time per image or per pixel, and ±25 % around its median."""
    per = {"batch_size": lambda p: 1e3 / p["batch_size"], "image_size": lambda p: 1e6 / p["image_size"] ** 2}[sweep]
    x = np.array([p[sweep] for p in points])
    low, middle, high = (np.array([p[key] * per(p) for p in points]) for key in ("min_s", "median_s", "max_s"))
    typical = float(np.median(middle))
    axis.axhspan(typical * (1 - _BAND), typical * (1 + _BAND), color=_COLORS[what], alpha=0.15, linewidth=0)
    errors = [middle - low, high - middle]
    style = {"color": _COLORS[what], "marker": _MARKERS[what], "markersize": 4, "linewidth": 1.2}
    axis.errorbar(x, middle, errors, label=_NAMES[what], **style)
    axis.set(xscale="log", yscale="log", xticks=x, xticklabels=[str(value) for value in x])
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.minorticks_off()


def _draw_memory(axis: Axes, what: str, points: Sequence[Mapping[str, Any]]) -> None:
    """Draws peak memory over pixels, and the straight line through them."""
    pixels = np.array([p["batch_size"] * p["image_size"] ** 2 / 1e6 for p in points])
    memory = np.array([p["peak_memory_mb"] / 1024 for p in points])
    axis.plot(pixels, memory, _MARKERS[what], color=_COLORS[what], markersize=4)
    if len(set(pixels)) > 1:
        line = np.polynomial.Polynomial.fit(pixels, memory, 1)
        ends = np.array([0, pixels.max()])
        axis.plot(ends, line(ends), color=_COLORS[what], linewidth=0.8, linestyle="--")
