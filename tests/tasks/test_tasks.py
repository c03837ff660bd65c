"""What holds for every kind of task."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lim_jax import models, tasks
from lim_jax.data.specs import IGNORE, TargetSpec
from lim_jax.tasks.interpolation import stretch
from lim_jax.tasks.palette import INVALID_COLOR
from tests.tasks import examples

each_kind = pytest.mark.parametrize("kind", examples.KINDS)
each_variant = pytest.mark.parametrize(
    ("kind", "variant"),
    [
        *((kind, {}) for kind in examples.KINDS),
        ("attribute", {"double_sigmoid": True}),
        ("depth", {"target": "metres", "error": "berhu"}),
        ("depth", {"loss_resolution": "image", "target": "metres", "most": 3.0}),
        ("segmentation", {"loss_resolution": "image"}),
        ("segmentation", {"class_weights": (1.0, 2.0, 0.5, 3.0, 1.0), "focal": 0.5, "ignore": ("lamp",)}),
        ("number", {"mean": 1.0, "scale": 2.5}),
        ("normals", {"loss_resolution": "image"}),
    ],
)


def missing_targets(task: tasks.Task, batch: int, size: tuple[int, int]) -> np.ndarray:
    return np.stack([task.spec.missing(size)] * batch)


@each_variant
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_any_split_into_batches_gives_the_same_metrics(kind, variant, batch_size):
    task, logits, target = examples.random_case(kind, batch=7, size=(24, 40), **variant)
    whole = examples.summary(task, (logits, target))
    starts = range(0, 7, batch_size)
    parts = examples.summary(task, *((logits[i : i + batch_size], target[i : i + batch_size]) for i in starts))
    assert set(whole) == set(task.metric_info)
    assert parts == pytest.approx(whole, rel=1e-6)


@each_kind
def test_padding_changes_nothing(kind):
    task, logits, target = examples.random_case(kind, size=(24, 40))
    rng = np.random.default_rng(1)
    padded_logits = np.concatenate([logits, examples.random_logits(task, rng, 2, (24, 40))])
    padded_target = np.concatenate([target, missing_targets(task, 2, (24, 40))])
    expected, actual = (examples.summary(task, case) for case in [(logits, target), (padded_logits, padded_target)])
    assert actual == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(
        examples.loss(task, padded_logits, padded_target), examples.loss(task, logits, target), rtol=1e-6
    )


@each_variant
def test_nothing_valid(kind, variant):
    task, logits, _ = examples.random_case(kind, **variant)
    target = missing_targets(task, len(logits), examples.SIZES[0])
    value, gradient = jax.jit(jax.value_and_grad(lambda *case: task.loss(*case)[0]))(logits, target)
    assert value == 0 and examples.loss(task, logits, target)[1] == 0
    np.testing.assert_array_equal(gradient, 0)
    metrics = examples.summary(task, (logits, target))
    assert metrics == dict.fromkeys(task.metric_info)
    assert json.loads(json.dumps(metrics)) == metrics
    constant = task.baseline_logits(jax.tree.map(np.asarray, task.baseline_statistics(target)))
    assert constant.shape == (task.num_outputs,) and np.isfinite(constant).all()


@each_variant
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_gradients_are_finite(kind, variant, scale):
    task, logits, target = examples.random_case(kind, size=(24, 40), **variant)
    gradient = jax.jit(jax.grad(lambda *case: task.loss(*case)[0]))(logits * np.float32(scale), target)
    assert np.isfinite(gradient).all()


@each_variant
def test_loss_types(kind, variant):
    task, logits, target = examples.random_case(kind, **variant)
    total, weight = jax.jit(task.loss)(logits.astype(jnp.bfloat16), target)
    assert total.shape == weight.shape == () and total.dtype == weight.dtype == jnp.float32


@each_kind
@pytest.mark.parametrize("size", examples.SIZES)
def test_predictions_and_prepared_targets_have_the_same_terms(kind, size):
    task, logits, target = examples.random_case(kind, size=size)
    prediction = jax.jit(task.predict, static_argnums=1)(logits, size)
    prepared = task.prepare_target(target)
    assert prediction.shape == prepared.shape
    assert np.isfinite(prediction).all()
    for values in (np.asarray(prediction[0]), np.asarray(prepared[0])):
        picture = task.picture(values)
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        assert kind in examples.IMAGE_KINDS or picture.shape[:2] == size


@each_kind
def test_invalid_is_drawn_in_its_own_colour(kind):
    task = examples.make_task(kind)
    prepared = np.asarray(task.prepare_target(missing_targets(task, 1, (16, 24))))
    picture = task.picture(prepared[0])
    np.testing.assert_array_equal(picture[-1, -1], INVALID_COLOR)


@each_kind
def test_counts_are_integers(kind):
    task, logits, target = examples.random_case(kind)
    sums = jax.eval_shape(task.metrics, logits, target)
    floats = {name for name, leaf in sums.items() if leaf.dtype != jnp.int32}
    assert (
        floats
        == {
            "segmentation": {"image_iou"},
            "depth": {"absolute", "squared"},
            "normals": {"cosine", "angle"},
            "attribute": set(),
            "category": set(),
            "number": {"absolute", "squared", "centred", "centred_squared"},
        }[kind]
    )


@each_kind
def test_published_metric_comes_first(kind):
    assert examples.make_task("depth", target="metres").published_metric == "abs_err"
    published = {"segmentation": "iou", "depth": "mae", "normals": "cosine_similarity", "attribute": "accuracy"}
    published |= {"category": "accuracy", "number": "mae"}
    assert examples.make_task(kind).published_metric == published[kind]


@pytest.mark.parametrize(
    ("kind", "variant"),
    [
        ("depth", {}),
        ("depth", {"target": "metres"}),
        ("normals", {}),
        ("attribute", {}),
        ("attribute", {"double_sigmoid": True}),
    ],
)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_other_constant_beats_the_constant_prediction(kind, variant, seed):
    """In the published metric, over what the statistics saw. (Segmentation's is a mean over images: not exactly.)"""
    size = (8, 8)  # one cell, which is what both see ...
    task, logits, target = examples.random_case(kind, seed=seed, batch=9, size=size, **variant)
    if kind != "attribute":
        target[:] = target[:, :1, :1]  # ... when the whole image agrees
    constant = task.baseline_logits(jax.tree.map(np.asarray, task.baseline_statistics(target)))

    def score(vector):
        value = examples.summary(task, (np.broadcast_to(vector, logits.shape), target))[task.published_metric]
        return value if task.metric_info[task.published_metric].higher_is_better else -value

    others = np.random.default_rng(seed).normal(constant, 0.5, (5, task.num_outputs)).astype(np.float32)
    tolerance = 1e-2 if variant else 2e-3  # a median is known to a bin, of depth in metres a wider one
    assert score(constant) >= max(score(other) for other in others) - tolerance


@each_kind
def test_head_has_the_outputs_of_the_task(kind):
    task = examples.make_task(kind)
    head = task.head()
    expected = models.head(task.head_name, num_outputs=task.num_outputs)
    assert head == expected


@pytest.mark.parametrize("kind", ["segmentation", "depth", "normals"])
def test_logits_are_resized_to_the_labels(kind):
    """By "image", every pixel counts, and logits of the labels' size are taken as they are."""
    task, logits, target = examples.random_case(kind, size=(24, 40), loss_resolution="image")
    features = examples.make_task(kind)
    large = jax.jit(stretch, static_argnums=1)(logits, (24, 40))
    np.testing.assert_allclose(task.predict(logits, (24, 40)), task.predict(large, (24, 40)), atol=1e-6)
    total, number = examples.loss(task, logits, target)
    np.testing.assert_allclose(examples.loss(task, large, target)[0], total, rtol=1e-6)
    valid = {"segmentation": target != IGNORE, "depth": target > 0, "normals": np.abs(target).max(axis=-1) > 0}[kind]
    assert number == np.sum(valid)
    assert examples.loss(features, logits, target)[1] < number / 32
    assert examples.summary(task, (logits, target)) == pytest.approx(examples.summary(task, (large, target)), rel=1e-5)


def test_tasks_are_values():
    task = examples.make_task("segmentation", label_smoothing=0.2)
    assert task == examples.make_task("segmentation", label_smoothing=0.2) and hash(task) == hash(
        examples.make_task("segmentation", label_smoothing=0.2)
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.label_smoothing = 0.3  # pyright: ignore


def test_unknown_settings_are_refused():
    with pytest.raises(TypeError, match="smoothing"):
        tasks.create(TargetSpec("depth", "depth"), smoothing=0.1)
