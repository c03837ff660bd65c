#!/usr/bin/env python3
"""Writes the tables of a sweep, finished or not: `python scripts/tables.py --root=DIR`.

Prints them, and writes DIR/tables/results.{md,csv,tex} and tests.{md,csv,tex}:

- results: a row for the runs that differ in their seed alone, mean ± standard deviation (of a sample) on the test
  split, the best mean of each column in bold, zero groups and parameters of the backbone, Δm over the dense networks of
  one task each (of a sweep that only trains the same tasks together: over its first dense row); the paper's own numbers
  beside, where it has any. --costs adds what is left of each network without its zeros: parameters, MACs, latency for
  one image on this machine, all networks in turns, kept in DIR/tables/costs.json; remove it to measure again.
- tests: paired t-tests across seeds, sparse against dense, and several tasks against one (or, with --against=SETTING,
  all others of the same tasks against this row): the means over all combinations of tasks, then each; p also corrected
  for the number of each kind (Holm).

Runs that are not done are listed below with what became of them.
"""

import argparse
import pathlib
from collections.abc import Sequence

from sweeps import command, costs, markup, records, significance
from sweeps import tables as tables_lib
from sweeps.rows import missing_lines, rows

from lim_jax.errors import UserError
from lim_jax.runtime import whole_files

_ENDINGS = {"markdown": "md", "latex": "tex"}


def write(
    root: pathlib.Path, metrics: Sequence[str] = (), which: str = "test", with_costs: bool = False, against: str = ""
) -> list[tuple[str, markup.Rows]]:
    """Writes all tables of a sweep, and returns their titles and cells.

    Args:
      root: of the sweep.
      metrics: "task.metric" each; empty: the published one of each task.
      which: results, as of `rows.of`.
      with_costs: whether networks are measured.
      against: the setting that others are tested against, as in the table; empty: as in `significance.comparisons`.

    Raises:
      UserError: there is no sweep, no run is done, or there is no such metric or setting.
    """
    sweep = records.load(root)
    found = rows(sweep)
    if not any(row.results for row in found):
        raise UserError(f"no run in {root} is done: see python scripts/sweep.py --root={root} --status")
    signs = tables_lib.chosen_metrics(sweep, metrics)
    folder = root / "tables"
    done = [name for row in found for name in row.finished()]
    known = costs.known(root, done, folder / "costs.json", backbone=False) if with_costs else None
    columns = tables_lib.columns(sweep, found, signs, which, known)
    tests = significance.comparisons(found, signs, which, against)
    cells = {
        "results": (tables_lib.results_table(found, columns), tables_lib.results_csv(found, columns)),
        "tests": (tables_lib.tests_table(tests), tables_lib.tests_csv(tests)),
    }
    folder.mkdir(exist_ok=True)
    for name, (table, as_csv) in cells.items():
        whole_files.write_text(folder / f"{name}.csv", as_csv)
        for form, ending in _ENDINGS.items():
            whole_files.write_text(folder / f"{name}.{ending}", markup.table(table, form) + "\n")
    titles = {"results": f"Results ({which})", "tests": "Paired tests across seeds"}
    return [(titles[name], table) for name, (table, _) in cells.items()]


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the command line, writes and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, required=True, help="the folder of the sweep")
    parser.add_argument("--metrics", default="", help="task.metric, with commas (default: the paper's)")
    command.add_which(parser)
    parser.add_argument("--costs", action="store_true", help="also what is left of each network, and its latency")
    parser.add_argument("--against", default="", help="the setting that others are tested against, as the table has it")
    arguments = parser.parse_args(argv)
    metrics = list(filter(None, arguments.metrics.split(",")))
    for title, cells in write(arguments.root, metrics, arguments.which, arguments.costs, arguments.against):
        print(f"{title}\n\n{markup.table(cells, 'markdown')}\n")
    if missing := missing_lines(rows(records.load(arguments.root))):
        print("Not done:\n\n" + "\n".join(f"- {line}" for line in missing) + "\n")
    print(f"also in {arguments.root / 'tables'}, as CSV and LaTeX too")


if __name__ == "__main__":
    command.run(main)
