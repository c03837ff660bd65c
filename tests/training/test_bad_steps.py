"""Steps that are not finite, or without a label: skipped to the last bit, counted, named."""

import re

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from lim_jax.training import bad_steps
from lim_jax.training.state import TrainState
from lim_jax.training.step import BatchGradients, update

OPTIMIZER = optax.adamw(0.1, weight_decay=0.1)
CONFIG = ml_collections.ConfigDict({"ema_decay": 0.0})


def state_and_gradients():
    """A state in the middle of training, and what a batch gives it."""
    params = {"backbone": {"conv": {"kernel": jnp.ones((2, 3))}}, "heads_depth": {"bias": jnp.ones(4)}}
    log_variances = {"depth": jnp.float32(0.5)}
    stats = {"backbone": {"mean": jnp.ones(3)}}
    active = {"depth": jnp.ones((), bool)}
    learned = {**params, "loss_weighting": log_variances}
    state = TrainState(jnp.int32(7), params, log_variances, stats, OPTIMIZER.init(learned), active)
    sums = {"losses": {"depth": (jnp.float32(3), jnp.float32(6))}, "total": (jnp.float32(0.5), jnp.float32(1))}
    gradients = jax.tree.map(lambda leaf: 0.5 * leaf, learned)
    return state, BatchGradients(gradients, jax.tree.map(lambda leaf: 2 * leaf, stats), sums)


def with_gradient(value):
    def change(batch):
        batch.gradients["backbone"]["conv"]["kernel"] = (
            batch.gradients["backbone"]["conv"]["kernel"].at[1, 2].set(value)
        )

    return change


def with_statistic(batch):
    batch.batch_stats["backbone"]["mean"] = jnp.array([1.0, jnp.inf, 1.0])


def with_loss(loss, count=6.0):
    def change(batch):
        batch.sums["losses"]["depth"] = (jnp.float32(loss), jnp.float32(count))
        batch.sums["total"] = (jnp.float32(loss), jnp.float32(1))

    return change


@pytest.mark.parametrize(
    ("change", "moves", "bad"),
    [
        (lambda batch: None, True, False),
        (with_gradient(jnp.nan), False, True),
        (with_gradient(-jnp.inf), False, True),
        (with_gradient(1e30), False, True),  # its square is not finite, and would stay in Adam's second moment
        (with_gradient(1e15), True, False),
        (with_statistic, False, True),
        (with_loss(jnp.nan), False, True),
        (with_loss(jnp.inf), False, True),
        (with_loss(0.0, count=0.0), False, False),  # no label: nothing to learn, nothing wrong
    ],
)
def test_what_a_step_does_to_the_state(change, moves, bad):
    state, batch = state_and_gradients()
    change(batch)
    new, sums = jax.jit(lambda state, batch: update(state, batch, optimizer=OPTIMIZER, config=CONFIG))(state, batch)
    assert new.step == state.step + 1
    changed = jax.tree.leaves(
        jax.tree.map(
            lambda a, b: bool(jnp.any(a != b)), new.replace(step=state.step, active={}), state.replace(active={})
        )
    )
    assert any(changed) == moves
    assert bad_steps.is_bad(sums) == bad


def test_a_step_is_taken_as_without_the_check():
    state, batch = state_and_gradients()
    new, _ = jax.jit(lambda state, batch: update(state, batch, optimizer=OPTIMIZER, config=CONFIG))(state, batch)

    @jax.jit
    def unchecked(gradients, opt_state, learned):
        updates, opt_state = OPTIMIZER.update(gradients, opt_state, learned)
        return optax.apply_updates(learned, updates), opt_state

    expected = unchecked(batch.gradients, state.opt_state, state.learned)
    jax.tree.map(np.testing.assert_array_equal, (new.learned, new.opt_state), expected)


def found(losses, finite):
    return {"losses": {task: (loss, 1.0) for task, loss in losses.items()}, "finite": np.array(finite)}


LEARNED = {"backbone": {f"conv{i}": {"kernel": 0, "bias": 0} for i in range(5)}, "heads_depth": {"kernel": 0}}
GOOD = found({"depth": 1.0}, [True] * 12)


@pytest.mark.parametrize(
    ("losses", "bad_leaves", "line"),
    [
        ({"depth": np.nan, "normals": 1.0}, [0], r"3 steps in a row, the last of them step 40, .* \(loss of depth\)"),
        ({"depth": 1.0}, [1, 2], r"\(gradients of backbone/conv0\)"),
        (
            {"depth": np.inf, "normals": np.nan},
            range(12),
            r"\(loss of depth, normals; gradients of backbone/conv0, .*, backbone/conv2 and 3 more layers\)",
        ),
        ({"depth": 1.0}, [0], "batch statistics"),
    ],
)
def test_the_tenth_bad_step_in_a_row_names_what_is_not_finite(losses, bad_leaves, line):
    config = ml_collections.ConfigDict({"learning_rate": 0.1, "max_bad_steps": 3})
    bad = found(losses, [index not in bad_leaves for index in range(12)])
    number = 0
    for sums in (bad, bad, GOOD, bad, bad):
        number = bad_steps.in_a_row(number, sums)
        assert bad_steps.too_many(number, 39, sums, LEARNED, config) is None
    assert re.search(line, bad_steps.too_many(bad_steps.in_a_row(number, bad), 40, bad, LEARNED, config))
