"""The lines that a run logs."""

import types

import ml_collections
import pytest

from configs import rooms
from lim_jax import config as config_lib
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


def _history(*epochs):
    """Records of (loss of depth, percentage of zero groups)."""
    return [
        {"epoch": epoch, "train": {"depth": {"loss": loss}}, "sparsity": {"group_percent": percent}}
        for epoch, (loss, percent) in enumerate(epochs, 1)
    ]


NOTHING_LEFT = "nothing is left of the backbone after epoch 2"


@pytest.mark.parametrize(
    ("epochs", "target", "expected"),
    [
        ([(0.5, 0.0)], 0.0, []),
        ([(0.5, 10.0), (0.4, 99.9)], 0.0, []),
        ([(0.5, 10.0), (None, 20.0)], 0.0, ["depth had no label in epoch 2"]),
        ([(None, 10.0), (None, 20.0)], 0.0, []),  # said once
        ([(0.5, 10.0), (0.4, 100.0)], 0.0, [NOTHING_LEFT, "lower config.sparsity.strength (now 0.01)"]),
        ([(0.5, 10.0), (0.4, 100.0)], 0.99, [NOTHING_LEFT, "lower config.sparsity.target (now 0.99)"]),
        ([(0.5, 100.0), (0.4, 100.0)], 0.0, []),  # said once
        ([(0.5, 71.0)], 0.0, ["71 % of the groups became zero", "a tenth of config.sparsity.strength (now 0.01)"]),
        ([(0.5, 71.0)], 0.8, []),
        ([(0.5, 41.0)], 0.0, []),  # `rooms` with its own strength
        ([(0.5, 41.0), (0.5, 71.0)], 0.0, []),
    ],
)
def test_what_is_wrong_since_the_last_epoch(epochs, target, expected):
    sparsity = {"strength": 0.01, "target": target, "target_macs": 0.0}
    config = ml_collections.ConfigDict({"sparsity": sparsity, "init_from": ""})
    warnings = messages.epoch_warnings(_history(*epochs), config)
    assert bool(warnings) == bool(expected)
    assert all(part in " ".join(warnings) for part in expected)


def test_what_training_takes_is_said_before_it_starts():
    config = config_lib.checked(rooms.get_config())
    line = messages.cost(config, steps_per_epoch=48, num_devices=1)
    assert line.startswith("epochs: 20 at most; steps in each: 48; images in each: 16; memory: ")
