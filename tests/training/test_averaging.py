"""The moving average of the parameters: its values, and the zeros that it shares with them."""

import jax.numpy as jnp
import numpy as np
import pytest

from lim_jax.training import averaging


def test_it_is_the_exponential_average_whose_first_steps_count_for_more():
    values = np.random.default_rng(0).uniform(1, 2, (30, 2))
    average = {"params": {"a": jnp.float32(values[0])}, "batch_stats": {"m": jnp.zeros(2)}}
    expected, statistics = values[0], np.zeros(2)
    for step, value in enumerate(values[1:], start=1):
        new = {"params": {"a": jnp.float32(value)}, "batch_stats": {"m": jnp.float32(value)}}
        average = averaging.moved(average, new, jnp.int32(step), 0.6)
        d = min(0.6, (1 + step) / (10 + step))
        expected, statistics = d * expected + (1 - d) * value, d * statistics + (1 - d) * value
    assert average["params"]["a"] == pytest.approx(expected, rel=1e-5)
    assert average["batch_stats"]["m"] == pytest.approx(statistics, rel=1e-5)


def test_zeros_are_zero_at_once_and_what_returns_begins_small():
    average = {"params": {"a": jnp.ones(3)}, "batch_stats": {"m": jnp.ones(1)}}
    new = {"params": {"a": jnp.float32([0, -0.0, 2])}, "batch_stats": {"m": jnp.zeros(1)}}
    average = averaging.moved(average, new, jnp.int32(1000), 0.9)
    np.testing.assert_allclose(average["params"]["a"], [0, 0, 1.1], rtol=1e-6)
    assert average["batch_stats"]["m"] == pytest.approx(0.9)  # a mean may pass through zero
    average = averaging.moved(average, {**new, "params": {"a": jnp.ones(3)}}, jnp.int32(1001), 0.9)
    np.testing.assert_allclose(average["params"]["a"], [0.1, 0.1, 1.09], rtol=1e-6)
