"""The optimizer of a run: schedules, decay, clipping and accumulation around Adam, and the proximal step after them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lim_jax import config as config_lib
from lim_jax import sparsity
from lim_jax.training import schedules
from lim_jax.training.state import completed_steps, last_learning_rate, make_optimizer
from tests.training.tiny import tiny_config

GROUPS = {"a": sparsity.ROWS, "loss_weighting": {"t": None}}
RNG = np.random.default_rng(0)
PARAMS = {"a": np.float32(RNG.normal(size=(6, 4))), "loss_weighting": {"t": np.float32(0.5)}}
GRADIENTS = [jax.tree.map(lambda leaf: np.float32(RNG.normal(size=leaf.shape)), PARAMS) for _ in range(8)]
STEPS_PER_EPOCH = 4


def make(**changes):
    config = tiny_config("nowhere")
    config.sparsity.strength = 0.05
    config.update_from_flattened_dict(changes)
    config = config_lib.checked(config)
    return config, make_optimizer(config, lambda params: GROUPS, STEPS_PER_EPOCH)


def trajectory(optimizer, gradients):
    """The parameters after each step of an optimizer."""
    params, state, update, after = PARAMS, optimizer.init(PARAMS), jax.jit(optimizer.update), []
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        after.append(jax.device_get(params))
    return after, state


def assert_close(found, expected, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), found, expected)


def by_hand(config, gradients, factor, clip=0.0):
    """Adam, decay and the proximal step of the documentation, one step after the other, in float64."""
    params = np.float64(PARAMS["a"])
    first = second = np.zeros_like(params)
    coupled = config.weight_decay_form == "coupled"
    for step, gradient in enumerate(gradients):
        rate = config.learning_rate * factor(step)
        norm = np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(gradient)))
        g = gradient["a"] * (min(1.0, clip / norm) if clip else 1.0)
        g = g + (config.weight_decay * params if coupled else 0)
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        move = (first / (1 - 0.9 ** (step + 1))) / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
        u = params - rate * (move + (0 if coupled else config.weight_decay * params))
        threshold = rate * config.sparsity.strength * np.sqrt(u.shape[1])
        metric = np.sqrt(second) + 1e-8
        params = np.asarray(sparsity.prox_group_lasso(np.float32(u), threshold, np.float32(metric), group_axis=0))
        params = np.float64(params)
    return params


@pytest.mark.parametrize("form", ["decoupled", "coupled"])
@pytest.mark.parametrize("schedule", ["constant", "step", "poly", "cosine"])
def test_step_and_threshold_follow_the_schedule(schedule, form):
    changes = {"learning_rate": 0.2, "weight_decay": 0.3, "weight_decay_form": form, "step_epochs": 1}
    config, optimizer = make(learning_rate_schedule=schedule, **changes)
    factor = schedules.factor(config, STEPS_PER_EPOCH) or (lambda step: 1.0)
    after, state = trajectory(optimizer, GRADIENTS)
    expected = by_hand(config, GRADIENTS, lambda step: float(factor(step)))
    np.testing.assert_allclose(after[-1]["a"], expected, rtol=2e-4, atol=1e-5)
    assert 0 < np.sum(~np.any(after[-1]["a"], axis=1)) < 6  # the threshold matters
    rate = last_learning_rate(state, config, STEPS_PER_EPOCH)
    assert rate == pytest.approx(0.2 * float(factor(len(GRADIENTS) - 1)), rel=1e-5)


def test_clipping_comes_before_adam_and_before_coupled_decay():
    config, optimizer = make(gradient_clipping=0.5, weight_decay=0.3, weight_decay_form="coupled", learning_rate=0.2)
    large = [
        jax.tree.map(lambda leaf, s=scale: s * leaf, g) for scale, g in zip((1, 90, 0.01), GRADIENTS, strict=False)
    ]
    after, _ = trajectory(optimizer, large)
    expected = by_hand(config, large, lambda step: 1.0, clip=0.5)
    np.testing.assert_allclose(after[-1]["a"], expected, rtol=2e-4, atol=1e-5)


def test_accumulated_steps_are_those_of_the_large_batch_with_one_proximal_step_each():
    changes = {"learning_rate": 0.2, "learning_rate_schedule": "cosine", "gradient_clipping": 1.0}
    config, optimizer = make(accumulation_steps=2, **changes)
    after, state = trajectory(optimizer, GRADIENTS)
    means = [jax.tree.map(lambda a, b: (a + b) / 2, *GRADIENTS[i : i + 2]) for i in range(0, 8, 2)]
    large = make_optimizer(make(**changes)[0], lambda params: GROUPS, STEPS_PER_EPOCH // 2)
    expected, alone = trajectory(large, means)
    assert_close(after[1::2], expected)
    assert_close(after[0], PARAMS, rtol=0)  # a batch whose gradient is only added up moves nothing
    for between, before in zip(after[2::2], after[1::2], strict=False):
        assert_close(between, before, rtol=0)
    counts = [
        leaf.count
        for one in (state, alone)
        for leaf in jax.tree.leaves(one, is_leaf=lambda node: isinstance(node, sparsity.ProximalState))
        if isinstance(leaf, sparsity.ProximalState)
    ]
    assert counts == [4, 4]
    assert completed_steps(state) == 4 and completed_steps(alone) is None
    assert last_learning_rate(state, config, STEPS_PER_EPOCH) < 0.2


def test_without_any_of_these_the_optimizer_is_proximal_adam():
    config, optimizer = make()
    plain = optax.inject_hyperparams(
        lambda learning_rate, strength: sparsity.proximal_adam(
            learning_rate,
            strength,
            lambda params: GROUPS,
            weight_decay=config.weight_decay,
            weight_decay_mask={"a": True, "loss_weighting": {"t": False}},
        )
    )(learning_rate=config.learning_rate, strength=config.sparsity.strength)
    (found, state), (expected, other) = (trajectory(one, GRADIENTS) for one in (optimizer, plain))
    assert jax.tree.structure(state) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, (found, state), (expected, other))
    assert jnp.asarray(state.hyperparams["learning_rate"]) == np.float32(config.learning_rate)
