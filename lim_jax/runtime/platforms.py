"""What each platform gets: one table, asked where a program is made, never deep inside one.

A platform is what a program is lowered for, JAX's name of it: "cpu", "gpu" (also "cuda", "rocm"), "tpu". Where there is
a figure, it is in docs/performance.md.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from lim_jax import ops


@dataclasses.dataclass(frozen=True)
class Platform:
    """What a platform gets.

    Attributes:
      name: JAX's name of it.
      forms: how operations are computed.
      splits_step: whether a training step is two programs, gradients and update: XLA for CPUs loads two in a third of
        the time of one that is both.
      layers_at_once: how many layers of the proximal step are computed at the same time, while the others wait; None =
        all, whose temporary arrays XLA for CPUs would then hold together.
      batches_equal_layers: whether layers of equal shapes take the proximal step as one: on a GPU, fewer programs to
        compile and to launch; on a CPU, copies for nothing.
      saves_in_background: whether digests of a checkpoint are made while training goes on: not on a CPU, where the copy
        on the host is the state itself, and the cores are busy.
      compiles_evaluation_early: whether evaluation is compiled together with the training step instead of at the end of
        the first epoch: not on a CPU, where the first step would come later, and compiling take memory beside steps.
      keeps_freed_memory: whether the process keeps memory that it has freed: that of a step's arrays, on a CPU.
    """

    name: str
    forms: ops.Forms
    splits_step: bool
    layers_at_once: int | None
    batches_equal_layers: bool
    saves_in_background: bool
    compiles_evaluation_early: bool
    keeps_freed_memory: bool


PLATFORMS = {
    "cpu": Platform(
        "cpu",
        ops.CPU,
        splits_step=True,
        layers_at_once=2,
        batches_equal_layers=False,
        saves_in_background=False,
        compiles_evaluation_early=False,
        keeps_freed_memory=True,
    ),
    "gpu": Platform(
        "gpu",
        ops.GPU,
        splits_step=False,
        layers_at_once=None,
        batches_equal_layers=True,
        saves_in_background=True,
        compiles_evaluation_early=True,
        keeps_freed_memory=False,
    ),
}
_OTHER_NAMES = {"cuda": "gpu", "rocm": "gpu"}


def named(name: str) -> Platform:
    """Returns what the platform of that name gets; one that is not in the table gets the plain forms."""
    name = _OTHER_NAMES.get(name, name)
    plain = dataclasses.replace(PLATFORMS["gpu"], name=name, forms=ops.REFERENCE)
    return PLATFORMS.get(name, plain)


def of(devices: Sequence[Any]) -> Platform:
    """Returns what the platform of these devices gets."""
    return named(devices[0].platform)


def default() -> Platform:
    """Returns what the platform gets that JAX uses where none is named."""
    config: Any = jax.config
    chosen = config.jax_default_device
    return named(jax.default_backend() if chosen is None else getattr(chosen, "platform", chosen))
