"""What a run says of its results."""

import types

import pytest

from lim_jax import models, tasks
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


@pytest.mark.parametrize(
    ("useless", "group_percent", "expected"),
    [
        (["depth"], 0.0, "train longer"),
        (["depth", "smiling"], 0.0, "train longer"),
        (["age"], 0.0, "train longer, or give config.model.image_head=linear, which little data can train"),
        (["depth"], 52.3, "train longer, or lower the sparsity (52 % of the groups are zero)"),
    ],
)
def test_what_may_help_depends_on_heads_and_sparsity(useless, group_percent, expected):
    heads = {
        "depth": models.head("deeplab", 1),
        "smiling": models.head("linear", 1),
        "age": models.head("classifier", 1),
    }
    network = types.SimpleNamespace(model=types.SimpleNamespace(heads=heads))
    assert results.advice(useless, group_percent, network) == expected
