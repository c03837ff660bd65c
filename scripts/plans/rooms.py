"""Rendered rooms on a small machine: all combinations of three tasks, dense and at four targets, 3 seeds; 105 runs.

    python scripts/sweep.py --plan=rooms --config=configs/rooms.py --root=DIR

A run has 8 epochs, 384 steps; sparse and dense runs have the same optimizer. Add `-- --config.num_epochs=20` for the
length of `configs/rooms.py`.
"""

from collections.abc import Mapping

from plans.combinations import Overrides, all_combinations, runs, targets

EPOCHS = 8
TASKS = ("segmentation", "normals", "depth")
SEEDS = range(3)


def of_all_tasks(settings: Mapping[str, Overrides]) -> dict[str, Overrides]:
    """Returns a run of all tasks together for each setting and seed, as long as the runs of this plan."""
    return runs((TASKS,), {word: {"num_epochs": EPOCHS, **of} for word, of in settings.items()}, SEEDS)


RUNS = {
    name: {"num_epochs": EPOCHS, **overrides}
    for name, overrides in runs(all_combinations(TASKS), targets((0.0, 0.3, 0.5, 0.7, 0.9)), SEEDS).items()
}
