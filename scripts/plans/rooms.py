"""Rendered rooms on a small machine: all combinations of three tasks, dense and at four targets, 3 seeds; 105 runs.

    python scripts/sweep.py --plan=rooms --config=configs/rooms.py --root=DIR

A run has 8 epochs, 384 steps; sparse and dense runs have the same optimizer. Add `-- --config.num_epochs=20` for the
length of `configs/rooms.py`.
"""

from plans.combinations import all_combinations, runs, targets

EPOCHS = 8
TASKS = ("segmentation", "normals", "depth")
RUNS = {
    name: {"num_epochs": EPOCHS, **overrides}
    for name, overrides in runs(all_combinations(TASKS), targets((0.0, 0.3, 0.5, 0.7, 0.9)), range(3)).items()
}
