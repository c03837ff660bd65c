"""Rendered rooms: penalties against pruning by magnitude, 70 % zero groups, all from the same dense networks, 3 seeds.

    python scripts/sweep.py --plan=choices --config=configs/rooms.py --root=DIR         trains the dense networks, too
    python scripts/starts.py --root=DIR                                                 prunes them
    python scripts/sweep.py --plan=pruning --config=configs/rooms.py --root=DIR
    python scripts/tables.py --root=DIR --costs

21 runs, of which the 3 dense ones are those of `choices` and `rooms`. The others begin with these: a dense network
goes on for as long again, while a penalty makes groups zero, after channels were pruned at once, or as it is. l1 makes
single weights zero: its target counts parameters.
"""

from plans.combinations import DENSE, going_on, target
from plans.rooms import EPOCHS, TASKS, of_all_tasks

TARGET = 0.7
_DENSE = going_on(f"{'+'.join(TASKS)}_dense")
_SPARSE = {**_DENSE, **target(TARGET)}
SETTINGS = {
    "dense_further": {"label": "dense, trained on", **_DENSE},
    "group_lasso": {"label": "group lasso", **_SPARSE},
    "group_mcp": {"label": "group MCP", **_SPARSE, "sparsity.penalty": "group_mcp"},
    "l1": {"label": "l1 (of single weights)", **_SPARSE, "sparsity.penalty": "l1"},
    "magnitude_groups": {
        "label": "groups pruned by magnitude, removed, trained on",
        **going_on("starts/magnitude_groups"),
    },
    "magnitude_channels": {
        "label": "channels pruned by magnitude, removed, trained on",
        **going_on("starts/magnitude_channels"),
    },
    "dense": {"label": f"dense start, {EPOCHS} epochs", **DENSE},
}
RUNS = of_all_tasks(SETTINGS)
