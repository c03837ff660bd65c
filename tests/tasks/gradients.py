"""Gradients of a task's loss against finite differences of an independent float64 loss."""

from collections.abc import Callable

import jax
import numpy as np

from lim_jax.tasks import Task


def assert_gradient(
    task: Task, reference: Callable[[np.ndarray], float], logits: np.ndarray, target: np.ndarray
) -> None:
    """Compares slopes along random directions, central differences of `reference` being the truth."""
    gradient = jax.jit(jax.grad(lambda *case: task.loss(*case)[0]))(logits, target)
    rng = np.random.default_rng(0)
    step = 1e-4
    for _ in range(3):
        direction = rng.standard_normal(logits.shape)
        ahead, behind = (reference(logits + sign * step * direction) for sign in (1, -1))
        slope = (ahead - behind) / (2 * step)
        noise = 1e-6 * np.linalg.norm(gradient) * np.sqrt(direction.size)
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-4, atol=noise)
