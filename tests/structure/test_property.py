"""Compact equals dense on random programs with random zeros; STRUCTURE_CASES=1000 tries more than 60 of them."""

import os

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lim_jax.structure import CompactFunction, known, take
from lim_jax.structure.compaction import frozen_zeros
from tests.structure.programs import programs

CASES = int(os.environ.get("STRUCTURE_CASES", "60"))
quietly = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize="STRUCTURE_CASES" not in os.environ,
    report_multiple_bugs=False,
)


def assert_close(actual, expected, message):
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True):
        np.testing.assert_allclose(b, a, atol=2e-5 * max(1.0, np.abs(a).max(initial=0)), rtol=0, err_msg=message)


@settings(quietly, max_examples=CASES)
@given(programs(), st.sampled_from((1, 1, 2, 4)))
def test_compact_equals_dense(case, round_to):
    fn, params, x, names = case
    params = jax.tree.map(jnp.asarray, params)
    smaller = CompactFunction(fn, params, [known.exactly(leaf) for leaf in jax.tree.leaves(params)], round_to)
    cut_params = take(params, smaller.decide(x))
    for seed in range(2):
        inputs = jax.random.normal(jax.random.key(seed), x.shape)
        assert_close(smaller(cut_params, inputs), fn(params, inputs), str(names))


@settings(quietly, max_examples=CASES // 3)
@given(programs(max_size=6), st.integers(0, 2**31))
def test_what_is_removed_for_good_has_no_gradient(case, seed):
    """With zero groups at zero and all else at any values, outputs and gradients are those of the whole network."""
    fn, params, x, names = case
    rng = np.random.default_rng(seed)
    groups = {name: int(rng.integers(0, leaf.ndim)) for name, leaf in params.items()}
    knowns = frozen_zeros(params, groups)
    smaller = CompactFunction(fn, params, knowns, 1)
    cuts = smaller.decide(x)
    frozen = {name: np.broadcast_to(each.mask, each.array.shape) for name, each in zip(params, knowns, strict=True)}
    trained = {
        name: jnp.where(frozen[name], 0, rng.normal(size=leaf.shape).astype(np.float32))
        for name, leaf in params.items()
    }

    def loss(fn, params):
        return sum(jnp.sum(jnp.sin(out)) for out in fn(params, jnp.asarray(x)))

    small = take(trained, cuts)
    assert_close(smaller(small, x), fn(trained, jnp.asarray(x)), str(names))
    expected = jax.grad(lambda p: loss(fn, p))(trained)
    actual = jax.grad(lambda p: loss(smaller, p))(small)
    scale = max((float(jnp.abs(leaf).max()) for leaf in expected.values()), default=0.0)
    for name, cut in cuts.items():
        free = ~frozen[name]
        np.testing.assert_allclose(
            np.where(cut(free), actual[name], 0), np.where(cut(free), cut(expected[name]), 0), atol=1e-4 * max(1, scale)
        )
        left = np.zeros(cut.shape, bool)
        left[
            np.ix_(*(np.ones(n, bool) if part is None else part for part, n in zip(cut.part, cut.shape, strict=True)))
        ] = True
        assert np.abs(np.asarray(expected[name])[free & ~left]).max(initial=0) <= 1e-5 * max(1, scale), (name, names)
