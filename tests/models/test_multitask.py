import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lim_jax import models, ops
from lim_jax.errors import UserError
from lim_jax.models import multitask
from tests.models import reference_weights

pytestmark = pytest.mark.slow

SIZE = (75, 101)


def small_model(dtype="float32", backbone="resnet18d", dropout=0.3):
    heads = {
        "segmentation": models.head("deeplab", 5, channels=16, dtype=dtype, dropout=dropout),
        "smiling": models.head("classifier", 1, channels=32, dtype=dtype, dropout=(dropout, dropout)),
        "weather": models.head("linear", 3, dtype=dtype),
    }
    return models.MultiTaskModel(models.backbone(backbone, 0.125, dtype=dtype), heads)


@pytest.fixture(scope="module")
def images():
    return models.normalize_images(128 + 50 * reference_weights.normal("images", (4, *SIZE, 3)))


@pytest.fixture(scope="module")
def variables(images):
    return reference_weights.variables(small_model(), images)


def loss_and_gradients(model, variables, images, axis_name=None):
    """Returns the mean of the squared logits over the global batch, the new statistics and the gradients."""

    def loss(params):
        logits, updates = model.apply(
            variables | {"params": params},
            images,
            train=True,
            axis_name=axis_name,
            rngs={"dropout": jax.random.key(5)},
            mutable=["batch_stats"],
        )
        return sum(jnp.mean(jnp.square(value)) for value in logits.values()), updates["batch_stats"]

    (value, batch_stats), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    if axis_name is not None:
        value, gradients = jax.lax.pmean((value, gradients), axis_name)
    return value, batch_stats, gradients


def test_logits(variables, images):
    logits = jax.jit(small_model().apply)(variables, images)
    assert {task: (x.shape, x.dtype.name) for task, x in logits.items()} == {
        "segmentation": ((4, 10, 13, 5), "float32"),
        "smiling": ((4, 1), "float32"),
        "weather": ((4, 3), "float32"),
    }
    alone = jax.jit(small_model().apply)(variables, images[1:2])
    for task, value in logits.items():
        np.testing.assert_allclose(alone[task][0], value[1], rtol=0, atol=1e-5 * float(jnp.max(jnp.abs(value))))


def test_parameters_are_named_by_backbone_and_task(variables):
    assert set(variables["params"]) == {"backbone", "heads_segmentation", "heads_smiling", "heads_weather"}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_the_backbone_runs_once(variables, images):
    calls = []

    def count(next_function, args, kwargs, context):
        calls.append(type(context.module).__name__)
        return next_function(*args, **kwargs)

    with nn.intercept_methods(count):
        jax.eval_shape(small_model().apply, variables, images)
    assert {name: calls.count(name) for name in ("ResNet", "DeepLab", "Classifier", "Linear")} == dict.fromkeys(
        ("ResNet", "DeepLab", "Classifier", "Linear"), 1
    )


def test_training_step_of_four_devices_is_that_of_one(variables, images):
    """In float64, because float32's rounding decides now and then on which side of zero a ReLU is."""
    if jax.device_count() < 4:
        pytest.skip("needs 4 devices")
    model = small_model("float64")
    with jax.enable_x64(True):
        arguments = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (variables, images[:, :40, :56]))
        expected = jax.jit(lambda v, x: loss_and_gradients(model, v, x))(*arguments)
        split = jax.pmap(
            lambda v, x: loss_and_gradients(model, v, x, "batch"),
            axis_name="batch",
            in_axes=(None, 0),
            out_axes=None,
        )
        actual = split(arguments[0], arguments[1].reshape(4, 1, 40, 56, 3))
    for (path, a), b in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        assert np.all(np.isfinite(a)), path
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * np.max(np.abs(b)) + 1e-12, err_msg=str(path))
    for path, gradient in jax.tree.leaves_with_path(expected[2]):
        assert np.any(np.asarray(gradient)), path


def test_bfloat16(variables, images):
    expected = jax.jit(small_model().apply)(variables, images)
    logits = jax.jit(small_model("bfloat16").apply)(variables, images)
    for task in expected:
        assert logits[task].dtype == jnp.float32
        scale = float(jnp.max(jnp.abs(expected[task])))
        np.testing.assert_allclose(logits[task], expected[task], rtol=0, atol=0.1 * scale)


@pytest.mark.parametrize("backbone", ["resnet18d", "resnet50d", "resnet18"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_json_round_trip(backbone, dtype):
    model = small_model(dtype, backbone, dropout=0.25)
    assert models.from_json(json.loads(json.dumps(models.to_json(model)))) == model


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_normalize_images(dtype):
    images = np.array([[[0, 128, 255]]], dtype)
    expected = (np.array([0, 128, 255]) / 255 - multitask.IMAGE_MEAN) / multitask.IMAGE_STD
    normalized = models.normalize_images(images)
    assert normalized.dtype == jnp.float32
    np.testing.assert_allclose(normalized[0, 0], expected, rtol=1e-5)


def test_mistakes_are_reported():
    with pytest.raises(UserError, match=r"'unet'.*deeplab, classifier, linear"):
        models.head("unet", 3)
    with pytest.raises(UserError, match="9 pixels"):
        jax.eval_shape(small_model().init, jax.random.key(0), jnp.zeros((1, 8, 32, 3)))


def test_a_linear_head_is_a_dense_layer_on_the_mean_of_the_features():
    features = reference_weights.normal("features", (3, 4, 5, 7))
    head = models.head("linear", 2)
    variables = reference_weights.variables(head, features)
    conv = {name: np.asarray(leaf, np.float64) for name, leaf in variables["params"]["conv"].items()}
    expected = features.astype(np.float64).mean(axis=(1, 2)) @ conv["kernel"][0, 0] + conv["bias"]
    np.testing.assert_allclose(head.apply(variables, features), expected, rtol=0, atol=1e-5)


def test_forms_are_no_part_of_a_model(variables, images):
    """Models that differ in them only describe themselves alike, have the same parameters and compute the same."""
    model = small_model()
    other = models.with_implementation(model, ops.CPU)
    assert models.to_json(other) == models.to_json(model)
    assert models.from_json(models.to_json(other)) == model != other
    shapes = [jax.eval_shape(kind.init, jax.random.key(0), images[:1]) for kind in (model, other)]
    assert shapes[0] == shapes[1]
    logits, expected = (jax.jit(kind.apply)(variables, images[:, :40, :56]) for kind in (other, model))
    for task, values in expected.items():
        np.testing.assert_allclose(logits[task], values, rtol=0, atol=1e-5 * float(jnp.max(jnp.abs(values))))


def training_loss(model, variables, images, params):
    logits, updated = model.apply(
        {"params": params, "batch_stats": variables["batch_stats"]},
        images,
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": jax.random.key(2)},
    )
    return sum(jnp.mean(values**2) for values in logits.values()), updated


def test_recomputed_activations_give_the_same_gradients():
    """In float64, because some of float32's sums cancel."""
    model, images = small_model("float64"), jax.random.normal(jax.random.key(1), (2, 24, 40, 3))
    with jax.enable_x64(True):
        images = jnp.asarray(images, jnp.float64)
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), model.init(jax.random.key(0), images))

        def gradients(model):
            loss = functools.partial(training_loss, model, variables, images)
            return jax.tree.leaves(jax.jit(jax.grad(loss, has_aux=True))(variables["params"]))

        pairs = list(zip(gradients(model), gradients(models.recomputing(model)), strict=True))
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.max(np.abs(a)) + 1e-7)


def test_recomputed_activations_are_not_kept():
    """What the gradient needs of the forward pass, beside parameters; XLA for CPUs keeps it all the same."""
    model, images = small_model(backbone="resnet50d"), jnp.zeros((2, 64, 64, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images))

    def kept(model):
        def pullback(params, batch_stats):
            loss = functools.partial(training_loss, model, {"batch_stats": batch_stats}, images)
            return jax.vjp(loss, params, has_aux=True)[1]

        residuals = jax.eval_shape(pullback, variables["params"], variables["batch_stats"])
        return sum(leaf.size for leaf in jax.tree.leaves(residuals)) - sum(
            leaf.size for leaf in jax.tree.leaves(variables["params"])
        )

    assert kept(models.recomputing(model)) < 0.6 * kept(model)
    assert models.to_json(models.recomputing(model)) == models.to_json(model)
