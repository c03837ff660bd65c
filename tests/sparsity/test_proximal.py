"""The proximal operators solve their problems: float64 references, optimality conditions, degenerate inputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lim_jax import sparsity
from lim_jax.sparsity.proximal import Block, group_lasso
from tests.sparsity import reference

SHAPES = [(1, 4, 1), (3, 4, 5), (3, 3, 4, 16)]
POINTS = ["random", "zero group", "all equal", "one element", "tiny", "huge", "decades"]
METRICS = ["identity", "adam", "zero entries", "all zero", "all equal", "tiny"]
FACTORS = [0.0, 1e-6, 0.01, 0.3, 0.9, 0.999, 1.001, 3.0, 1e30]


def make_point(rng, kind: str, shape) -> np.ndarray:
    u = rng.standard_normal(shape)
    if kind == "zero group":
        u[..., 1, :] = 0
    if kind == "all equal":
        u = np.full(shape, 0.3)
    if kind == "one element":
        u = np.where(rng.permutation(u.size).reshape(shape) < 3, u, 0)
    if kind == "decades":
        u = u * 10 ** rng.uniform(-4, 0, shape)
    return u * {"tiny": 1e-30, "huge": 1e15}.get(kind, 1.0)


def make_metric(rng, kind: str, shape) -> np.ndarray:
    d = 10 ** rng.uniform(-8, -2, shape)
    if kind == "zero entries":
        d = np.where(rng.uniform(size=shape) < 0.3, 0, d)
    if kind == "all zero":
        d = np.zeros(shape)
    if kind in ("identity", "all equal"):
        d = np.full(shape, 1.0 if kind == "identity" else 0.01)
    return d * (1e-22 if kind == "tiny" else 1.0)


def groups_of(array) -> list[np.ndarray]:
    return list(np.moveaxis(np.asarray(array, np.float64), -2, 0).reshape(array.shape[-2], -1))


problems = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "shape": st.sampled_from(SHAPES),
        "point": st.sampled_from(POINTS),
        "metric": st.sampled_from(METRICS),
        "factor": st.sampled_from(FACTORS),
        "dtype": st.sampled_from(["float32", "float32", "bfloat16"]),
    }
)
check = functools.partial(settings, deadline=None, derandomize=True, database=None)


def build(problem) -> tuple[jax.Array, jax.Array | None, np.ndarray, float]:
    """Returns u, the metric to pass, the same as float64, and a threshold of `factor` times a typical ‖d ⊙ u‖."""
    rng = np.random.default_rng(problem["seed"])
    u = jnp.asarray(make_point(rng, problem["point"], problem["shape"]), problem["dtype"])
    d = jnp.asarray(make_metric(rng, problem["metric"], problem["shape"]), jnp.float32)
    exact = np.asarray(d, np.float64)
    norms = [np.linalg.norm(a) for a in groups_of(exact * np.asarray(u, np.float64))]
    typical = float(np.median(norms)) or 1.0
    threshold = float(np.float32(np.clip(problem["factor"] * typical, 0, 1e37)))
    threshold = 0.0 if threshold < 1e-37 else threshold
    return u, (None if problem["metric"] == "identity" else d), exact, threshold


def assert_solves(result, u, expected: list[np.ndarray], undecided=lambda group: False):
    """Compares group by group; groups so near the threshold that float32 cannot tell are only required to be finite."""
    assert result.shape == u.shape and result.dtype == u.dtype
    assert bool(jnp.isfinite(result.astype(jnp.float32)).all())
    tolerance = 1e-5 if u.dtype == jnp.float32 else 1e-2
    for index, (got, want, point) in enumerate(zip(groups_of(result), expected, groups_of(u), strict=True)):
        if undecided(index):
            continue
        assert (not got.any()) == (not want.any() or np.abs(want).max() < 1.2e-38)
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(point).max() + 1e-37)


def near(norms, threshold, tolerance=3e-6):
    return lambda index: abs(norms[index] - threshold) <= tolerance * threshold


@check(max_examples=150)
@given(problems)
def test_group_lasso(problem):
    u, metric, d, t = build(problem)
    expected = [reference.group_lasso(v, t, m) for v, m in zip(groups_of(u), groups_of(d), strict=True)]
    norms = [np.linalg.norm(v * m) for v, m in zip(groups_of(u), groups_of(d), strict=True)]
    assert_solves(sparsity.prox_group_lasso(u, t, metric), u, expected, near(norms, t))


@check(max_examples=80)
@given(problems)
def test_l1(problem):
    u, metric, d, t = build(problem)
    expected = [reference.l1(v, t, m) for v, m in zip(groups_of(u), groups_of(d), strict=True)]
    margin = [
        np.min(np.abs(np.abs(v * m) / t - 1)) if t else 1.0 for v, m in zip(groups_of(u), groups_of(d), strict=True)
    ]
    assert_solves(sparsity.prox_l1(u, t, metric), u, expected, lambda index: margin[index] < 3e-6)


@check(max_examples=100)
@given(problems, st.sampled_from([0.0, 1e-3, 0.3, 2.0]))
def test_sparse_group_lasso(problem, l1_factor):
    u, metric, d, t = build(problem)
    s = min(l1_factor * t, 1e37)
    expected = [reference.sparse_group_lasso(v, t, s, m) for v, m in zip(groups_of(u), groups_of(d), strict=True)]
    norms = [np.linalg.norm(np.maximum(np.abs(v * m) - s, 0)) for v, m in zip(groups_of(u), groups_of(d), strict=True)]
    result = sparsity.prox_sparse_group_lasso(u, t, s, metric)
    assert_solves(result, u, expected, near(norms, t, 3e-5))


@check(max_examples=100)
@given(problems, st.sampled_from([0.5, 3.0, 100.0, 1e6]), st.sampled_from([1e-4, 1.0]))
def test_group_mcp(problem, flat_factor, learning_rate):
    """Its value of the objective is the least, in convex problems (small η/γ) and others."""
    u, metric, d, t = build(problem)
    points, metrics = groups_of(u), groups_of(d)
    strength = float(np.float32(min(t, 1e25) / learning_rate))
    typical = np.median([np.linalg.norm(v) for v in points]) or 1.0
    gamma = float(np.float32(np.clip(flat_factor * typical / max(strength, 1e-30), 1e-30, 1e30)))
    result = sparsity.prox_group_mcp(u, learning_rate, strength, gamma, metric)
    assert result.dtype == u.dtype and bool(jnp.isfinite(result.astype(jnp.float32)).all())
    for got, v, m in zip(groups_of(result), points, metrics, strict=True):
        if strength == 0:
            np.testing.assert_array_equal(got, v)
            continue
        arguments = (v, learning_rate, strength, gamma, m)
        best = reference.group_mcp(*arguments)
        scale = reference.group_mcp_objective(0 * v, *arguments) + 1e-300
        excess = (
            reference.group_mcp_objective(got, *arguments) - reference.group_mcp_objective(best, *arguments)
        ) / scale
        assert excess < (1e-5 if u.dtype == jnp.float32 else 1e-2)
        if not best.any() and excess > 1e-5:
            assert not got.any()


@pytest.mark.parametrize("shape", [(3, 3, 16, 32), (1, 1, 8, 64), (2, 1, 12, 8), (1, 1, 64, 2)])
@pytest.mark.parametrize("decades", [(-8, -2), (-4, -3)])
def test_optimality_in_float64(shape, decades):
    """`d (w - u) + t w / ‖w‖ = 0`, or `‖d u‖ ≤ t` for a zero group, and no other groups are zero."""
    rng = np.random.default_rng(0)
    u, d = rng.standard_normal(shape), 10 ** rng.uniform(*decades, shape)
    norms = np.array([np.linalg.norm(a) for a in groups_of(u * d)])
    for factor in (1e-6, 1e-2, 0.5, 1.0, 1.5):
        t = factor * np.median(norms)
        with jax.enable_x64(True):
            w = np.asarray(sparsity.prox_group_lasso(jnp.asarray(u), t, jnp.asarray(d)))
        assert w.dtype == np.float64
        for index, (got, v, m) in enumerate(zip(groups_of(w), groups_of(u), groups_of(d), strict=True)):
            assert (not got.any()) == (norms[index] <= t)
            if got.any():
                residual = m * (got - v) + t * got / np.linalg.norm(got)
                assert np.abs(residual).max() < 1e-12 * norms[index]


def test_group_mcp_optimality_in_float64():
    rng = np.random.default_rng(1)
    u, d = rng.standard_normal((3, 3, 16, 8)) * 0.1, 10 ** rng.uniform(-5, -3, (3, 3, 16, 8))
    norms = [np.linalg.norm(a) for a in groups_of(u * d)]
    rate, gamma = 1e-4, 30.0  # rate / gamma is below every entry of d: a convex problem
    strength = float(np.median(norms)) / rate
    with jax.enable_x64(True):
        w = np.asarray(sparsity.prox_group_mcp(jnp.asarray(u), rate, strength, gamma, jnp.asarray(d)))
    kinds = set()
    for got, v, m, norm in zip(groups_of(w), groups_of(u), groups_of(d), norms, strict=True):
        size = np.linalg.norm(got)
        if size == 0:
            kinds.add("zero")
            assert norm <= rate * strength
            continue
        slope = rate * max(strength - size / gamma, 0)
        kinds.add("shrunk" if slope > 0 else "kept")
        assert np.abs(m * (got - v) + slope * got / size).max() < 1e-12 * norm
    assert kinds >= {"zero", "shrunk"}


def test_group_mcp_leaves_large_groups_alone():
    u = jnp.ones((1, 1, 2, 4)) * jnp.array([0.1, 5.0])[:, None]
    w = sparsity.prox_group_mcp(u, 0.1, 1.0, 3.0)
    np.testing.assert_array_equal(w[:, :, 1], u[:, :, 1])
    assert float(jnp.linalg.norm(w[:, :, 0])) < 0.2


@pytest.mark.parametrize("group_axis", [0, -1, 1, (0, 3), ()])
def test_any_axis(group_axis):
    """Groups along any axis are those along -2 of the array with its axes moved."""
    rng = np.random.default_rng(2)
    u = jnp.asarray(rng.standard_normal((3, 4, 5, 6)), jnp.float32)
    d = jnp.asarray(10 ** rng.uniform(-5, -3, u.shape), jnp.float32)
    axes = [axis % 4 for axis in ((group_axis,) if isinstance(group_axis, int) else group_axis)]
    groups = np.prod([u.shape[axis] for axis in axes], dtype=int)

    def flat(x):
        return jnp.moveaxis(x, axes, range(len(axes))).reshape(groups, -1)[..., None]

    t = 0.9 * float(jnp.median(jnp.linalg.norm(flat(u * d)[..., 0], axis=1)))
    result = sparsity.prox_group_lasso(u, t, d, group_axis=group_axis)
    expected = sparsity.prox_group_lasso(flat(u), t, flat(d), group_axis=0)
    np.testing.assert_allclose(flat(result), expected, rtol=1e-5, atol=1e-8)


def test_joint_groups_are_those_of_the_arrays_side_by_side():
    rng = np.random.default_rng(3)
    u, v = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in [(3, 3, 8, 4), (5, 8)])
    d, e = (jnp.asarray(10 ** rng.uniform(-5, -3, x.shape), jnp.float32) for x in (u, v))

    def together(x, y):
        return jnp.concatenate([jnp.moveaxis(x, 2, 0).reshape(8, -1), y.T], axis=1)

    t = float(jnp.median(jnp.linalg.norm(together(u * d, v * e), axis=1)))
    first, second = jax.jit(lambda *arrays: group_lasso(Block(arrays[:2], arrays[2:], [(2,), (1,)]), t))(u, v, d, e)
    expected = sparsity.prox_group_lasso(together(u, v), t, together(d, e), group_axis=0)
    np.testing.assert_allclose(together(first, second), expected, rtol=2e-5, atol=1e-8)


def test_axes_out_of_range():
    with pytest.raises(ValueError, match="out of range"):
        sparsity.prox_group_lasso(jnp.ones((2, 3)), 1.0, group_axis=2)
    with pytest.raises(ValueError, match="twice"):
        sparsity.prox_group_lasso(jnp.ones((2, 3)), 1.0, group_axis=(1, -1))
    with pytest.raises(ValueError, match="shape"):
        sparsity.prox_group_lasso(jnp.ones((2, 3)), 1.0, jnp.ones((3, 2)))
