"""Every method against its paper's formula, or against an independent solver in float64, on small problems."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from lim_jax import balancing
from lim_jax.errors import UserError

LOSSES = {"segmentation": 2.5, "depth": 0.04, "normals": 0.3}
VALUES = np.array(list(LOSSES.values()))
LOG_VARIANCES = {"segmentation": 0.7, "depth": -1.2, "normals": 0.0}
KEY = jax.random.key(0)


def scalars(values):
    return {task: jnp.float32(value) for task, value in values.items()}


def counts(*tasks):
    return {task: jnp.float32(10 if task in tasks else 0) for task in LOSSES}


def value_and_weights(method, state=None, tasks=tuple(LOSSES), losses=LOSSES, key=KEY):
    """The total loss of a method, and its derivatives with respect to the tasks' losses."""

    def total(losses):
        return method.total(losses, counts(*tasks), scalars(LOG_VARIANCES), state or {}, key)

    value, weights = jax.value_and_grad(total)(scalars(losses))
    return float(value), np.array([float(weights[task]) for task in LOSSES])


def method_of(name):
    return balancing.create(name, tuple(LOSSES), (1.0, 10.0, 0.5))


OF_LOSSES = [name for name in balancing.METHODS if isinstance(method_of(name), balancing.LossBalancing)]
OF_GRADIENTS = ["pcgrad", "cagrad", "upgrad"]


@pytest.mark.parametrize(
    ("name", "value", "weights"),
    [
        ("equal", VALUES.sum(), np.ones(3)),
        ("uniform", VALUES.sum(), np.ones(3)),
        ("fixed", VALUES @ [1, 10, 0.5], [1, 10, 0.5]),
        (
            "uncertainty",
            sum(np.exp(-s) * loss + s for loss, s in zip(VALUES, LOG_VARIANCES.values(), strict=True)),
            np.exp([-0.7, 1.2, 0.0]),
        ),
        ("gls", np.prod(VALUES) ** (1 / 3), np.prod(VALUES) ** (1 / 3) / (3 * VALUES)),
        ("famo", np.mean(np.log(VALUES)) / np.mean(1 / VALUES), (1 / VALUES) / np.sum(1 / VALUES)),
        ("stch", np.log(VALUES).sum(), 1 / VALUES),  # in its warm-up
    ],
)
def test_the_first_step_follows_the_formula(name, value, weights):
    method = method_of(name)
    found, derivatives = value_and_weights(method, method.init(3))
    assert found == pytest.approx(value, rel=1e-5)
    assert derivatives == pytest.approx(weights, rel=1e-5)


@pytest.mark.parametrize("name", OF_LOSSES)
def test_a_task_without_labels_counts_nowhere(name):
    method = method_of(name)
    losses = LOSSES | {"normals": np.nan}
    value, weights = value_and_weights(method, method.init(3), ("segmentation", "depth"), losses)
    assert np.isfinite(value) and weights[2] == 0 and np.all(np.isfinite(weights)) and np.all(weights[:2] > 0)
    value, weights = value_and_weights(method, method.init(3), (), losses)
    assert value == 0 and not weights.any()


@pytest.mark.parametrize("name", ["equal", "uncertainty", "fixed", "dwa"])
def test_epochs_are_judged_by_a_sum(name):
    found = method_of(name).judged(scalars(LOSSES), counts("depth", "normals"), scalars(LOG_VARIANCES))
    expected = {"uncertainty": np.exp(1.2) * 0.04 - 1.2 + 0.3, "fixed": 0.4 + 0.15}
    assert found == pytest.approx(expected.get(name, 0.34), rel=1e-5)


def epoch(method, state, *batches):
    state = method.begin_epoch(state)
    for losses in batches:
        state = method.after_step(state, jnp.float32(losses), jnp.array([True, True]))
    return state


def test_dwa_weighs_by_the_fall_over_two_epochs():
    method = balancing.DynamicWeightAverage()
    state = epoch(method, method.init(2), [4.0, 1.0], [2.0, 3.0])  # mean 3, 2
    np.testing.assert_array_equal(state["weights"], 1)
    state = epoch(method, state, [1.5, 1.9], [1.5, 1.9])
    np.testing.assert_array_equal(state["weights"], 1)
    state = epoch(method, state)
    ratios = np.exp(np.array([1.5 / 3, 1.9 / 2]) / 2)
    np.testing.assert_allclose(state["weights"], 2 * ratios / ratios.sum(), rtol=1e-6)


def test_stch_is_the_smooth_maximum_relative_to_the_last_epoch_of_the_warm_up():
    method = balancing.SmoothTchebycheff(smoothing=0.1, warm_up_epochs=2)
    state = method.init(2)
    for losses in ([9.0, 9.0], [2.0, 0.5], [1.0, 0.4]):
        state = epoch(method, state, losses)
    counts, losses = {"a": 1.0, "b": 1.0}, {"a": jnp.float32(1.0), "b": jnp.float32(0.4)}
    found = method.total(losses, counts, {}, state, KEY)
    assert found == pytest.approx(2 * 0.1 * np.log(np.sum(np.array([1.0 / 2, 0.4 / 0.5]) ** 10)), rel=1e-5)


def test_random_weights_are_those_of_a_softmax_of_normal_numbers():
    draws = [value_and_weights(method_of("rlw"), key=jax.random.key(seed))[1] for seed in range(200)]
    assert np.sum(draws, axis=1) == pytest.approx(1, rel=1e-5)
    logits = np.log(draws)
    spread = np.std(logits - logits.mean(axis=1, keepdims=True))
    assert spread == pytest.approx(np.sqrt(2 / 3), rel=0.1)  # of normal numbers less their mean of three


def test_famo_moves_its_weights_to_what_improved_less():
    method, present = balancing.FAMO(), jnp.array([True, True, True])
    before, after = np.array([2.0, 0.5, 1.0]), np.array([1.5, 0.49, 1.0])
    state = method.init(3) | {"logits": jnp.float32([0.3, -0.2, 0.1])}
    untouched = method.after_measuring(state, jnp.float32(after), present)
    np.testing.assert_array_equal(untouched["logits"], state["logits"])  # no step was taken
    state = method.after_step(state, jnp.float32(before), present)
    state = method.after_measuring(state, jnp.float32(after), present)
    logits = np.array([0.3, -0.2, 0.1])
    shares = np.exp(logits) / np.exp(logits).sum()
    jacobian = np.diag(shares) - np.outer(shares, shares)
    gradient = jacobian @ (np.log(before) - np.log(after)) + method.decay * logits
    expected = logits - method.learning_rate * gradient / (np.abs(gradient) + 1e-8)  # the first step of Adam
    np.testing.assert_allclose(state["logits"], expected, rtol=1e-4)
    assert state["logits"][0] < 0.3 and state["logits"][1] > -0.2


def gradients(seed, tasks, size=5):
    """Random gradients of very different lengths, many of them in conflict."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(tasks, size)) * np.exp(rng.normal(size=(tasks, 1))) - 0.5 * rng.normal(size=size)


def combined(method, rows, present=None, key=KEY):
    present = jnp.ones(len(rows), bool) if present is None else jnp.array(present)
    gram = balancing.gram({"a": jnp.float32(rows[:, :2]), "b": jnp.float32(rows[:, 2:])})
    np.testing.assert_allclose(gram, rows @ rows.T, rtol=1e-4, atol=1e-4)
    return np.asarray(compiled(method)(gram, present, key)) @ rows


@functools.cache
def compiled(method):
    return jax.jit(method.weights)


CASES = [(seed, tasks) for tasks in (2, 3, 5) for seed in range(3)]


@pytest.mark.parametrize(("seed", "tasks"), CASES)
def test_pcgrad_projects_one_after_the_other(seed, tasks):
    rows = gradients(seed, tasks)
    keys = jax.random.split(KEY, tasks)
    total = np.zeros(rows.shape[1])
    for task, key in enumerate(keys):
        left = rows[task].copy()
        for other in np.asarray(jax.random.permutation(key, tasks)):
            if other != task and left @ rows[other] < 0:
                left -= (left @ rows[other]) / (rows[other] @ rows[other]) * rows[other]
        total += left
    np.testing.assert_allclose(combined(balancing.PCGrad(), rows), total, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("seed", "tasks"), CASES)
def test_cagrad_solves_its_problem(seed, tasks):
    rows, radius = gradients(seed, tasks), 0.4
    mean = rows.mean(axis=0)
    length = radius * np.linalg.norm(mean)

    def objective(weights):
        return (weights @ rows) @ mean + length * np.linalg.norm(weights @ rows)

    bounds, simplex = [(0, 1)] * tasks, {"type": "eq", "fun": lambda w: w.sum() - 1}
    first = np.full(tasks, 1 / tasks)
    found = scipy.optimize.minimize(objective, first, bounds=bounds, constraints=simplex, method="SLSQP", tol=1e-12)
    direction = combined(balancing.CAGrad(radius), rows)
    least = (rows @ direction).min() / tasks
    assert np.linalg.norm(direction / tasks - mean) <= length * 1.001
    assert least == pytest.approx(found.fun, rel=1e-3, abs=1e-3 * length)  # the dual's value


@pytest.mark.parametrize(("seed", "tasks"), CASES)
def test_upgrad_projects_onto_the_cone_of_no_conflict(seed, tasks):
    rows = gradients(seed, tasks)
    expected = np.zeros(rows.shape[1])
    for task in range(tasks):  # the projection onto {x: rows x >= 0} by Moreau: the rest is in the cone of -rows
        coefficients, _ = scipy.optimize.nnls(-rows.T, rows[task])
        expected += rows[task] + coefficients @ rows
    found = combined(balancing.UPGrad(), rows)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=2e-3 * np.linalg.norm(rows))
    assert np.min(rows @ found / np.linalg.norm(rows, axis=1)) > -1e-2 * np.linalg.norm(found)


@pytest.mark.parametrize("name", OF_GRADIENTS)
def test_gradients_without_conflict_are_added_up_and_absent_ones_change_nothing(name):
    method = balancing.create(name)
    rows = np.array([[1.0, 0.1, 0.0], [0.2, 2.0, 0.0]])
    wide = np.vstack([rows, np.zeros(3)])
    with_absent = combined(method, wide, [True, True, False])
    np.testing.assert_allclose(with_absent, combined(method, rows), rtol=1e-5)
    if name != "cagrad":
        np.testing.assert_allclose(with_absent, rows.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(combined(balancing.CAGrad(0.0), rows), rows.sum(axis=0), rtol=1e-5)
    assert np.all(combined(method, np.zeros((2, 3)), [False, False]) == 0)
    opposed = combined(method, np.array([[1.0, 2.0, 0.0], [-1.0, -2.0, 0.0]]))
    np.testing.assert_allclose(opposed, 0, atol=1e-5)


@pytest.mark.parametrize("name", ["pcgrad", "upgrad"])
def test_two_tasks_in_conflict_lose_what_they_disagree_on(name):
    one, two = np.array([1.0, 0.0, 0.0]), np.array([-1.0, 1.0, 0.0])
    expected = (one + two / 2) + (two + one)
    np.testing.assert_allclose(combined(balancing.create(name), np.stack([one, two])), expected, atol=1e-5)


def test_cosines():
    rows = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    expected = [[1, 0.5**0.5, 0], [0.5**0.5, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(balancing.cosines(jnp.float32(rows @ rows.T)), expected, rtol=1e-6)


def test_a_name_that_is_none_is_refused():
    with pytest.raises(UserError, match="one of uncertainty, equal"):
        balancing.create("gradnorm")


def test_no_two_methods_that_weigh_gradients_do_the_same():
    rows = gradients(1, 3)
    directions = {name: combined(balancing.create(name), rows) for name in OF_GRADIENTS}
    for one, other in itertools.combinations(OF_GRADIENTS, 2):
        assert np.abs(directions[one] - directions[other]).max() > 1e-3
