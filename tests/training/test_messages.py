"""The lines that a run logs."""

import types

import pytest

from lim_jax import tasks
from lim_jax.data.specs import TargetSpec
from lim_jax.training import messages

NETWORK = types.SimpleNamespace(tasks={"depth": tasks.create(TargetSpec("depth", "depth"))})
CONFIG = types.SimpleNamespace(num_epochs=9)
EVALUATED = {"validation": {"depth": {"mae": None}}, "total": {"train": 0.5, "validation": 0.25}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "epoch 3/9: loss 0.5, 12.5 % of groups zero"),
        (EVALUATED, "epoch 3/9: loss 0.5, validation 0.25 (depth mae -), 12.5 % of groups zero"),
        (
            {"compile_seconds": {"training": 40.0, "evaluation": 30.0}},
            "epoch 3/9: loss 0.5, 12.5 % of groups zero, 1 min 10 s compiling",
        ),
        ({"bad_steps": 2}, "epoch 3/9: loss 0.5, 12.5 % of groups zero, 2 steps skipped that were not finite"),
        (
            {"sparsity": {"group_percent": 100}},
            "epoch 3/9: loss 0.5, 100.0 % of groups zero, "
            "nothing is left of the backbone: lower config.sparsity.strength",
        ),
    ],
)
def test_the_line_of_an_epoch(changes, expected):
    record = {
        "epoch": 3,
        "total": {"train": 0.5},
        "sparsity": {"group_percent": 12.5},
        "compile_seconds": {"training": 0.5, "evaluation": 0.0},
    }
    assert messages.epoch_line(record | changes, NETWORK, CONFIG) == expected


def test_how_much_a_network_shrank():
    assert "194,113 -> 59,697 parameters, 632 -> 440 channels" in messages.shrunk((194113, 632), (59697, 440))
