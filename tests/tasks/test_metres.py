"""Depth in metres: losses and metrics against float64 NumPy, and which pixels count."""

import json

import numpy as np
import pytest

from lim_jax.tasks import metres
from lim_jax.tasks.depth import ERRORS
from tests.tasks import examples
from tests.tasks.gradients import assert_gradient
from tests.tasks.test_depth import reference_relative_depth

METRES = {"target": "metres"}


def case(size=examples.SIZES[1], **settings):
    """Returns (task, logits that are near the depths, target)."""
    task, logits, target = examples.random_case("depth", size=size, **METRES, **settings)
    return task, logits + np.float32(2), target


def valid_depth(target, most):
    target = np.asarray(target, np.float64)
    invalid = ~np.isfinite(target) | (target <= 0) | (target == 65535) | ((target > most) if most else False)
    return np.where(invalid, 0, target)


def reference_loss(logits, depth, error):
    total, difference = 0.0, np.where(depth > 0, logits - depth, 0)
    for image in difference:
        size = np.abs(image)
        c = 0.2 * size.max()
        losses = {"mse": size**2, "l1": size, "berhu": size}[error]
        if error == "berhu" and c:
            losses = np.where(size <= c, size, (size**2 + c**2) / (2 * c))
        total += losses.sum()
    return total, (depth > 0).sum()


def reference_metrics(logits, target, most):
    prediction = examples.upsample(np.asarray(logits, np.float64), target.shape[1:])[..., 0]
    depth = valid_depth(target, most)
    p, t = prediction[depth > 0], depth[depth > 0]
    p = np.clip(p, 1e-3, most) if most else p
    q = np.maximum(p, 1e-3)
    factor = np.maximum(q / t, t / q)
    return {
        "abs_err": np.abs(p - t).mean(),
        "rmse": np.sqrt(((p - t) ** 2).mean()),
        "rel_err": (np.abs(p - t) / t).mean(),
        "log10": np.abs(np.log10(q) - np.log10(t)).mean(),
        **{f"delta{i}": (factor < 1.25**i).mean() for i in (1, 2, 3)},
    }


@pytest.mark.parametrize("target", ["metres", "relative"])
@pytest.mark.parametrize("error", ERRORS)
def test_losses_and_gradients(target, error):
    task, logits, depth = examples.random_case("depth", size=(24, 40), target=target, error=error)
    prepared = valid_depth(depth, 0) if target == "metres" else reference_relative_depth(depth)

    def expected(x):
        values = np.asarray(x, np.float64)[..., 0]
        return reference_loss(values if target == "metres" else examples.sigmoid(values), prepared[:, ::8, ::8], error)

    np.testing.assert_allclose(examples.loss(task, logits, depth), expected(logits), rtol=1e-5)
    if error == "mse":  # of the others kinks, and a threshold that follows the largest error, would show
        assert_gradient(task, lambda x: expected(x)[0], logits, depth)


@pytest.mark.parametrize("most", [0.0, 3.0])
def test_metrics(most):
    task, logits, target = case(most=most)
    assert examples.summary(task, (logits, target)) == pytest.approx(reference_metrics(logits, target, most), rel=1e-5)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, 65535.0, 10.5])
def test_what_was_not_measured_or_is_too_far_counts_nowhere(value):
    task, logits, target = case(most=10.0)
    target = np.minimum(target, 9)
    other = target.copy()
    other[0, ::2] = value
    zeros = np.where(other == other, np.where((other > 0) & (other <= 10), other, 0), 0).astype(np.float32)
    assert examples.summary(task, (logits, other)) == examples.summary(task, (logits, zeros))
    np.testing.assert_array_equal(examples.loss(task, logits, other), examples.loss(task, logits, zeros))
    assert examples.loss(task, logits, other)[1] < examples.loss(task, logits, target)[1]
    assert not np.asarray(task.prepare_target(other))[0, ::2].any()


def test_predictions_stop_at_the_limit():
    task, logits, _ = case(most=2.0)
    predicted = np.asarray(task.predict(logits, examples.SIZES[1]))
    assert predicted.min() == np.float32(metres.NEAREST) and predicted.max() == 2


@pytest.mark.parametrize(("most", "end"), [(0.0, 10.0), (5.0, 5.0)])
def test_what_is_shown_and_said(most, end):
    task = examples.make_task("depth", **METRES, most=most)
    scale = task.legend()
    assert scale.end == end and scale.label == "depth (m)"
    values = np.array([[end / 2, end, 2 * end]], np.float32)
    picture = task.picture(values)
    np.testing.assert_array_equal(picture, scale.colors(values))
    np.testing.assert_array_equal(picture[0, 1], picture[0, 2])
    assert (picture[0, 0] != picture[0, 1]).any()
    notes = json.loads(json.dumps(task.export_notes(decoded=True)))
    assert notes["unit"] == "m" and notes.get("range") == ([metres.NEAREST, most] if most else None)
