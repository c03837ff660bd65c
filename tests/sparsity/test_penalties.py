"""Every penalty in every metric, on groups of every arrangement, solves its problem: against float64 references."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lim_jax.sparsity import penalties
from lim_jax.sparsity.proximal import Block
from tests.sparsity import reference
from tests.sparsity.test_proximal import FACTORS, METRICS, POINTS, make_metric, make_point

# name: shapes of the arrays, and the axes of each that index the groups
ARRANGEMENTS = {
    "input channels": ([(2, 2, 5, 6)], [(2,)]),
    "joint": ([(2, 2, 5, 3), (5, 4)], [(2,), (0,)]),
    "whole leaf": ([(2, 3, 8)], [()]),
    "single elements": ([(2, 4)], [(0, 1)]),
}
RATE, L1_RATIO = 1e-3, 0.3
ADAPTIVE = [kind for kind in METRICS if kind != "identity"]


def rows(arrays, axes) -> np.ndarray:
    """The groups as rows of float64, with the elements of all arrays side by side."""
    parts = []
    for array, kept in zip(arrays, axes, strict=True):
        array = np.asarray(array.astype(jnp.float32), np.float64)
        moved = np.moveaxis(array, kept, range(len(kept)))
        parts.append(moved.reshape(math.prod(moved.shape[: len(kept)]), -1))
    return np.concatenate(parts, axis=1)


@functools.cache
def solver(penalty: penalties.Penalty, axes):
    return jax.jit(lambda arrays, metrics, strength: penalty.prox(Block(arrays, metrics, list(axes)), RATE, strength))


def spread_point(rng, kind, shape) -> np.ndarray:
    """`make_point` of the tests of operators, which wants its groups along the last but one of four axes."""
    return make_point(rng, kind, (1, 1, math.prod(shape[:-1]), shape[-1])).reshape(shape)


def problem(arrangement, point, metric, factor, dtype, seed):
    """Returns arrays, metrics (or None), the axes, u and d as rows, and a strength of `factor` times what a typical
    group needs to become zero."""
    rng = np.random.default_rng(seed)
    shapes, axes = ARRANGEMENTS[arrangement]
    arrays = [jnp.asarray(spread_point(rng, point, shape), dtype) for shape in shapes]
    metrics = [jnp.asarray(make_metric(rng, metric, shape), jnp.float32) for shape in shapes]
    u, d = rows(arrays, axes), rows(metrics, axes)
    typical = float(np.median(np.linalg.norm(u * d, axis=1))) or 1.0
    strength = min(factor * typical / (RATE * math.sqrt(u.shape[1])), 1e30)
    strength = 0.0 if strength < 1e-33 else float(np.float32(strength))
    return arrays, (None if metric == "identity" else metrics), axes, u, d, strength


def assert_optimal(name, u, d, w, strength, tolerance):
    """Compares one group with the reference, unless it is so near a threshold that float32 cannot tell."""
    t = RATE * strength * math.sqrt(len(u))
    if name == "group_mcp":
        gamma = penalties.GroupMCP().gamma
        arguments = (u, RATE, strength * math.sqrt(len(u)), gamma, d)
        best = reference.group_mcp(*arguments)
        scale = reference.group_mcp_objective(0 * u, *arguments) + 1e-300
        values = [reference.group_mcp_objective(x, *arguments) for x in (w, best)]
        assert (values[0] - values[1]) / scale < tolerance
        return
    s = 0.0
    if name == "group_lasso":
        want, near = reference.group_lasso(u, t, d), abs(np.linalg.norm(u * d) - t) <= 1e-5 * t
    elif name == "l1":
        t = RATE * strength
        want, near = reference.l1(u, t, d), np.any(np.abs(np.abs(u * d) - t) <= 1e-5 * t)
    else:
        s, t = RATE * strength * L1_RATIO, t * (1 - L1_RATIO)
        want = reference.sparse_group_lasso(u, t, s, d)
        near = abs(np.linalg.norm(np.maximum(np.abs(u * d) - s, 0)) - t) <= 1e-4 * (t + s)
    if near and strength > 0:
        return
    assert (not w.any()) == (not want.any() or np.abs(want).max() < 1.2e-38)
    np.testing.assert_allclose(w, want, rtol=0, atol=tolerance * np.abs(u).max() + 1e-37)


OF_PENALTY = {
    "group_lasso": penalties.GroupLasso(),
    "group_mcp": penalties.GroupMCP(),
    "l1": penalties.L1(),
    "sparse_group_lasso": penalties.SparseGroupLasso(L1_RATIO),
}


@pytest.mark.parametrize("metrics", [ADAPTIVE, ["identity"]], ids=["adaptive", "identity"])
@pytest.mark.parametrize("name", OF_PENALTY)
def test_penalty(name, metrics):
    # Every point meets every arrangement at least once; hypothesis chooses the rest.
    @settings(max_examples=8, deadline=None, derandomize=True, database=None)
    @given(
        st.sampled_from(metrics),
        st.sampled_from(FACTORS),
        st.sampled_from(["float32", "bfloat16"]),
        st.integers(0, 2**32 - 1),
    )
    def check(arrangement, points, metric, factor, dtype, seed):
        dtype = dtype if arrangement == "input channels" else "float32"
        for point in points:
            arrays, of_arrays, axes, u, d, strength = problem(arrangement, point, metric, factor, dtype, seed)
            result = solver(OF_PENALTY[name], tuple(axes))(arrays, of_arrays, strength)
            assert [w.dtype for w in result] == [dtype] * len(arrays)
            assert all(bool(jnp.isfinite(w.astype(jnp.float32)).all()) for w in result)
            found, tolerance = rows(result, axes), 1e-5 if dtype == "float32" else 1e-2
            if strength == 0:
                np.testing.assert_array_equal(found, u)
                continue
            for group in range(len(u)):
                assert_optimal(name, u[group], d[group], found[group], strength, tolerance)

    for arrangement in ARRANGEMENTS:
        check(arrangement, POINTS)
