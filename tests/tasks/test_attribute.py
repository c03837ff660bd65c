import math

import numpy as np
import pytest

from tests.tasks import examples
from tests.tasks.gradients import assert_gradient

variants = pytest.mark.parametrize("double_sigmoid", [False, True])


def reference_loss(logits, target, double_sigmoid):
    total, weight = 0.0, 0
    for logit, label in zip(np.asarray(logits, np.float64)[:, 0], target, strict=True):
        if label < 0:
            continue
        probability = examples.sigmoid(examples.sigmoid(logit) if double_sigmoid else logit)
        total -= math.log(probability if label else 1 - probability)
        weight += 1
    return total, weight


def reference_metrics(logits, target, threshold):
    answers = examples.sigmoid(logits[:, 0].astype(np.float64)) > threshold
    pairs = [(answer, label == 1) for answer, label in zip(answers, target, strict=True) if label >= 0]
    hits = pairs.count((True, True))
    return {
        "accuracy": sum(answer == label for answer, label in pairs) / len(pairs),
        "f1": 2 * hits / (2 * hits + pairs.count((True, False)) + pairs.count((False, True))),
    }


@variants
def test_loss_and_gradient(double_sigmoid):
    task, logits, target = examples.random_case("attribute", batch=30, double_sigmoid=double_sigmoid)
    np.testing.assert_allclose(
        examples.loss(task, logits, target), reference_loss(logits, target, double_sigmoid), rtol=1e-5
    )
    assert_gradient(task, lambda x: reference_loss(x, target, double_sigmoid)[0], logits, target)


@variants
def test_metrics(double_sigmoid):
    task, logits, target = examples.random_case("attribute", batch=50, double_sigmoid=double_sigmoid)
    threshold = 0.4 if double_sigmoid else 0.5
    assert examples.summary(task, (logits, target)) == pytest.approx(reference_metrics(logits, target, threshold))


def test_f1_without_positives_is_undefined():
    task = examples.make_task("attribute")
    logits, target = np.full((3, 1), -2, np.float32), np.array([0, 0, -1], np.int8)
    assert examples.summary(task, (logits, target)) == {"accuracy": 1.0, "f1": None}


@variants
def test_constant_prediction_is_the_majority(double_sigmoid):
    task = examples.make_task("attribute", double_sigmoid=double_sigmoid)
    target = np.array([1] * 45 + [0] * 55 + [-1] * 20, np.int8)  # 0.45 lies above 0.4, yet "no" is the majority
    constant = task.baseline_logits(task.baseline_statistics(target))
    metrics = examples.summary(task, (np.broadcast_to(constant, (120, 1)), target))
    assert metrics["accuracy"] == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("value", "caption"),
    [
        (np.int8(1), "attribute: yes"),
        (np.int8(0), "attribute: no"),
        (np.int8(-1), "attribute: not labelled"),
        (np.float32(0.93), "attribute: yes (0.93)"),
        (np.float32(0.07), "attribute: no (0.07)"),
    ],
)
def test_caption(value, caption):
    assert examples.make_task("attribute").caption(value) == caption
