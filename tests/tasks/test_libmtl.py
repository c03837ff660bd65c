"""Metrics on given predictions equal those of LibMTL's NYU-v2 example, where `shared/reference` is present."""

import functools
import pathlib

import jax
import numpy as np
import pytest

from lim_jax import tasks
from lim_jax.data.specs import IGNORE, TargetSpec
from tests.tasks import examples

VECTORS = pathlib.Path(__file__).parents[2] / "../shared/reference/libmtl_vectors.npz"
CLASSES = tuple(f"class {i}" for i in range(13))


def task(kind, **settings):
    spec = TargetSpec(kind, kind, CLASSES if kind == "segmentation" else ())
    return tasks.create(spec, loss_resolution="image", **settings)


TASKS = {
    "segmentation": task("segmentation", label_smoothing=0.0),
    "depth": task("depth", target="metres", error="l1"),
    "normals": task("normals"),
}


@functools.cache
def batches():
    """Returns, for each batch, {task: (logits, target)} and the published losses, and the published metrics."""
    if not VECTORS.exists():
        pytest.skip("shared/reference is not here")
    with np.load(VECTORS) as file:
        vectors = dict(file)
    found = []
    for i in (0, 1):
        labels = vectors[f"batch{i}_seg_target"]
        direction = vectors[f"batch{i}_normal_prediction"]
        direction = 0.9 * direction / np.linalg.norm(direction, axis=-1, keepdims=True)
        found.append(
            {
                "segmentation": (
                    vectors[f"batch{i}_seg_logits"],
                    np.where(labels < 0, IGNORE, labels).astype(np.uint8),
                ),
                "depth": (vectors[f"batch{i}_depth_prediction"], vectors[f"batch{i}_depth_target"][..., 0]),
                "normals": (np.arctanh(direction), vectors[f"batch{i}_normal_target"]),
            }
        )
    return found, vectors


@pytest.mark.parametrize("index", [0, 1])
def test_losses(index):
    found, vectors = batches()
    sums = [examples.loss(TASKS[name], *found[index][name]) for name in ("segmentation", "depth", "normals")]
    losses = [float(total) / float(number) for total, number in sums]
    np.testing.assert_allclose(losses, vectors[f"batch{index}_losses"], rtol=2e-6)


def test_segmentation():
    found, vectors = batches()
    metrics = examples.summary(TASKS["segmentation"], *(batch["segmentation"] for batch in found))
    expected = vectors["seg_miou_pixacc"]
    assert [metrics["miou"], metrics["pixel_accuracy_full"]] == pytest.approx(expected, rel=1e-7)


def test_depth():
    """LibMTL weighs each batch's mean by its "size", which after masking is its number of valid pixels: as ours."""
    found, vectors = batches()
    metrics = examples.summary(TASKS["depth"], *(batch["depth"] for batch in found))
    assert [metrics["abs_err"], metrics["rel_err"]] == pytest.approx(vectors["depth_abs_rel"], rel=1e-6)


@pytest.mark.parametrize("index", [0, 1])
def test_depth_of_each_batch(index):
    """Theirs is the loss of the batch: the mean over its valid pixels."""
    found, vectors = batches()
    metrics = examples.summary(TASKS["depth"], found[index]["depth"])
    assert metrics["abs_err"] == pytest.approx(vectors[f"batch{index}_losses"][1], rel=1e-6)
    prediction, depth = (np.squeeze(np.asarray(part, np.float64)) for part in found[index]["depth"])
    relative = np.abs(prediction - depth)[depth > 0] / depth[depth > 0]
    assert metrics["rel_err"] == pytest.approx(relative.mean(), rel=1e-6)


def test_normals():
    found, vectors = batches()
    metrics = examples.summary(TASKS["normals"], *(batch["normals"] for batch in found))
    mean, median, *within = vectors["normal_mean_median_11_22_30"]
    assert metrics["angle_mean"] == pytest.approx(mean, rel=1e-6)
    assert metrics["angle_median"] == pytest.approx(median, abs=0.0025)  # from bins of 0.005°
    assert [metrics[f"within_{angle}"] for angle in ("11.25", "22.5", "30")] == pytest.approx(within, rel=1e-6)


def test_the_limit_of_depth_is_no_part_of_their_figures():
    """Predictions below zero are among the vectors; LibMTL counts them as they are."""
    found, _ = batches()
    assert any((jax.device_get(batch["depth"][0]) < 0).any() for batch in found)
