"""The learning rate's factor, step by step, against the formulas that people know."""

import math
import types

import pytest

from lim_jax.training import schedules


def settings(**changes):
    values = {
        "learning_rate_schedule": "constant",
        "warmup_epochs": 0.0,
        "num_epochs": 10,
        "step_epochs": 4,
        "step_factor": 0.5,
        "poly_power": 0.9,
        "accumulation_steps": 1,
    }
    return types.SimpleNamespace(**(values | changes))


def factors(**changes):
    config = settings(**changes)
    factor = schedules.factor(config, steps_per_epoch=6)
    assert factor is not None
    return [float(factor(step)) for step in range(schedules.num_steps(config.num_epochs, config, 6))]


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_without_schedule_and_warm_up_there_is_no_factor(schedule):
    assert schedules.factor(settings(learning_rate_schedule=schedule), 6) is None


@pytest.mark.parametrize("accumulated", [1, 3])
@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        ("step", lambda step, steps: 0.5 ** math.floor(step / (0.4 * steps))),
        ("poly", lambda step, steps: (1 - step / steps) ** 0.9),
        ("cosine", lambda step, steps: (1 + math.cos(math.pi * step / steps)) / 2),
    ],
)
def test_schedules_count_the_steps_of_the_optimizer(schedule, formula, accumulated):
    found = factors(learning_rate_schedule=schedule, accumulation_steps=accumulated)
    steps = 60 // accumulated
    assert found == pytest.approx([formula(step, steps) for step in range(steps)], rel=1e-5, abs=1e-6)


def test_a_warm_up_ends_at_the_full_rate_and_then_the_schedule_begins():
    found = factors(learning_rate_schedule="poly", warmup_epochs=0.5)
    assert found[:4] == pytest.approx([1 / 3, 2 / 3, 1, 1], rel=1e-5, abs=1e-6)
    assert found[4:] == pytest.approx([(1 - step / 57) ** 0.9 for step in range(1, 57)], rel=1e-5, abs=1e-6)
    assert factors(learning_rate_schedule="plateau", warmup_epochs=1 / 6)[:2] == [1, 1]
