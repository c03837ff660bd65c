#!/usr/bin/env python3
"""Writes a sweep, finished or not, as one HTML file to send to a colleague: `python scripts/report.py --root=DIR`.

DIR/report.html holds the tables and figures (which are written, too, as by tables.py and figures.py), example
predictions, the command of each run, configurations, and what the runs were trained on. It refers to nothing outside.
"""

import argparse
import collections
import datetime
import pathlib
import shlex
from collections.abc import Sequence

import figures
import tables
from sweeps import command, markup, page, records
from sweeps.records import Sweep
from sweeps.rows import Row, missing_lines, rows
from sweeps.series import series

from lim_jax import config as config_lib
from lim_jax.runtime import whole_files

FILE = "report.html"
_CAPTIONS = {
    "performance": "Metrics on the test split; dashed: dense. Bars: one standard deviation.",
    "sparsity": "Zero groups and parameters of the backbone. Bars: one standard deviation.",
    "epochs": "Zero groups over the epochs, one run each.",
    "latency": "Latency of the backbone for one image, one run each, on the machine that made this page.",
    "layers": "Groups of each layer before and after training, one run each",
    "overlap": "How many of the live groups of one network live in another",
}


def write(root: pathlib.Path, which: str = "test", latency: bool = True) -> pathlib.Path:
    """Writes the page of a sweep, and returns its path.

    Args:
      root: of the sweep.
      which: results, as of `rows.of`.
      latency: whether latencies are measured.

    Raises:
      UserError: there is no sweep, or no run is done.
    """
    sweep = records.load(root)
    found = rows(sweep)
    results = tables.write(root, which=which)
    drawn = figures.write(root, which=which, latency=latency)
    sections = {
        "Tables": [page.table(title, markup.html(cells)) for title, cells in results],
        "Not done": [page.lines(missing)] if (missing := missing_lines(found)) else [],
        "Figures": page.pictures([page.Picture(path, _caption(path.stem)) for path in drawn]),
        "Example predictions": page.pictures(_examples(sweep, found)),
        "Trained on": _environments(sweep),
        "Configurations and commands": _configurations(sweep, found),
    }
    counts = collections.Counter(state.kind for state in records.states(sweep).values())
    introduction = [
        f"Plan {sweep.plan}, configuration {sweep.config}. Runs: "
        + ", ".join(f"{number} {kind}" for kind, number in counts.items())
        + f". Written on {datetime.date.today()}."
    ]
    path = root / FILE
    whole_files.write_text(path, page.page(f"Sweep {root.resolve().name}", introduction, sections))
    return path


def _caption(stem: str) -> str:
    name, _, setting = stem.partition("_")
    return _CAPTIONS[name] + (f": {setting.replace('_', ' ')}" if setting else "")


def _examples(sweep: Sweep, found: Sequence[Row]) -> list[page.Picture]:
    """Returns the predictions of one run of each row of the combination with most tasks."""
    over = series(found)
    names = [(row.name, row.finished()) for row in over.rows] if over else []
    paths = [(f"{name} ({done[0]})", sweep.root / done[0] / "report/predictions.png") for name, done in names if done]
    return [page.Picture(path, caption) for caption, path in paths if path.is_file()]


def _environments(sweep: Sweep) -> list[str]:
    """Returns what runs were trained on, each once with the number of its runs."""
    known = [records.record(sweep.root, name).get("environment") for name in sweep.runs]
    counts = collections.Counter(
        ", ".join(f"{key} {value}" for key, value in one.items() if value) for one in known if one
    )
    return [page.lines([f"{number} runs: {text}" for text, number in counts.items()])] if counts else []


def _configurations(sweep: Sweep, found: Sequence[Row]) -> list[str]:
    parts = []
    for row in found:
        if done := row.finished():
            content = config_lib.load(sweep.root / done[0]).to_dict()
            parts.append(page.folded(f"{row.name}: config.json of {done[0]}", page.as_json(content)))
    commands = "\n".join(shlex.join(["python", *run.command]) for run in sweep.runs.values())
    return [*parts, page.folded(f"the commands of all runs, typed in {sweep.cwd}", commands)]


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the command line and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, required=True, help="the folder of the sweep")
    command.add_which(parser)
    parser.add_argument("--nolatency", action="store_true", help="measure nothing")
    arguments = parser.parse_args(argv)
    path = write(arguments.root, arguments.which, not arguments.nolatency)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    command.run(main)
