"""Which zeros a step may bring back, against counting one unit at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lim_jax import sparsity
from lim_jax.sparsity import groups as groups_lib
from lim_jax.sparsity.holding import Counting, with_zeros_held

SHAPES = {"a": (3, 3, 5, 2), "b": (7, 4), "c": (6, 3), "d": (6, 5)}
GROUPS = [("a|b", sparsity.INPUT_CHANNELS), ("c|d", sparsity.GroupAxis(sparsity.ROWS, joint="rows"))]
INDEX = {name: index for index, name in enumerate(SHAPES)}
UNITS = {"groups": 5 + 7 + 6, "single": sum(int(np.prod(shape)) for shape in SHAPES.values())}


def number(zeros):
    return sum(jnp.sum(units) for units in zeros.values()).astype(jnp.float32)


def random_step(seed, zero_before, zero_after):
    """Returns parameters before and after a step, with so large a share of zero groups, and of other zeros."""
    rng = np.random.default_rng(seed)

    def tree(zero_share):
        rows = rng.random(6) < zero_share  # of the groups that c and d share
        leaves = {}
        for name, shape in SHAPES.items():
            zero = rows if name in "cd" else rng.random(shape[-2]) < zero_share
            single = rng.random(shape) < 0.1
            leaves[name] = np.where(zero[:, None] | single, 0, rng.normal(size=shape)).astype(np.float32)
        return leaves

    return tree(zero_before), tree(zero_after)


def units_of(params, kind):
    """Returns the elements of each unit, in some order."""
    if kind == "single":
        return [np.array([value]) for leaf in params.values() for value in leaf.ravel()]
    rows = [np.concatenate([params["c"][row], params["d"][row]]) for row in range(6)]
    return [params["a"][:, :, c].ravel() for c in range(5)] + [params["b"][c] for c in range(7)] + rows


def one_by_one(before, after, least, kind):
    """Returns which units are zero in the end: the smallest of those that come back stay, until there are enough."""
    was = [not unit.any() for unit in units_of(before, kind)]
    now = units_of(after, kind)
    zero = [not unit.any() for unit in now]
    for place in sorted(range(len(now)), key=lambda place: np.abs(now[place]).mean()):
        if sum(zero) < least:
            zero[place] |= was[place]
    return zero


def counting(params, kind):
    return Counting(groups_lib.layers(GROUPS, params), kind == "single", number)


def step(before, after, least, kind):
    """Returns the parameters after a step that has to leave `least` units at zero, and how many it says are left."""
    held, left = counting(before, kind).held(jax.tree.leaves(before), dict(enumerate(jax.tree.leaves(after))), least)
    updates = jax.tree.map(lambda new, old: jnp.asarray(new - old), after, before)
    return jax.tree.map(jnp.add, before, with_zeros_held(updates, before, held)), left


@pytest.mark.parametrize("kind", UNITS)
@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1.1))
def test_as_many_stay_zero_as_it_takes_and_the_largest_come_back(kind, seed, zero_before, zero_after, share):
    before, after = random_step(seed, zero_before, zero_after)
    least = round(share * UNITS[kind])
    found, left = step(before, after, jnp.float32(least), kind)
    zero = [not np.any(unit) for unit in units_of(jax.tree.map(np.asarray, found), kind)]
    assert zero == one_by_one(before, after, least, kind)
    assert float(left) == sum(zero)


@pytest.mark.parametrize("kind", UNITS)
def test_what_is_not_held_moves_as_it_would(kind):
    before, after = random_step(0, 0.5, 0.2)
    found, _ = step(before, after, jnp.float32(0.4 * UNITS[kind]), kind)
    for name in SHAPES:
        moved = np.asarray(found[name]) != 0
        np.testing.assert_allclose(found[name][moved], after[name][moved], rtol=1e-6, atol=1e-7)
        assert not (~moved & (before[name] != 0) & (after[name] != 0)).any()


@pytest.mark.parametrize("kind", UNITS)
def test_all_zeros_stay_where_nothing_is_enough(kind):
    before, after = random_step(1, 0.4, 0.0)
    found, _ = step(before, after, jnp.float32(jnp.inf), kind)
    for name in SHAPES:
        np.testing.assert_array_equal(found[name] == 0, (before[name] == 0) | (after[name] == 0))


def test_equal_units_stay_together():
    before = {"w": jnp.zeros((10, 2))}
    layers = groups_lib.layers([("w", sparsity.ROWS)], before)
    held, left = Counting(layers, False, number).held([before["w"]], {0: jnp.ones((10, 2))}, jnp.float32(3))
    assert bool(held[0].all()) and float(left) == 10
