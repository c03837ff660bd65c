"""PyTorch's baseline of a training step is lim_jax's network, and it learns. Skipped where torch is not installed."""

import jax
import numpy as np
import pytest
from benchmarks import networks
from benchmarks.job import Job
from benchmarks.random_batch import batch

from lim_jax import models

torch = pytest.importorskip("torch")

SIZES = {"width_multiplier": 0.05, "head_channels": 8, "batch_size": 2, "image_size": 64}


@pytest.mark.parametrize("backbone", ["resnet18d", "resnet50d"])
def test_it_computes_what_lim_jax_computes(backbone):
    from benchmarks import torch_modern

    job = Job("step", backbone=backbone, **SIZES)
    ours, theirs = networks.build(networks.configuration(job)).model, torch_modern.TorchModel(job)
    generator = np.random.default_rng(0)
    images = models.normalize_images(batch(job)["image"])
    variables = jax.tree.map(
        lambda leaf: generator.uniform(0.05, 0.2, leaf.shape).astype(np.float32) - 0.1 * (leaf.ndim > 1),
        jax.eval_shape(ours.init, jax.random.key(0), images),
    )
    torch_modern.load(theirs, variables)
    with torch.no_grad():
        found = theirs.eval()(torch.from_numpy(np.array(images)).permute(0, 3, 1, 2))
    for task, expected in jax.jit(ours.apply)(variables, images).items():
        actual = found[task].permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.max(np.abs(expected)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_its_steps_lower_its_loss(dtype, monkeypatch):
    from benchmarks import torch_modern

    losses, loss_of = [], torch_modern._losses

    def noted(*arguments):
        found = loss_of(*arguments)
        losses.append(float(sum(found.values()).detach()))
        return found

    monkeypatch.setattr(torch_modern, "_losses", noted)
    step = torch_modern.prepare(Job("step", "torch_modern", "resnet18d", dtype=dtype, **SIZES))
    for _ in range(12):
        step()
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.05


def test_its_losses_are_those_of_lim_jax():
    from benchmarks import torch_modern

    job = Job("step", **SIZES)
    generator = np.random.default_rng(0)
    outputs = {"segmentation": 41, "normals": 3, "depth": 1}
    logits = {task: generator.standard_normal((2, 8, 8, n), np.float32) for task, n in outputs.items()}
    examples = batch(job)["targets"]
    tasks = networks.build(networks.configuration(job)).tasks
    _, targets = torch_modern._batch(job, torch.device("cpu"))
    found = torch_modern._losses(
        {task: torch.from_numpy(value).permute(0, 3, 1, 2) for task, value in logits.items()}, targets
    )
    for task, loss in found.items():
        total, weight = tasks[task].loss(logits[task], examples[task])
        tolerance = 1e-3 if task == "depth" else 1e-5  # lim_jax clips the largest percent of depths
        np.testing.assert_allclose(float(loss), total / weight, rtol=tolerance)
