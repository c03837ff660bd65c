"""What the record of an epoch is made of."""

import json

import numpy as np
import pytest

from lim_jax import balancing
from lim_jax.training import record


def sums(depth, total):
    return {
        "losses": {"depth": tuple(map(np.float32, depth))},
        "total": (np.float32(total), np.float32(1)),
        "finite": np.array([np.isfinite(total), True]),
    }


def test_sums_are_added_up_in_float64_and_survive_a_checkpoint():
    first = record.added(None, sums((0.5, 10), 1e8))
    assert first == {"losses": {"depth": [0.5, 10.0]}, "total": [1e8, 1.0], "bad_steps": 0}
    both = record.added(json.loads(json.dumps(first)), sums((0.25, 6), 1))
    assert both == {"losses": {"depth": [0.75, 16.0]}, "total": [1e8 + 1, 2.0], "bad_steps": 0}


def test_a_bad_step_is_counted_and_leaves_the_sums_alone():
    older = {"losses": {"depth": [0.5, 10.0]}, "total": [1.0, 1.0]}  # as checkpoints had them
    assert record.added(older, sums((np.nan, 10), np.nan)) == {**older, "bad_steps": 1}


@pytest.mark.parametrize(
    ("losses", "method", "log_variances", "expected"),
    [
        ({"depth": 2.0, "normals": 1.0}, "equal", {}, 3.0),
        ({"depth": 2.0, "normals": 1.0}, "uncertainty", {"depth": 1.0, "normals": 0.0}, 2 * np.exp(-1) + 1 + 1),
        ({"depth": 2.0, "normals": None}, "uncertainty", {"depth": 1.0, "normals": 5.0}, 2 * np.exp(-1) + 1),
        ({"depth": None, "normals": None}, "pcgrad", {}, None),
    ],
)
def test_the_total_is_what_the_method_judges_by(losses, method, log_variances, expected):
    validation = {task: {"loss": loss} for task, loss in losses.items()}
    found = record.validation_total(validation, balancing.create(method), log_variances)
    assert found == (None if expected is None else pytest.approx(expected))
