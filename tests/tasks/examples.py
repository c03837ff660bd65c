"""Random tasks, logits and targets for the tests of this folder."""

import functools

import jax
import numpy as np

from lim_jax import tasks
from lim_jax.data.specs import IGNORE, TargetSpec
from lim_jax.tasks.interpolation import map_shape

IMAGE_KINDS = ("attribute", "category", "number")
KINDS = ("segmentation", "depth", "normals", *IMAGE_KINDS)
SIZES = ((72, 104), (75, 101))  # whole cells; cut-off cells
CLASSES = ("wall", "floor", "chair", "lamp", "void-like class that never occurs")


def make_task(kind: str, **settings) -> tasks.Task:
    return tasks.create(TargetSpec(kind, kind, CLASSES if kind in ("segmentation", "category") else ()), **settings)


def random_target(kind: str, rng: np.random.Generator, batch: int, size: tuple[int, int]) -> np.ndarray:
    """A target with a quarter of its pixels (or examples) invalid, and the last image of a batch invalid altogether."""
    invalid = rng.random((batch, *size)) < 0.25
    invalid[-1] = batch > 1
    if kind == "segmentation":
        labels = rng.choice(len(CLASSES) - 1, p=(0.5, 0.3, 0.15, 0.05), size=(batch, *size))
        return np.where(invalid, IGNORE, labels).astype(np.uint8)
    if kind == "depth":
        return np.where(invalid, 0, rng.lognormal(0.5, 0.8, (batch, *size))).astype(np.float32)
    if kind == "normals":
        vectors = rng.standard_normal((batch, *size, 3)) + np.array([0, -1, 0.5])
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
        return np.where(invalid[..., None], 0, vectors).astype(np.float32)
    if kind == "category":
        return np.where(invalid[:, 0, 0], -1, rng.choice(len(CLASSES) - 1, size=batch)).astype(np.int16)
    if kind == "number":
        return np.where(invalid[:, 0, 0], np.nan, rng.normal(1.5, 3, batch)).astype(np.float32)
    return np.where(invalid[:, 0, 0], -1, rng.random(batch) < 0.6).astype(np.int8)


def random_logits(task: tasks.Task, rng: np.random.Generator, batch: int, size: tuple[int, int]) -> np.ndarray:
    cells = () if task.spec.kind in IMAGE_KINDS else map_shape(size, task.output_stride)
    return rng.standard_normal((batch, *cells, task.num_outputs)).astype(np.float32)


def random_case(kind: str, *, seed: int = 0, batch: int = 4, size: tuple[int, int] = SIZES[0], **settings):
    """Returns (task, logits, target)."""
    rng = np.random.default_rng(seed)
    task = make_task(kind, **settings)
    return task, random_logits(task, rng, batch, size), random_target(kind, rng, batch, size)


def summary(task: tasks.Task, *batches: tuple[np.ndarray, np.ndarray]) -> tasks.Metrics:
    """Adds up the metrics of (logits, target) batches as evaluation does, and summarizes them."""
    sums = [jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), _jit(task, "metrics")(*batch)) for batch in batches]
    return task.summarize(jax.tree.map(lambda *leaves: sum(leaves), *sums))


def loss(task: tasks.Task, logits: np.ndarray, target: np.ndarray) -> tuple[jax.Array, jax.Array]:
    return _jit(task, "loss")(logits, target)


@functools.cache  # jit caches per function object, and every access to a method makes a new one
def _jit(task: tasks.Task, method: str):
    return jax.jit(getattr(task, method))


def upsample(maps: np.ndarray, size: tuple[int, int], stride: int = 8) -> np.ndarray:
    """Bilinear upsampling by `stride` of (B, h, w, C), pixel by pixel, in float64."""
    result = np.zeros((len(maps), *size, maps.shape[-1]))
    for y in range(size[0]):
        for x in range(size[1]):
            top, left = y // stride, x // stride
            bottom, right = min(top + 1, maps.shape[1] - 1), min(left + 1, maps.shape[2] - 1)
            down, across = y / stride - top, x / stride - left
            result[:, y, x] = (
                (1 - down) * (1 - across) * maps[:, top, left]
                + (1 - down) * across * maps[:, top, right]
                + down * (1 - across) * maps[:, bottom, left]
                + down * across * maps[:, bottom, right]
            )
    return result


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
