"""Compact equals dense on random programs with random zeros; STRUCTURE_CASES says how many are tried."""

import os

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, given, settings

from lim_jax.structure import compaction
from tests.structure.programs import programs

CASES = int(os.environ.get("STRUCTURE_CASES", "60"))


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=CASES == 60, report_multiple_bugs=False)
@given(programs())
def test_compact_equals_dense(case):
    fn, params, x, names = case
    params = jax.tree.map(jnp.asarray, params)
    smaller, _, cut_params = compaction.cut(fn, params, x)
    for seed in range(2):
        inputs = jax.random.normal(jax.random.key(seed), x.shape)
        expected, actual = fn(params, inputs), smaller(cut_params, inputs)
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True):
            np.testing.assert_allclose(b, a, atol=2e-5 * max(1.0, np.abs(a).max()), rtol=0, err_msg=str(names))
