"""Rendered rooms: a target of 70 % zero groups, without and with 4 of 16 epochs that heal, 3 seeds; 6 runs.

    python scripts/sweep.py --plan=healing --config=configs/rooms.py --root=DIR

Both have 16 epochs: those that heal get there with 4 epochs less of the penalty.
"""

from plans.combinations import runs, targets
from plans.rooms import TASKS

EPOCHS = 16
HEALING_EPOCHS = (0, 4)
RUNS = runs(
    (TASKS,),
    {
        f"{name}_healing{healing}": {"num_epochs": EPOCHS, **overrides, "sparsity.healing_epochs": healing}
        for healing in HEALING_EPOCHS
        for name, overrides in targets((0.7,)).items()
    },
    range(3),
)
