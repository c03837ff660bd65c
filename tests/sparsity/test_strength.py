"""A target of sparsity: its law at every step, that it is reached without swinging, and its rest."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lim_jax import sparsity


def controlled(strength, steps, goal):
    """Returns the shares of zero groups and the strengths while Adam pulls the rows of ones towards those of `goal`."""
    tx = sparsity.proximal_adam(0.01, strength, [("w", sparsity.ROWS)])

    def step(carry, _):
        params, state = carry
        updates, state = tx.update({"w": params["w"] - goal}, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (jnp.mean(jnp.all(params["w"] == 0, axis=1)), state.strength)

    start = {"w": jnp.ones_like(goal)}
    return jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=steps)[1])(start)


# Groups of a quadratic with gradients of all sizes.
GOAL = jnp.logspace(-4, 0, 100)[:, None] * jax.random.normal(jax.random.key(0), (100, 8))


@pytest.mark.parametrize("target, start", [(0.3, 0), (0.8, 0), (0.5, 400)])
def test_target_sparsity_is_reached_without_swinging(target, start):
    shares, strengths = controlled(sparsity.TargetSparsity(target, 1000, start), 1000, GOAL)
    assert abs(float(shares[-1]) - target) <= 0.02
    assert float(shares.max()) <= target + 0.02
    assert float(jnp.ptp(shares[-200:])) < 0.025
    acting = strengths[-200:][strengths[-200:] > 0]
    assert not acting.size or float(jnp.ptp(jnp.log(acting))) < 0.5
    rest = start + round(0.7 * (1000 - start)) + 1
    assert not strengths[:start].any() and bool((strengths[start:rest] > 0).all())


def by_the_law(target, steps, start, shares):
    """Returns the strengths that the law of the module's docstring gives for the shares after each step, in float64;
    and the first step whose reference is the target.

    k counts steps from the first on, `length` those from the first with a strength on.
    """
    length, smoothed, reached = steps - start, 0.0, 0.0
    logarithm = lowest = np.log(1e-7)
    onset, strengths, rest = None, [], None

    def reference(k):
        if onset is None:
            return 0.0
        x = np.clip((k - start - onset) / max(0.7 * length - onset, 0.05 * length), 0.0, 1.0)
        return target * (1.0 - (1.0 - x) ** 3)

    def shrunk(error):
        return np.clip(np.sign(error) * max(abs(error) - 0.005, 0.0), -0.25, 0.25)

    for k in range(1, steps + 1):
        settled = reference(k - 1) >= target and 0.0 <= reached - target <= 0.01
        proportional = 0.0 if onset is None else 5.0 * shrunk(reference(k - 1) - smoothed)
        strengths.append(0.0 if k <= start or settled else np.exp(logarithm + proportional))
        if rest is None and reference(k) >= target:
            rest = k
        reached = float(shares[k - 1])
        smoothed += (reached - smoothed) / max(0.005 * length, 1.0)
        if k + 1 < start:
            continue
        if onset is None and smoothed >= 0.05 * target:
            onset = k + 1 - start
        change = 40.0 if onset is None else 150.0 * shrunk(reference(k + 1) - smoothed)
        logarithm = max(logarithm + change / length, lowest)
    return np.asarray(strengths), rest


@pytest.mark.parametrize("target, start", [(0.3, 0), (0.8, 0), (0.5, 400)])
def test_a_target_obeys_its_law_at_every_step(target, start):
    shares, strengths = controlled(sparsity.TargetSparsity(target, 1000, start), 1000, GOAL)
    expected, rest = by_the_law(target, 1000, start, shares)
    np.testing.assert_allclose(strengths, expected, rtol=2e-3)
    before, after = shares[rest - 2 : -1], shares[rest - 1 :]  # rest is the number of a step, from 1 on
    assert bool((after >= jnp.minimum(before, target) - 1e-6).all())


def settling(target, shares, ramp=0.0):
    """Returns the shares and strengths of the sixth to eighth of ten steps, with rows that all want to come back, and
    of which as many are zero at first as `shares` says. The target is at rest from the share `ramp` of the steps on."""
    rows, pull = 100, jnp.arange(1.0, 101.0)[:, None]  # no two rows pull alike
    at_rest = sparsity.TargetSparsity(target, 10, ramp=ramp)
    tx = sparsity.proximal_adam(0.01, at_rest, [("w", sparsity.ROWS)])
    zero = jnp.arange(rows)[:, None] < shares * rows
    params = {"w": jnp.where(zero, 0.0, jnp.ones((rows, 4)))}
    state = tx.init(params)
    steered = state.target._replace(
        onset=jnp.float32(0), reached=jnp.float32(shares), sparsity=jnp.float32(shares), log_strength=jnp.float32(-9)
    )
    state, found = state._replace(target=steered, count=jnp.int32(5)), []
    for _ in range(3):
        updates, state = tx.update({"w": -pull * jnp.ones_like(params["w"])}, state, params)
        params = optax.apply_updates(params, updates)
        found.append((float(jnp.mean(jnp.all(params["w"] == 0, axis=1))), float(state.strength)))
    return zip(*found, strict=True)


@pytest.mark.parametrize(
    ("share", "left", "acts"),
    [
        (0.40, 0.40, [True, True, True]),  # short of the target: nothing comes back, and λ goes on
        (0.50, 0.50, [False, False, False]),  # at it: λ is off
        (0.51, 0.51, [False, False, False]),
        (0.60, 0.50, [True, False, False]),  # above it: as many come back as may
    ],
)
def test_at_rest_no_step_leaves_less_than_the_target(share, left, acts):
    shares, strengths = settling(0.5, share)
    assert list(shares) == [pytest.approx(left)] * 3
    assert [strength > 0 for strength in strengths] == acts


def test_above_the_target_groups_come_back_at_rest():
    shares, _ = settling(0.0, 0.6)
    assert list(shares) == [0.0] * 3


@pytest.mark.parametrize(("ramp", "left"), [(0.6, 0.5), (0.7, 0.0)], ids=["sixth", "seventh"])
def test_rest_begins_with_the_step_that_is_to_leave_the_target(ramp, left):
    shares, _ = settling(0.5, 0.5, ramp)
    assert shares[0] == pytest.approx(left)


def test_a_target_may_steer_something_else():
    """Each group weighs as much as its place in the list."""
    weights = jnp.arange(100.0) / jnp.arange(100.0).sum()
    target = sparsity.TargetSparsity(0.5, 1000, measure=lambda zero: jnp.sum(zero["w"] * weights))
    tx = sparsity.proximal_adam(0.01, target, [("w", sparsity.ROWS)])

    def step(carry, _):
        params, state = carry
        updates, state = tx.update({"w": params["w"] - GOAL}, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = {"w": jnp.ones_like(GOAL)}
    (params, _), _ = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=1000))(start)
    zero = jnp.all(params["w"] == 0, axis=1)
    assert float(jnp.sum(zero * weights)) == pytest.approx(0.5, abs=0.03)
    assert float(jnp.mean(zero)) > 0.6


def test_strength_stays_sane_where_groups_died_for_good():
    """Rows that nothing pulls away from zero make more zeros than asked for, whatever the strength."""
    goal = jnp.where(jnp.arange(100)[:, None] < 40, 0.0, GOAL[60:100].mean() + 1.0)
    shares, strengths = controlled(sparsity.TargetSparsity(0.2, 500, initial_strength=1e-3), 500, goal)
    assert float(shares[-1]) == pytest.approx(0.4)
    assert float(strengths.min()) >= 1e-3 * np.exp(-5 * 0.25) * 0.99
