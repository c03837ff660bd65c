"""A number for the whole image: standardised inside, in its own unit outside."""

import numpy as np
import pytest

from lim_jax.data.specs import TargetSpec
from lim_jax.tasks import create
from tests.tasks import examples

TARGET = np.array([20, 30, np.nan, 70], np.float32)
FRESH = create(TargetSpec("age", "number", unit="years"))
TASK = FRESH.fitted({name: np.asarray(value) for name, value in FRESH.baseline_statistics(TARGET).items()})


def test_it_takes_mean_and_deviation_from_the_training_set():
    assert not FRESH.is_fitted and TASK.is_fitted
    assert (TASK.mean, TASK.scale) == pytest.approx((40, np.std([20, 30, 70])))
    alike = FRESH.fitted({"numbers": 3, "sum": 21.0, "squares": 147.0})
    assert (alike.mean, alike.scale) == (7, 1)


def test_numbers_that_are_close_together_and_far_from_zero_keep_their_deviation():
    """Seconds since 1970, of images an hour apart; each example by itself, as a run looks at them."""
    times = np.float32(1.7e9 + 3600 * np.arange(30))
    each = [FRESH.baseline_statistics(time[None]) for time in times]
    task = FRESH.fitted({name: sum(np.float64(sums[name]) for sums in each) for name in each[0]})
    assert task.scale == pytest.approx(np.std(np.float64(times)), rel=1e-6)
    assert task.mean == pytest.approx(np.mean(np.float64(times)), rel=1e-12)


def test_predictions_metrics_and_loss():
    wanted = np.array([25, 30, 10, 50], np.float32)
    logits = (wanted[:, None] - TASK.mean) / TASK.scale
    np.testing.assert_allclose(TASK.activate(logits), wanted, rtol=1e-6)
    errors, known = np.array([5, 0, -20]), np.array([20, 30, 70])
    assert examples.summary(TASK, (logits, TARGET)) == {
        "mae": pytest.approx(np.abs(errors).mean(), rel=1e-5),
        "rmse": pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-5),
        "r2": pytest.approx(1 - np.square(errors).sum() / np.square(known - known.mean()).sum(), rel=1e-5),
    }
    np.testing.assert_allclose(
        examples.loss(TASK, logits, TARGET), (np.square(errors / TASK.scale).sum(), 3), rtol=1e-5
    )
    assert examples.summary(TASK, (logits[:1], TARGET[:1]))["r2"] is None  # one number has no variance


def test_the_constant_is_the_mean_and_so_is_a_new_head():
    other = {name: np.asarray(value) for name, value in FRESH.baseline_statistics(TARGET + 3).items()}
    np.testing.assert_allclose(TASK.activate(TASK.baseline_logits(other)[None]), 43, rtol=1e-5)
    np.testing.assert_allclose(TASK.activate(np.zeros((1, 1), np.float32)), 40)


def test_words():
    assert TASK.caption(np.array(31.5)) == "age: 31.5 years"
    assert TASK.caption(np.array(np.nan)) == "age: not labelled"
    assert TASK.is_wrong(np.array(20.0), np.array(60.0)) and not TASK.is_wrong(np.array(20.0), np.array(30.0))
    assert not TASK.is_wrong(np.array(np.nan), np.array(30.0))
    np.testing.assert_allclose(TASK.deviation(np.array([40 + TASK.scale]), np.zeros((1, 1)), (8, 8)), 1, rtol=1e-5)
    assert TASK.export_notes(decoded=True) == {
        "meaning": "the number",
        "mean": TASK.mean,
        "standard_deviation": TASK.scale,
        "unit": "years",
    }
