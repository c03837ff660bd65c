"""What a run says of its results."""

import types

import pytest

from lim_jax import tasks
from lim_jax.data.specs import TargetSpec
from lim_jax.training import results

TASKS = {
    "segmentation": tasks.create(TargetSpec("segmentation", "segmentation", ("wall", "floor"))),
    "depth": tasks.create(TargetSpec("depth", "depth")),
}


@pytest.mark.parametrize(
    ("iou", "mae", "expected"),
    [
        (0.5, 0.1, []),
        (0.2, 0.1, ["segmentation"]),
        (0.3, 0.1, ["segmentation"]),  # equal is not better
        (0.5, 0.3, ["depth"]),
        (0.2, 0.3, ["segmentation", "depth"]),
        (None, 0.1, []),  # no labels in the test split
    ],
)
def test_tasks_that_learned_nothing_are_named(iou, mae, expected):
    content = {
        "test": {"segmentation": {"iou": iou}, "depth": {"mae": mae}},
        "test_constant": {"segmentation": {"iou": 0.3}, "depth": {"mae": 0.2}},
    }
    assert results.no_better_than_constant(content, types.SimpleNamespace(tasks=TASKS)) == expected
