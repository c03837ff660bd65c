"""The paper's own numbers (tables 1 to 3, arXiv 2308.12114), to be put beside those of a sweep.

`paper.json` holds `{table: [{"tasks", "strength", "results": {task: [mean, standard deviation]}, "group_percent",
"parameter_percent"}]}`, over five seeds; of each task the published metric. Table 3 does not say its λ.
"""

import json
import pathlib
from typing import Any

from sweeps.rows import Row, Value

_ENTRIES = json.loads(pathlib.Path(__file__).with_name("paper.json").read_text())
TABLES = tuple(_ENTRIES)
SEEDS = 5


def entry(table: str, row: Row) -> dict[str, Any] | None:
    """Returns what a table of the paper has of the tasks and the λ of a row; None: nothing."""
    if not table or row.run.target or row.run.target_macs:
        return None
    for one in _ENTRIES[table]:
        if set(one["tasks"]) == set(row.tasks) and one["strength"] in (None, row.run.strength):
            return one
    return None


def result(found: dict[str, Any] | None, task: str) -> Value | None:
    """Returns the published metric of a task in an entry."""
    if found is None or task not in found["results"]:
        return None
    mean, deviation = found["results"][task]
    return Value(mean, deviation, SEEDS)
