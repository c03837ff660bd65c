"""Curves of a run over its epochs: losses, metrics, sparsity, speed.

All are drawn from the run's history, whose records `lim_jax.training.history` describes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lim_jax.figures import style
from lim_jax.tasks.base import Metric, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]

_MOST_SINGLE_BARS = 60  # epochs: bars of more of them touch


def loss_curves(tasks: Mapping[str, Task], history: History) -> "Figure":
    """Draws the loss of training and validation per task and in total, and marks the best epoch of each.

    Without a validation split it is the test split's, in which no epoch is the best.
    """
    split = _split(history)
    panels = [(name, task.loss_label, *_losses(history, name)) for name, task in tasks.items()]
    panels.append(("total", "weighted sum", *_losses(history, None)))
    figure, all_axes = style.grid(len(panels), height=1.8)
    for axes, (name, label, train, validation) in zip(all_axes, panels, strict=True):
        style.curve(axes, train, style.ORANGE, "training")
        style.curve(axes, validation, style.BLUE, split)
        axes.set(title=name, xlabel="epoch", ylabel=label)
        style.whole_epochs(axes, len(history))
        if validation and split == "validation":
            _mark_lowest(axes, name, *_lowest(validation))
        style.logarithmic_where_wide(axes, [value for _, value in [*train, *validation]])
    style.legend_above(figure, all_axes[0], 3)
    return figure


def metric_curves(tasks: Mapping[str, Task], history: History) -> "Figure":
    """Draws every metric of the validation split, or of the one in its place; those of a task with one unit share axes.

    The legend gives each metric's value in the epoch with the task's lowest validation loss, the dotted line.
    """
    split = _split(history)
    panels = [(name, *panel) for name, task in tasks.items() for panel in _by_unit(task)]
    figure, all_axes = style.grid(len(panels), height=1.7)
    for axes, (name, unit, metrics) in zip(all_axes, panels, strict=True):
        validation = _losses(history, name)[1]
        best = _lowest(validation)[0] if validation and split == "validation" else 0
        for color, (key, metric) in zip(style.COLORS, metrics.items(), strict=False):
            points = _known([(r["epoch"], r[split][name][key]) for r in history if split in r])
            at_best = dict(points).get(best)
            value = "undefined" if not points else f"{at_best:#.3g}" if at_best is not None else ""
            style.curve(axes, points, color, f"{metric.label}\n{value}".rstrip())
        if best:
            axes.axvline(best, color="0.3", linewidth=0.9, linestyle=":", label=f"lowest loss,\nepoch {best}")
        better = "higher" if next(iter(metrics.values())).higher_is_better else "lower"
        axes.set(title=f"{name} ({better} is better)", xlabel="epoch", ylabel=unit)
        style.whole_epochs(axes, len(history))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1.05), handlelength=1.2, borderpad=0)
    return figure


def sparsity_curves(history: History) -> "Figure":
    """Draws group and parameter sparsity over the epochs (the paper's figure 3c), groups that died and revived, and λ
    where it changes."""
    strengths = [(record["epoch"], record["strength"]) for record in history]
    changes = len({value for _, value in strengths}) > 1
    ratios = [2, 1, 1] if changes else [2, 1]
    figure = style.figure(4.5, 1.3 * sum(ratios))
    share, moves, *others = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    for key, color, label in (
        ("group_percent", style.BLUE, "groups"),
        ("parameter_percent", style.VERMILION, "parameters"),
    ):
        points = _sparsity(history, key)
        style.curve(share, points, color, f"{label}: {points[-1][1]:.1f} % at the end")
    share.set(ylabel="zero in the backbone, %", ylim=(-2, 102))
    style.legend_above(figure, share, 2)
    for key, color, label in (("died", style.PURPLE, "became zero"), ("revived", style.ORANGE, "revived")):
        style.curve(moves, _sparsity(history, key), color, label)
    moves.set(ylabel="groups per epoch")
    style.whole_counts(moves)
    moves.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, ncols=2)  # above the spikes
    for axes in others:
        style.curve(axes, strengths, style.GREEN, "λ")
        axes.set(ylabel="strength λ")
        style.logarithmic_where_wide(axes, [value for _, value in strengths])
    if not changes:
        share.set_title(f"strength λ = {strengths[0][1]:.3g}")
    figure.axes[-1].set_xlabel("epoch")
    style.whole_epochs(figure.axes[-1], len(history))
    return figure


def speed_curves(history: History) -> "Figure":
    """Draws the seconds of each epoch, compilation apart, and the parameters of the network where they change."""
    sizes = [(record["epoch"], record["network"]["parameters"]) for record in history]
    changes = len({size for _, size in sizes}) > 1
    figure = style.figure(4.5, 3.9 if changes else 2.7)
    all_axes = figure.subplots(1 + changes, 1, sharex=True, squeeze=False)[:, 0]
    epochs = [epoch for epoch, _ in sizes]
    width = 0.8 if len(history) <= _MOST_SINGLE_BARS else 1.0
    below = np.zeros(len(history))
    for (label, seconds), color in zip(_seconds(history).items(), (style.BLUE, style.SKY, style.ORANGE), strict=True):
        all_axes[0].bar(epochs, seconds, width=width, bottom=below, color=color, label=label)
        below = below + seconds
    all_axes[0].set(ylabel="seconds per epoch")
    style.legend_above(figure, all_axes[0], 3)
    if changes:
        from matplotlib.ticker import EngFormatter

        all_axes[1].bar(epochs, [size for _, size in sizes], width=width, color=style.GREEN)
        all_axes[1].set(ylabel="parameters")
        all_axes[1].yaxis.set_major_formatter(EngFormatter(sep=""))
    all_axes[-1].set_xlabel("epoch")
    style.whole_epochs(all_axes[-1], len(history))
    return figure


def _mark_lowest(axes: "Axes", name: str, epoch: int, value: float) -> None:
    """Circles the epoch with the lowest validation loss, and names it in the title."""
    label = "lowest validation loss"
    axes.plot(epoch, value, "o", color=style.VERMILION, markerfacecolor="none", markersize=7, label=label)
    axes.set(title=f"{name}: lowest {value:.3g} in epoch {epoch}")


def _losses(history: History, task: str | None) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Returns (epoch, loss) of training and of evaluations, of one task or (None) of their weighted sum."""
    both = []
    for split in ("train", _split(history)):
        points = []
        for record in history:
            losses = record["total"] if task is None else record.get(split, {}).get(task, {})
            points.append((record["epoch"], losses.get(split if task is None else "loss")))
        both.append(_known(points))
    return both[0], both[1]


def _seconds(history: History) -> dict[str, np.ndarray]:
    """Returns where the time of each epoch went; older runs know of evaluation only what compiling it took."""
    compiling = {part: [record["compile_seconds"][part] for record in history] for part in ("training", "evaluation")}
    after = [record.get("seconds_after_steps", record["compile_seconds"]["evaluation"]) for record in history]
    return {
        "training steps": np.array([record["seconds"] for record in history]) - compiling["training"],
        "evaluation": np.array(after) - compiling["evaluation"],
        "compilation": np.add(compiling["training"], compiling["evaluation"]),
    }


def _split(history: History) -> str:
    """Returns the split on which the run was evaluated: "test" where it had no validation split."""
    return "test" if any("test" in record for record in history) else "validation"


def _sparsity(history: History, key: str) -> list[tuple[int, float]]:
    return [(record["epoch"], record["sparsity"][key]) for record in history]


def _known(points: Sequence[tuple[int, float | None]]) -> list[tuple[int, float]]:
    return [(epoch, value) for epoch, value in points if value is not None]


def _by_unit(task: Task) -> list[tuple[str, dict[str, Metric]]]:
    units = dict.fromkeys(metric.unit for metric in task.metric_info.values())
    return [(unit, {key: m for key, m in task.metric_info.items() if m.unit == unit}) for unit in units]


def _lowest(points: style.Points) -> tuple[int, float]:
    return min(points, key=lambda point: point[1])
