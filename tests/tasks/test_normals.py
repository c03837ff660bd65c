import numpy as np
import pytest

from tests.tasks import examples
from tests.tasks.gradients import assert_gradient


def cosines(prediction, target):
    """Cosines of the valid pixels, in float64."""
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    valid = (target != 0).any(-1)
    prediction, target = prediction[valid], target[valid]
    return (prediction * target).sum(-1) / np.linalg.norm(prediction, axis=-1) / np.linalg.norm(target, axis=-1)


def reference_loss(logits, target):
    cosine = cosines(np.tanh(np.asarray(logits, np.float64)), target[:, ::8, ::8])
    return (1 - cosine).sum(), cosine.size


def reference_metrics(logits, target):
    prediction = np.tanh(logits.astype(np.float64))
    angles = np.rad2deg(np.arccos(np.clip(cosines(examples.upsample(prediction, target.shape[1:3]), target), -1, 1)))
    return {
        "cosine_similarity": cosines(prediction, target[:, ::8, ::8]).mean(),
        "angle_mean": angles.mean(),
        "angle_median": np.median(angles),
        "within_11.25": (angles < 11.25).mean(),
        "within_22.5": (angles < 22.5).mean(),
        "within_30": (angles < 30).mean(),
    }


@pytest.mark.parametrize("size", examples.SIZES)
def test_loss_and_gradient(size):
    task, logits, target = examples.random_case("normals", size=size)
    np.testing.assert_allclose(examples.loss(task, logits, target), reference_loss(logits, target), rtol=1e-5)
    assert_gradient(task, lambda x: reference_loss(x, target)[0], logits, target)


def test_absolute_error_of_unit_vectors():
    """As InvPT's: summed over the components, a mean over the valid pixels."""
    task, logits, target = examples.random_case("normals", error="l1")
    assert task.loss_label == "absolute error"
    cells = target[:, ::8, ::8].astype(np.float64)
    valid = cells.any(-1)
    vectors = np.tanh(np.asarray(logits, np.float64))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    expected = np.abs(vectors - cells).sum(-1)[valid].sum(), valid.sum()
    np.testing.assert_allclose(examples.loss(task, logits, target), expected, rtol=1e-5)


@pytest.mark.parametrize("size", examples.SIZES)
def test_metrics(size):
    task, logits, target = examples.random_case("normals", size=size)
    expected = reference_metrics(logits, target)
    actual = examples.summary(task, (logits, target))
    assert actual.pop("angle_median") == pytest.approx(expected.pop("angle_median"), abs=0.05)
    assert actual == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("degrees", [0.0, 0.02, 11.2, 30.1, 90.0, 180.0])
def test_angles_of_any_size_are_exact(degrees):
    task = examples.make_task("normals")
    target = np.zeros((1, 8, 8, 3), np.float32)
    target[..., 1] = -1
    angle = np.deg2rad(degrees)
    logits = np.arctanh(0.9 * np.array([np.sin(angle), -np.cos(angle), 0])).astype(np.float32)
    metrics = examples.summary(task, (logits.reshape(1, 1, 1, 3), target))
    assert metrics["angle_mean"] == pytest.approx(degrees, abs=1e-3)
    assert metrics["angle_median"] == pytest.approx(degrees, abs=0.05)
    assert [metrics[f"within_{limit}"] for limit in (11.25, 22.5, 30)] == [
        float(degrees < limit) for limit in (11.25, 22.5, 30)
    ]


def test_predictions_have_unit_length():
    task, logits, _ = examples.random_case("normals")
    lengths = np.linalg.norm(task.predict(logits, examples.SIZES[0]), axis=-1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_picture_shows_axes_as_colours():
    task = examples.make_task("normals")
    picture = task.picture(np.array([[(1, 0, 0), (0, -1, 0), (0, 0, 0)]], np.float32))
    np.testing.assert_array_equal(picture, [[(255, 128, 128), (128, 0, 128), (128, 128, 128)]])
