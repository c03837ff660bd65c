#!/usr/bin/env python3
"""Draws the figures of a sweep, finished or not: `python scripts/figures.py --root=DIR`.

Writes to DIR/figures, each as PDF and PNG, what the runs that are done allow:

- performance, sparsity, epochs, latency: figure 3 (a) to (d) of the paper, over λ or the target, of the combination
  with most tasks (or --tasks): metrics; zero groups and parameters; zero groups over the epochs; the latency of the
  backbone on this machine for one image, with zeros stored and with them removed.
- layers_SETTING: the groups of each layer, before and after training, of every task combination.
- overlap_SETTING: how many of the live groups of one network live in another, of networks with one task and of the
  one with most; beside it what chance would give.

Latencies are measured once, all networks in turns, and kept in DIR/figures/latency.json; remove it to measure again.
"""

import argparse
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sweeps import command, costs, drawings, overlap, records
from sweeps import tables as tables_lib
from sweeps.records import Sweep
from sweeps.rows import Row, rows, tasks_text
from sweeps.series import Series, series

from lim_jax.errors import UserError
from lim_jax.figures import compaction, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = ("pdf", "png")
_LATENCY = "latency.json"


def write(
    root: pathlib.Path,
    tasks: Sequence[str] = (),
    metrics: Sequence[str] = (),
    which: str = "test",
    latency: bool = True,
) -> list[pathlib.Path]:
    """Draws all figures of a sweep, and returns the PNG files.

    Args:
      root: of the sweep.
      tasks: the combination of the figures over λ; empty: the one with most tasks.
      metrics: "task.metric" each; empty: the published one of each task.
      which: results, as of `rows.of`.
      latency: whether latencies are measured.

    Raises:
      UserError: there is no sweep, or no run is done.
    """
    sweep = records.load(root)
    found = rows(sweep)
    over = series(found, tasks)
    if over is None:
        of = f" of {tasks_text(tasks)}" if tasks else ""
        raise UserError(f"no run{of} in {root} is done: see python scripts/sweep.py --root={root} --status")
    signs = tables_lib.chosen_metrics(sweep, metrics)
    if not any(task in signs for task in over.rows[0].tasks):
        raise UserError(
            f"{tasks_text(over.rows[0].tasks)} has none of these metrics: give --tasks, or another --metrics"
        )
    draws: dict[str, Callable[[], Figure]] = {
        "performance": lambda: drawings.performance(over, signs, sweep.metrics, which),
        "sparsity": lambda: drawings.sparsity(over),
    }
    histories = [drawings.longest_history(root, row) for row in over.rows]
    if any(histories):
        draws["epochs"] = lambda: drawings.over_epochs(over, histories)
    if latency and any(measured := _costs(sweep, over)):
        draws["latency"] = lambda: drawings.latency(over, measured)
    return [_written(root / "figures" / name, draw) for name, draw in (draws | _by_setting(sweep, found)).items()]


def _by_setting(sweep: Sweep, found: Sequence[Row]) -> dict[str, "Callable[[], Figure]"]:
    """Returns what draws a figure for each setting that is not dense."""
    draws: dict[str, Callable[[], Figure]] = {}
    for setting in dict.fromkeys(row.setting for row in found if not row.is_dense):
        of_setting = [row for row in found if row.setting == setting and row.results]
        layers = {tasks_text(row.tasks): _layers(row) for row in of_setting}
        if layers:
            draws[f"layers_{_slug(setting)}"] = lambda layers=layers: compaction.groups_of_networks(layers)
        if common := overlap.of_setting(sweep.root, of_setting):
            draws[f"overlap_{_slug(setting)}"] = lambda common=common: overlap.draw(common)
    return draws


def _layers(row: Row) -> Any:
    """Returns the layers of the first seed that is done."""
    return next(iter(row.results.values()))["sparsity"]["layers"]


def _costs(sweep: Sweep, over: Series) -> list[Any]:
    """Returns what the backbones of a series cost, of the first seed that is done of each row; kept in a file."""
    names = [next(iter(row.finished()), None) for row in over.rows]
    known = costs.known(sweep.root, [name for name in names if name], sweep.root / "figures" / _LATENCY, backbone=True)
    return [known.get(name) for name in names]


def _written(path: pathlib.Path, draw: "Callable[[], Figure]") -> pathlib.Path:
    path.parent.mkdir(exist_ok=True)
    with style.context():
        figure = draw()
        for ending in ENDINGS:
            figure.savefig(path.with_name(f"{path.name}.{ending}"))
    return path.with_name(f"{path.name}.png")


def _slug(setting: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", setting.replace("λ", "lambda").replace("%", "")).strip("_")


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the command line and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, required=True, help="the folder of the sweep")
    parser.add_argument("--tasks", default="", help="of the figures over λ, with commas (default: the most)")
    parser.add_argument("--metrics", default="", help="task.metric, with commas (default: the paper's)")
    command.add_which(parser)
    parser.add_argument("--nolatency", action="store_true", help="measure nothing")
    arguments = parser.parse_args(argv)
    tasks, metrics = (list(filter(None, text.split(","))) for text in (arguments.tasks, arguments.metrics))
    files = write(arguments.root, tasks, metrics, arguments.which, not arguments.nolatency)
    print(f"{len(files)} figures in {arguments.root / 'figures'}: {', '.join(path.stem for path in files)}")


if __name__ == "__main__":
    command.run(main)
