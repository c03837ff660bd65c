"""The figures of a run: loss and metric curves, sparsity, groups per layer, seconds per epoch, example predictions.

Plain data in, PNG files out: the history (`lim_jax.training.history` describes its records), the counts of groups per
layer, and one batch with the network's predictions. Figures are 7 inches wide at most, so that a page shows them at
full size, and their colours are Okabe and Ito's, which colour-blind readers tell apart.
"""

import contextlib
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lim_jax.figures import color_keys
from lim_jax.tasks.attribute import AttributeTask
from lim_jax.tasks.base import INVALID_COLOR, Metric, Task
from lim_jax.tasks.depth import COLOR_MAP, DepthTask
from lim_jax.tasks.normals import NormalsTask
from lim_jax.tasks.segmentation import SegmentationTask

if TYPE_CHECKING:  # matplotlib takes a second to import; only drawing needs it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

History = Sequence[Mapping[str, Any]]
Layers = Mapping[str, Mapping[str, int]]

WIDTH = 7.0  # inches
_BLUE, _ORANGE, _GREEN, _VERMILION, _SKY, _PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
_COLORS = (_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY)
_STYLE: dict[Any, Any] = {
    "figure.dpi": 200,
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
    "axes.axisbelow": True,
}
_FEW = 4  # epochs: fewer are shown as points
_KEY_COLUMNS = 5
_BARS_PER_ROW = 60  # labels of 7 points just fit


def style() -> contextlib.AbstractContextManager[None]:
    """Returns the context in which figures look as all of these do."""
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def write_report(
    directory: pathlib.Path,
    *,
    tasks: Mapping[str, Task],
    history: History,
    layers: Layers,
    batch: Mapping[str, Any],
    predictions: Mapping[str, np.ndarray],
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

    Returns:
      The files written.
    """
    figures: dict[str, Callable[[], Figure]] = {
        "losses": lambda: loss_curves(tasks, history),
        "metrics": lambda: metric_curves(tasks, history),
        "sparsity": lambda: sparsity_curves(history),
        "groups": lambda: groups_per_layer(layers),
        "speed": lambda: speed_curves(history),
        "predictions": lambda: prediction_panel(tasks, batch, predictions),
    }
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in figures.items():
        with style():
            written.append(directory / f"{name}.png")
            draw().savefig(written[-1])
    return written


def write_compaction(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes the figure of a compaction, given the content of `compact.json`."""
    with style():
        compaction_panel(content).savefig(path)


def loss_curves(tasks: Mapping[str, Task], history: History) -> "Figure":
    """Draws the loss of training and validation per task and in total, and marks the best epoch of each."""
    panels = [(name, task.loss_label, *_losses(history, name)) for name, task in tasks.items()]
    panels.append(("total", "weighted sum", *_losses(history, None)))
    figure, all_axes = _grid(len(panels), height=1.8)
    for axes, (name, label, train, validation) in zip(all_axes, panels, strict=True):
        _curve(axes, train, _ORANGE, "training")
        _curve(axes, validation, _BLUE, "validation")
        if validation:
            epoch, value = _lowest(validation)
            axes.plot(
                epoch,
                value,
                "o",
                color=_VERMILION,
                markerfacecolor="none",
                markersize=7,
                label="lowest validation loss",
            )
            name = f"{name}: lowest {value:.3g} in epoch {epoch}"
        axes.set(title=name, xlabel="epoch", ylabel=label)
        _scale(axes, [value for _, value in train + validation])
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def metric_curves(tasks: Mapping[str, Task], history: History) -> "Figure":
    """Draws every metric of the validation split; metrics of a task with the same unit share their axes.

    The legend gives each metric's value in the epoch with the task's lowest validation loss, the dotted line.
    """
    panels = [(name, *panel) for name, task in tasks.items() for panel in _by_unit(task)]
    figure, all_axes = _grid(len(panels), height=1.7)
    for axes, (name, unit, metrics) in zip(all_axes, panels, strict=True):
        validation = _losses(history, name)[1]
        best = _lowest(validation)[0] if validation else 0
        for color, (key, metric) in zip(_COLORS, metrics.items(), strict=False):
            points = _known([(r["epoch"], r["validation"][name][key]) for r in history if "validation" in r])
            at_best = dict(points).get(best)
            _curve(axes, points, color, metric.label if at_best is None else f"{metric.label}\n{at_best:#.3g}")
        if best:
            axes.axvline(best, color="0.3", linewidth=0.9, linestyle=":", label=f"lowest loss,\nepoch {best}")
        better = "higher" if next(iter(metrics.values())).higher_is_better else "lower"
        axes.set(title=f"{name} ({better} is better)", xlabel="epoch", ylabel=unit)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1.05), handlelength=1.2, borderpad=0)
    return figure


def sparsity_curves(history: History) -> "Figure":
    """Draws group and parameter sparsity over the epochs (the paper's figure 3c), groups that died and revived, and λ
    where it changes."""
    strengths = [(record["epoch"], record["strength"]) for record in history]
    changes = len({value for _, value in strengths}) > 1
    ratios = [2, 1, 1] if changes else [2, 1]
    figure = _figure(4.5, 1.3 * sum(ratios))
    share, moves, *others = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    for key, color, label in (
        ("group_percent", _BLUE, "groups"),
        ("parameter_percent", _VERMILION, "parameters"),
    ):
        points = [(record["epoch"], record["sparsity"][key]) for record in history]
        _curve(share, points, color, f"{label}: {points[-1][1]:.1f} % at the end")
    share.set(ylabel="zero in the backbone, %", ylim=(-2, 102))
    figure.legend(*share.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    for key, color, label in (("died", _PURPLE, "became zero"), ("revived", _ORANGE, "revived")):
        _curve(moves, [(record["epoch"], record["sparsity"][key]) for record in history], color, label)
    moves.set(ylabel="groups an epoch")
    moves.set_ylim(bottom=0)
    moves.legend(loc="upper right")
    for axes in others:
        _curve(axes, strengths, _GREEN, "λ")
        axes.set(ylabel="strength λ")
        _scale(axes, [value for _, value in strengths])
    if not changes:
        share.set_title(f"strength λ = {strengths[0][1]:.3g}")
    figure.axes[-1].set_xlabel("epoch")
    return figure


def groups_per_layer(layers: Layers) -> "Figure":
    """Draws the groups of every layer before and after training (the bars of the paper's figure 3).

    Heights are square roots, so that a layer of 3 input channels and one of 2048 are both legible and 0 stays 0.
    """
    names = sorted(layers, key=_network_order)
    rows = [list(row) for row in np.array_split(np.array(names), max(-(-len(names) // _BARS_PER_ROW), 1))]
    figure = _figure(WIDTH if len(names) > 12 else 4.5, 3.1 * len(rows))
    most = max((layers[name]["groups"] for name in names), default=1)
    for axes, row in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        total = np.array([layers[name]["groups"] for name in row])
        live = total - np.array([layers[name]["zero_groups"] for name in row])
        axes.bar(range(len(row)), total, width=0.8, color="#C8DCEB", label="before: all groups")
        axes.bar(range(len(row)), live, width=0.8, color=_BLUE, label="after: groups that are not zero")
        for index in np.flatnonzero(live == 0):
            axes.text(index, 0, "0", ha="center", va="bottom", color=_VERMILION, fontweight="bold", fontsize=7)
        axes.set_yscale("function", functions=(np.sqrt, np.square))
        axes.set(ylim=(0, most * 1.05), xlim=(-0.7, max(len(row), 6) - 0.3), ylabel="groups (square-root scale)")
        axes.set_yticks([tick for tick in (0, 4, 16, 64, 256, 512, 1024, 2048, 4096) if tick <= most])
        axes.set_xticks(range(len(row)), [_short(name) for name in row], rotation=90)
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="x", visible=False)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def speed_curves(history: History) -> "Figure":
    """Draws the seconds of each epoch's steps, compiling apart, and the parameters of the network where they change."""
    sizes = [(record["epoch"], record["network"]["parameters"]) for record in history]
    changes = len({size for _, size in sizes}) > 1
    figure = _figure(4.5, 3.9 if changes else 2.7)
    all_axes = figure.subplots(1 + changes, 1, sharex=True, squeeze=False)[:, 0]
    epochs = [epoch for epoch, _ in sizes]
    compiling = np.array([record["compile_seconds"]["training"] for record in history])
    steps = np.array([record["seconds"] for record in history]) - compiling
    width = 0.8 if len(history) <= _BARS_PER_ROW else 1.0
    all_axes[0].bar(epochs, steps, width=width, color=_BLUE, label="training steps")
    all_axes[0].bar(epochs, compiling, width=width, bottom=steps, color=_ORANGE, label="compiling them")
    all_axes[0].set(ylabel="seconds per epoch")
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    if changes:
        from matplotlib.ticker import EngFormatter

        all_axes[1].bar(epochs, [size for _, size in sizes], width=width, color=_GREEN)
        all_axes[1].set(ylabel="parameters")
        all_axes[1].yaxis.set_major_formatter(EngFormatter(sep=""))
    all_axes[-1].set_xlabel("epoch")
    _whole_epochs(all_axes[-1], len(history))
    return figure


def compaction_panel(content: Mapping[str, Any]) -> "Figure":
    """Draws what compaction changed, layer by layer (channels read, parameters, MACs), and the latency.

    Args:
      content: of `compact.json`.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator

    layers = content["layers"]
    figure = _figure(WIDTH, 0.13 * len(layers) + 2.4)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(0.13 * len(layers) + 0.8, 1.4))[:, 0]
    columns = {"inputs": "channels read\n(square-root scale)", "parameters": "parameters", "macs": "MACs, one image"}
    all_axes = upper.subplots(1, len(columns), sharey=True)
    for axes, (field, label) in zip(all_axes, columns.items(), strict=True):
        for which, color in (("dense", "#C8DCEB"), ("compact", _BLUE)):
            axes.barh(range(len(layers)), [row[field][which] for row in layers.values()], color=color, label=which)
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    all_axes[0].set_xscale("function", functions=(np.sqrt, np.square))
    all_axes[0].set_xticks([tick for tick in (0, 16, 128, 512, 2048) if tick <= all_axes[0].get_xlim()[1]])
    all_axes[0].set_yticks(range(len(layers)), [_short(name) for name in layers])
    all_axes[0].set_ylim(len(layers) - 0.4, -0.6)
    upper.legend(*all_axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    times = {
        f"{name}, batch {key.removeprefix('batch_')}": value
        for name, field in (("whole network", "latency_ms"), ("backbone", "backbone_latency_ms"))
        for key, value in content[field].items()
        if key.startswith("batch_")
    }
    axes = lower.subplots()
    for offset, which, color in ((-0.2, "dense", "#C8DCEB"), (0.2, "compact", _BLUE)):
        places = [place + offset for place in range(len(times))]
        bars = axes.barh(places, [value[which] for value in times.values()], height=0.4, color=color)
        axes.bar_label(bars, fmt="%.3g", padding=2, fontsize=7)
    axes.set_yticks(range(len(times)), list(times))
    axes.set(ylim=(len(times) - 0.5, -0.5), xlabel="latency (ms, median)")
    axes.margins(x=0.1)
    axes.grid(axis="y", visible=False)
    return figure


def prediction_panel(
    tasks: Mapping[str, Task], batch: Mapping[str, Any], predictions: Mapping[str, np.ndarray]
) -> "Figure":
    """Draws a row per example: the image, then target and prediction of every task; below it, what colours mean."""
    dense = {name: task for name, task in tasks.items() if not isinstance(task, AttributeTask)}
    attributes = {name: task for name, task in tasks.items() if isinstance(task, AttributeTask)}
    images = np.asarray(batch["image"])
    shown = {
        name: (np.asarray(task.prepare_target(batch["targets"][name])), np.asarray(predictions[name]))
        for name, task in tasks.items()
    }
    examples, height, width, _ = images.shape
    text_width = 1.3 if attributes else 0.0
    cell = min((WIDTH - text_width) / (1 + 2 * len(dense)), 1.5)
    widths = [cell] * (1 + 2 * len(dense)) + [text_width] * bool(attributes)
    row_height = max(cell * height / width, 0.3 * len(attributes))
    keys = list(_keys(dense, shown))
    heights = [0.45 + examples * row_height, *(inches for _, inches in keys)]
    figure = _figure(max(sum(widths), 3.3), sum(heights), padding=0.02)
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    all_axes = parts[0].subplots(examples, len(widths), squeeze=False, width_ratios=widths)
    titles = ["image", *(f"{name},\n{which}" for name in dense for which in ("target", "prediction"))]
    for axes, title in zip(all_axes[0], titles, strict=False):
        axes.set_title(title, loc="center", fontsize=7)
    for axes in all_axes.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for row, image in enumerate(images):
        pictures = [image]
        for name, task in dense.items():
            pictures += [task.picture(values[row]) for values in shown[name]]
        for axes, picture in zip(all_axes[row], pictures, strict=False):
            axes.imshow(picture, interpolation="nearest")
        for line, (name, task) in enumerate(attributes.items()):
            _answer(all_axes[row, -1], 1 - line / len(attributes), task, *(values[row] for values in shown[name]))
    for part, (draw, _) in zip(parts[1:], keys, strict=True):
        draw(part)
    return figure


def _answer(axes: "Axes", top: float, task: AttributeTask, target: np.ndarray, prediction: np.ndarray) -> None:
    """Writes target and prediction of an attribute, in vermilion where they differ."""
    wrong = target >= 0 and (prediction > task.threshold) != target
    answer = task.caption(prediction).removeprefix(f"{task.spec.name}: ")
    color = _VERMILION if wrong else "black"
    axes.text(0, top, f"{task.caption(target)}\n  predicted {answer}", va="top", fontsize=7, color=color)


def _keys(
    dense: Mapping[str, Task], shown: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> Iterator[tuple[Callable[["SubFigure"], None], float]]:
    """Yields, for what needs an explanation, a function that draws it and its height in inches."""
    for name, task in dense.items():
        if isinstance(task, SegmentationTask):
            present = np.unique(np.concatenate([values.ravel() for values in shown[name]]))
            entries = color_keys.classes(task, present)
            entries.append(("not labelled, no measurement", np.array(INVALID_COLOR)))
            yield lambda part, entries=entries: _color_key(part, entries), 0.1 + 0.16 * -(-len(entries) // _KEY_COLUMNS)
        elif isinstance(task, DepthTask):
            yield _depth_key, 0.46
        elif isinstance(task, NormalsTask):
            entries = color_keys.directions(task)
            yield lambda part, entries=entries: _color_key(part, entries), 0.26


def _color_key(part: "SubFigure", entries: Sequence[tuple[str, np.ndarray]]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=tuple(color / 255), edgecolor="0.4", linewidth=0.4, label=name) for name, color in entries
    ]
    part.legend(handles=handles, loc="center", ncols=_KEY_COLUMNS, handlelength=1, handleheight=1, columnspacing=1.2)


def _depth_key(part: "SubFigure") -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = part.add_axes((0.3, 0.66, 0.4, 0.18))
    part.colorbar(ScalarMappable(Normalize(0, 1), COLOR_MAP), cax=axes, orientation="horizontal")
    axes.set_xlabel(color_keys.DEPTH, fontsize=7, labelpad=1)


def _losses(history: History, task: str | None) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Returns (epoch, loss) of training and of validation, of one task or (None) of their weighted sum."""
    both = []
    for split in ("train", "validation"):
        points = []
        for record in history:
            losses = record["total"] if task is None else record.get(split, {}).get(task, {})
            points.append((record["epoch"], losses.get(split if task is None else "loss")))
        both.append(_known(points))
    return both[0], both[1]


def _known(points: Sequence[tuple[int, float | None]]) -> list[tuple[int, float]]:
    return [(epoch, value) for epoch, value in points if value is not None]


def _by_unit(task: Task) -> list[tuple[str, dict[str, Metric]]]:
    units = dict.fromkeys(metric.unit for metric in task.metric_info.values())
    return [(unit, {key: m for key, m in task.metric_info.items() if m.unit == unit}) for unit in units]


def _curve(axes: "Axes", points: Sequence[tuple[int, float]], color: str, label: str) -> None:
    epochs, values = [epoch for epoch, _ in points], [value for _, value in points]
    axes.plot(epochs, values, color=color, label=label, marker="o" if len(points) < _FEW else "")
    _whole_epochs(axes, max(epochs, default=1))


def _lowest(points: Sequence[tuple[int, float]]) -> tuple[int, float]:
    return min(points, key=lambda point: point[1])


def _scale(axes: "Axes", values: Sequence[float]) -> None:
    """Makes the axis logarithmic, in plain numbers, where values spread over more than one order of magnitude."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if values and min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 200 * min(values) else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _whole_epochs(axes: "Axes", epochs: int) -> None:
    from matplotlib.ticker import MaxNLocator

    if epochs < _FEW:
        axes.set(xlim=(0.5, epochs + 0.5), xticks=range(1, epochs + 1))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _figure(width: float, height: float, padding: float = 0.04) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=padding, h_pad=padding, wspace=padding, hspace=padding)
    return Figure(figsize=(width, height), layout=layout)


def _grid(panels: int, height: float) -> "tuple[Figure, list[Axes]]":
    """Returns a figure with as many axes as there are panels in two columns, `height` inches each."""
    columns = min(2, panels)
    rows = -(-panels // columns)
    figure = _figure(WIDTH / 2 * columns, height * rows + 0.2)
    grid = figure.add_gridspec(rows, columns)
    return figure, [figure.add_subplot(grid[index // columns, index % columns]) for index in range(panels)]


def _network_order(layer: str) -> tuple[Any, ...]:
    """Sorts layers from input to output: the stem first, then by the numbers in the name."""
    return "stem" not in layer, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", layer)]


def _short(layer: str) -> str:
    return layer.removeprefix("backbone/")
