import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from lim_jax.tasks.depth import relative_depth
from tests.tasks import examples
from tests.tasks.gradients import assert_gradient


def reference_relative_depth(depth):
    result = np.zeros(depth.shape)
    for image, out in zip(depth.astype(np.float64), result, strict=True):
        valid = image > 0
        if valid.any():
            relative = image[valid] / image.max()
            out[valid] = np.clip(relative, 0.1, np.percentile(relative, 99))
    return result


def reference_loss(logits, target):
    depth = reference_relative_depth(target)[:, ::8, ::8]
    error = examples.sigmoid(np.asarray(logits, np.float64))[..., 0] - depth
    return (error[depth > 0] ** 2).sum(), (depth > 0).sum()


def reference_metrics(logits, target):
    depth = reference_relative_depth(target)
    prediction = examples.sigmoid(np.asarray(logits, np.float64))
    cells = depth[:, ::8, ::8]
    upsampled = examples.upsample(prediction, target.shape[1:])[..., 0]
    return {
        "mae": np.abs(prediction[..., 0] - cells)[cells > 0].mean(),
        "rmse": np.sqrt(((upsampled - depth)[depth > 0] ** 2).mean()),
    }


@settings(max_examples=40, deadline=None)
@given(
    st_numpy.arrays(
        np.float32,
        (2, 13, 17),
        elements=st.sampled_from([0.0, 0.25, 1.0, 2.0, 3.5, 8.0, 100.0]) | st.floats(0, 10, width=32),
    )
)
def test_relative_depth(depth):
    depth = np.where(depth > 1e-30, depth, 0)
    actual = jax.jit(relative_depth)(depth)
    np.testing.assert_allclose(actual, reference_relative_depth(depth), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (5, 7), (75, 101), (64, 64)])
@pytest.mark.parametrize("valid_share", [1.0, 0.6, 0.02])
def test_relative_depth_of_any_size_and_validity(size, valid_share):
    rng = np.random.default_rng(0)
    depth = np.where(rng.random((3, *size)) < valid_share, rng.lognormal(0, 1, (3, *size)), 0).astype(np.float32)
    np.testing.assert_allclose(jax.jit(relative_depth)(depth), reference_relative_depth(depth), rtol=2e-5, atol=1e-6)


def test_depth_that_is_no_number_is_invalid():
    depth = np.full((1, 8, 8), 2.0, np.float32)
    depth[0, 0, :3] = np.nan, np.inf, -1.0
    relative = np.asarray(jax.jit(relative_depth)(depth))
    np.testing.assert_array_equal(relative[0, 0, :3], 0)
    np.testing.assert_array_equal(relative[0, 1:], 1)


@pytest.mark.parametrize("size", examples.SIZES)
def test_loss_and_gradient(size):
    task, logits, target = examples.random_case("depth", size=size)
    np.testing.assert_allclose(examples.loss(task, logits, target), reference_loss(logits, target), rtol=1e-5)
    assert_gradient(task, lambda x: reference_loss(x, target)[0], logits, target)


@pytest.mark.parametrize("size", examples.SIZES)
def test_metrics(size):
    task, logits, target = examples.random_case("depth", size=size)
    assert examples.summary(task, (logits, target)) == pytest.approx(reference_metrics(logits, target), rel=1e-5)


def test_the_unit_of_depth_does_not_matter():
    task, logits, target = examples.random_case("depth")
    metres, millimetres = (examples.summary(task, (logits, target * scale)) for scale in (1, 1000))
    assert metres == pytest.approx(millimetres, rel=1e-5)
