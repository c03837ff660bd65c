"""Rendered rooms: compact networks trained from scratch, and trained on, beside the sparse ones, 3 seeds; 12 runs.

    python scripts/sweep.py --plan=choices --config=configs/rooms.py --root=DIR         trains the sparse networks, too
    python scripts/starts.py --root=DIR                                                 compacts them
    python scripts/sweep.py --plan=compact --config=configs/rooms.py --root=DIR
    python scripts/tables.py --root=DIR --costs

The 6 dense and sparse runs are those of `choices` and `rooms`. From scratch: the compact network's widths, new weights,
as many epochs as the sparse network had.
"""

from plans.combinations import DENSE, going_on, targets
from plans.rooms import of_all_tasks

TARGET = 0.7
SETTINGS = {
    "dense": DENSE,
    **targets([TARGET]),
    "fresh": {"label": "compact, from scratch", **going_on("starts/fresh")},
    "compact": {"label": "target 70 %, then compact, trained on", **going_on("starts/compact")},
}
RUNS = of_all_tasks(SETTINGS)
