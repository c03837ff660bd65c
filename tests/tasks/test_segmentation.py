import jax
import numpy as np
import pytest

from lim_jax.data.specs import IGNORE, TargetSpec
from lim_jax.errors import UserError
from lim_jax.tasks import create
from lim_jax.tasks.palette import class_colors
from tests.tasks import examples
from tests.tasks.gradients import assert_gradient


def reference_loss(logits, target, label_smoothing):
    """Pixel by pixel in float64: cross entropy of softmax(logits) against the smoothed one-hot target."""
    logits, total, weight = np.asarray(logits, np.float64), 0.0, 0
    for b, i, j in np.ndindex(logits.shape[:3]):
        label = target[b, 8 * i, 8 * j]
        if label == IGNORE:
            continue
        probability = np.exp(logits[b, i, j]) / np.exp(logits[b, i, j]).sum()
        wanted = np.full(len(probability), label_smoothing / len(probability))
        wanted[label] += 1 - label_smoothing
        total -= (wanted * np.log(probability)).sum()
        weight += 1
    return total, weight


def reference_metrics(logits, target):
    ious = []
    for image_logits, image_target in zip(logits, target, strict=True):
        labels, prediction = image_target[::8, ::8], image_logits.argmax(-1)
        valid = labels != IGNORE
        if not valid.any():
            continue
        true_positives = union = 0
        for c in range(logits.shape[-1]):
            true_positives += ((labels == c) & (prediction == c) & valid).sum()
            union += (((labels == c) | (prediction == c)) & valid).sum()
        ious.append(true_positives / union)
    prediction = examples.upsample(logits, target.shape[1:]).argmax(-1)
    valid = target != IGNORE
    class_ious = [
        ((target == c) & (prediction == c)).sum() / (((target == c) | (prediction == c)) & valid).sum()
        for c in np.unique(target[valid])
    ]
    cells = target[:, ::8, ::8]
    return {
        "iou": np.mean(ious),
        "pixel_accuracy": (logits.argmax(-1) == cells)[cells != IGNORE].mean(),
        "miou": np.mean(class_ious),
        "pixel_accuracy_full": (prediction == target)[valid].mean(),
    }


@pytest.mark.parametrize("size", examples.SIZES)
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_loss_and_gradient(size, label_smoothing):
    task, logits, target = examples.random_case("segmentation", size=size, label_smoothing=label_smoothing)
    np.testing.assert_allclose(
        examples.loss(task, logits, target), reference_loss(logits, target, label_smoothing), rtol=1e-5
    )
    assert_gradient(task, lambda x: reference_loss(x, target, label_smoothing)[0], logits, target)


@pytest.mark.parametrize("size", examples.SIZES)
def test_metrics(size):
    task, logits, target = examples.random_case("segmentation", size=size)
    assert examples.summary(task, (logits, target)) == pytest.approx(reference_metrics(logits, target), rel=1e-6)


def test_perfect_predictions():
    task, logits, target = examples.random_case("segmentation", batch=2)
    target[:] = np.repeat(np.repeat(target[:, :1, :1], 72, 1), 104, 2)  # one class per image survives upsampling
    target[-1] = 2
    labels = target[:, ::8, ::8]
    logits = np.eye(task.num_outputs, dtype=np.float32)[np.minimum(labels, 4)]
    metrics = examples.summary(task, (logits, target))
    assert metrics == {"iou": 1.0, "pixel_accuracy": 1.0, "miou": 1.0, "pixel_accuracy_full": 1.0}


def test_micro_iou_differs_from_the_mean_over_classes():
    """Worked by hand: 4 cells, 3 right: iou = 3 / 5; classes: 1/2 and 2/3."""
    task = examples.make_task("segmentation")
    labels = np.array([[0, 0], [1, 1]])
    logits = 9 * np.eye(5, dtype=np.float32)[np.array([[0, 1], [1, 1]])][None]
    target = np.full((1, 9, 9), IGNORE, np.uint8)
    target[0, ::8, ::8] = labels
    metrics = examples.summary(task, (logits, target))
    assert metrics == pytest.approx(
        {"iou": 3 / 5, "pixel_accuracy": 3 / 4, "miou": (1 / 2 + 2 / 3) / 2, "pixel_accuracy_full": 3 / 4}
    )


def test_constant_prediction_is_the_most_frequent_class_at_the_lowest_loss():
    task, logits, target = examples.random_case("segmentation", size=(24, 40))
    target = np.repeat(np.repeat(target[:, ::8, ::8], 8, 1), 8, 2)  # so that the cells see every pixel's statistics
    constant = task.baseline_logits(jax.tree.map(np.asarray, task.baseline_statistics(target)))
    valid = target[target != IGNORE]
    assert constant.argmax() == np.bincount(valid).argmax()
    metrics = examples.summary(task, (np.broadcast_to(constant, logits.shape), target))
    assert metrics["pixel_accuracy"] == pytest.approx(np.bincount(valid).max() / valid.size)
    best = examples.loss(task, np.broadcast_to(constant, logits.shape), target)[0]
    for seed in range(5):
        other = constant + np.random.default_rng(seed).normal(0, 0.1, constant.shape).astype(np.float32)
        assert examples.loss(task, np.broadcast_to(other, logits.shape), target)[0] >= best


def test_colours_of_the_data_set_are_used():
    task = create(TargetSpec("segmentation", "segmentation", ("a", "b"), ((1, 2, 3), (4, 5, 6))))
    picture = task.picture(np.array([[0, 1], [IGNORE, 0]], np.uint8))
    np.testing.assert_array_equal(picture, [[(1, 2, 3), (4, 5, 6)], [(128, 128, 128), (1, 2, 3)]])


@pytest.mark.parametrize("number", [1, 3, 8, 40, 150])
def test_palette(number):
    colors = class_colors(number)
    assert colors.shape == (number, 3) and len(np.unique(colors, axis=0)) == number
    np.testing.assert_array_equal(colors, class_colors(150)[:number])
    grey = np.array([128, 128, 128])
    assert np.abs(colors.astype(int) - grey).max(axis=1).min() > 30


def test_weights_focal_loss_and_classes_to_be_ignored():
    """Cell by cell in float64; weighted as torch's cross entropy is, by the sum of the weights."""
    weights, focal, ignored = (1.0, 2.0, 0.5, 4.0, 1.0), 2.0, "floor"
    settings = {"class_weights": weights, "focal": focal, "ignore": (ignored,), "label_smoothing": 0.1}
    task, logits, target = examples.random_case("segmentation", **settings)
    total = weight = 0.0
    for b, i, j in np.ndindex(logits.shape[:3]):
        label = target[b, 8 * i, 8 * j]
        if label == IGNORE or examples.CLASSES[label] == ignored:
            continue
        logs = np.float64(logits[b, i, j]) - np.log(np.exp(np.float64(logits[b, i, j])).sum())
        wanted = np.full(5, 0.1 / 5) + 0.9 * (np.arange(5) == label)
        total -= weights[label] * (1 - np.exp(logs[label])) ** focal * (wanted @ logs)
        weight += weights[label]
    found, number = examples.loss(task, logits, target)
    assert found / number == pytest.approx(total / weight, rel=1e-4)
    without = examples.make_task("segmentation")
    hidden = np.where(target == examples.CLASSES.index(ignored), IGNORE, target)
    expected = examples.summary(without, (logits, hidden))
    assert examples.summary(task, (logits, target)) == pytest.approx(expected, rel=1e-6)
    assert np.asarray(task.prepare_target(np.uint8([[1]]))) == IGNORE


def test_balanced_weights_are_there_once_classes_are_counted():
    task = examples.make_task("segmentation", class_weights="balanced")
    fitted = task.fitted({"labelled": np.array([600, 300, 90, 10, 0])})
    assert not task.is_fitted and fitted.is_fitted
    assert fitted.class_weights == (0.4167, 0.8333, 2.778, 25.0, 1.0)


def test_details_are_the_confusion_and_the_iou_of_each_class():
    task = examples.make_task("segmentation")
    confusion = np.zeros((5, 5))
    confusion[0, 0], confusion[0, 1], confusion[1, 1] = 6, 2, 4
    details = task.details({"confusion": confusion})
    assert list(details["class_iou"].values()) == [6 / 8, 4 / 6, None, None, None]
    assert details["confusion"][0] == [6, 2, 0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"class_weights": (1.0, 2.0)}, "has 2 numbers, but segmentation has 5 classes"),
        ({"ignore": ("ceiling",)}, "no class 'ceiling': it has wall, floor"),
        ({"ignore": examples.CLASSES}, "leaves no class"),
    ],
)
def test_settings_that_do_not_fit_the_classes_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        examples.make_task("segmentation", **settings)
