"""Several classes for the whole image, against scikit-learn's definitions written out."""

import numpy as np
import pytest

from lim_jax.data.specs import TargetSpec
from lim_jax.tasks import create
from tests.tasks import examples

TASK = create(TargetSpec("weather", "category", ("sunny", "rain", "snow")))
ANSWERS, TARGET = np.array([0, 0, 1, 1, 0, 2]), np.array([0, 0, 0, 1, -1, 1], np.int16)
LOGITS = np.float32(np.eye(3)[ANSWERS] * 2 - 0.5)


def test_metrics_and_details():
    found = examples.summary(TASK, (LOGITS, TARGET))
    assert found == {
        "accuracy": 3 / 5,
        "balanced_accuracy": pytest.approx((2 / 3 + 1 / 2) / 2),
        "macro_f1": pytest.approx((4 / (4 + 0 + 1) + 2 / (2 + 1 + 1)) / 2),
    }
    details = TASK.details(TASK.metrics(LOGITS, TARGET))
    assert details["confusion"] == [[2, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert details["class_accuracy"] == {"sunny": pytest.approx(2 / 3), "rain": 0.5, "snow": None}


def test_the_loss_is_the_cross_entropy_of_what_is_labelled():
    probability = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    known = TARGET >= 0
    expected = -np.log(probability[known, TARGET[known]]).sum()
    np.testing.assert_allclose(examples.loss(TASK, LOGITS, TARGET), (expected, 5), rtol=1e-5)


def test_the_constant_is_the_frequency():
    constant = TASK.baseline_logits(TASK.baseline_statistics(TARGET))
    np.testing.assert_allclose(np.exp(constant), [0.6, 0.4, 1e-3], rtol=1e-5)


def test_words_and_colours():
    assert TASK.caption(np.array(1)) == "weather: rain"
    assert TASK.caption(np.array(-1)) == "weather: not labelled"
    assert len({TASK.background(np.array(index)) for index in (-1, 0, 1, 2)}) == 4
    assert TASK.is_wrong(np.array(1), np.array(2)) and not TASK.is_wrong(np.array(-1), np.array(2))
    np.testing.assert_allclose(TASK.deviation(np.array([0, 1]), LOGITS[:2], (8, 8)), [0, 2])
