"""Cell by cell in float64."""

import jax
import numpy as np
import pytest

from lim_jax.tasks import cross_entropy

RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.normal(size=(2, 7, 5))
LABELS = RNG.integers(0, 5, (2, 7))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("focal", [0.0, 0.5, 2.0])
def test_losses(smoothing, focal):
    found = cross_entropy.losses(np.float32(LOGITS), LABELS, smoothing=smoothing, focal=focal)
    for place in np.ndindex(LABELS.shape):
        logs = LOGITS[place] - np.log(np.exp(LOGITS[place]).sum())
        wanted = np.full(5, smoothing / 5) + (1 - smoothing) * (np.arange(5) == LABELS[place])
        expected = -((1 - np.exp(logs[LABELS[place]])) ** focal) * (wanted @ logs)
        assert found[place] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("focal", [0.0, 0.5, 2.0])
def test_gradients_are_finite_where_the_network_is_sure(focal):
    sure = np.float32([[200.0, 0, 0], [-200, 0, 200]])
    gradient = jax.grad(lambda logits: cross_entropy.losses(logits, np.array([0, 0]), focal=focal).sum())(sure)
    assert np.all(np.isfinite(gradient))
