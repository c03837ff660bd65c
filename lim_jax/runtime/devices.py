"""How a batch is spread over devices: the only place, with `train.py`, that knows `pmap`.

A step function sees one device's share of the batch and reduces over the axis `AXIS`; `distribute` turns it into
a function of this process's whole batch. The state is neither stacked nor sharded: it goes in and comes out as
one replicated copy (`in_axes=None`, `out_axes=None`), which is what the proximal step, checkpoints and surgery want.
"""

import ctypes
import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from lim_jax.errors import UserError
from lim_jax.runtime import platforms

AXIS = "batch"
_WORTH_CACHING = 0.1  # seconds of compilation
# Parameters of mallopt, from glibc's malloc.h: what keeps freed memory, and glibc's own setting.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = (-1, 2**31 - 1, 128 * 1024), (-4, 0, 65536), (-8, 1, 0)

Device: TypeAlias = Any  # jax.Device, which type checkers take for a variable


def chosen(num_devices: int, batch_size: int) -> list[Device]:
    """Returns this process's devices for a run; raises `UserError` if they do not fit the batch.

    Args:
      num_devices: how many of this process's devices to use; 0 = all.
      batch_size: the global batch size, which all devices of all processes must divide.
    """
    local = jax.local_devices()
    if num_devices > len(local):
        raise UserError(f"config.num_devices is {num_devices}, but this process has {len(local)} device(s)")
    devices = local[: num_devices or len(local)]
    total = len(devices) * jax.process_count()
    if batch_size % total:
        raise UserError(
            f"config.batch_size is {batch_size}, which {total} devices cannot share equally: "
            f"choose a multiple of {total}, or set config.num_devices"
        )
    return devices


def use_compilation_cache(directory: str) -> None:
    """Keeps compiled programs between runs: in `directory`, in the user's cache ("auto"), or not at all ("")."""
    if directory:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
        place = cache / "lim_jax" / "xla" if directory == "auto" else pathlib.Path(directory)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_CACHING)
        jax.config.update("jax_compilation_cache_dir", str(place))


def keep_freed_memory() -> None:
    """Makes the C library keep memory that is freed, where the platform wants it; does nothing without glibc.

    XLA frees the temporary arrays of a step at its end, and allocates them again in the next one. glibc would return
    them to the system and get them back page by page. To be called before a device is used: XLA's threads have to
    find the setting, since a thread that has got a heap of its own always returns large arrays.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    options = (_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX)
    for parameter, keeping, _ in options:
        mallopt(parameter, keeping)
    if not platforms.default().keeps_freed_memory:
        for parameter, _, default in options:
            mallopt(parameter, default)


def return_freed_memory() -> None:
    """Returns to the system what was freed so far, although `keep_freed_memory` keeps it: for when a compiler is done.

    Its memory is in pieces, into which the arrays of a training step do not fit. Does nothing without glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@dataclasses.dataclass(frozen=True)
class Distributed:
    """A step function over devices, made by `distribute`: called with the replicated arguments and a whole batch."""

    mapped: Any
    num_devices: int

    def __call__(self, *arguments: Any) -> Any:
        """Runs the step; it is compiled for every new shape and placement of the arguments."""
        return self.mapped(*arguments[:-1], split(arguments[-1], self.num_devices))

    def lower(self, *arguments: Any) -> Callable[[], Callable[..., Any]]:
        """Traces the step for arguments of these shapes and dtypes; the result compiles it when it is called.

        What that returns is called as this object is.
        """
        *replicated, batch = _shapes(arguments)
        lowered = self.mapped.lower(*replicated, jax.tree.map(self._share, batch))
        return lambda: dataclasses.replace(self, mapped=lowered.compile())

    def _share(self, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        examples, *rest = leaf.shape
        return jax.ShapeDtypeStruct((self.num_devices, examples // self.num_devices, *rest), leaf.dtype)


@dataclasses.dataclass(frozen=True)
class OnEach:
    """A function of replicated arguments alone, made by `on_each`, which every device computes for itself."""

    jitted: Any

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function."""
        return self.jitted(*arguments)

    def lower(self, *arguments: Any) -> Callable[[], Callable[..., Any]]:
        """As `Distributed.lower`."""
        lowered = self.jitted.lower(*_shapes(arguments))
        return lambda: dataclasses.replace(self, jitted=lowered.compile())


def distribute(
    step: Callable[..., Any], devices: Sequence[Device], num_replicated: int, *, donate_first: bool = False
) -> Distributed:
    """Returns `step(*replicated, batch)` over `devices`: the batch is split, everything else is replicated.

    Args:
      step: its last argument is a device's share of the batch, its results are equal on all devices
        (reduced over `AXIS`; nothing checks that they are).
      devices: of this process.
      num_replicated: number of arguments before the batch.
      donate_first: the first argument's memory may be reused for the result.
    """
    mapped = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(*(None,) * num_replicated, 0),
        out_axes=None,
        devices=devices if jax.process_count() == 1 else None,  # across processes, pmap takes all devices
        donate_argnums=(0,) if donate_first else (),
    )
    return Distributed(mapped, len(devices))


def on_each(function: Callable[..., Any], devices: Sequence[Device], *, donate_first: bool = False) -> OnEach:
    """Returns `function(*replicated)`, computed on each of `devices`; its result is replicated like its arguments.

    Args:
      function: of replicated arguments.
      devices: of this process.
      donate_first: the first argument's memory may be reused for the result.
    """
    placement = _replicated(devices)
    donated = (0,) if donate_first else ()
    return OnEach(jax.jit(function, in_shardings=placement, out_shardings=placement, donate_argnums=donated))


def reduction_axis() -> str | None:
    """Returns what a step function reduces over: `AXIS`, or None on a single device, where XLA would copy all of it."""
    return AXIS if jax.lax.axis_size(AXIS) > 1 else None


def total(tree: Any, axis_name: str | None) -> Any:
    """Sums over the axis, if there is one."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def mean(tree: Any, axis_name: str | None) -> Any:
    """Averages over the axis, if there is one."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def replicate(tree: Any, devices: Sequence[Device]) -> Any:
    """Copies a pytree to all of this process's devices, placed exactly as `distribute`d functions return it.

    They are compiled anew for every placement that they meet, so whatever comes from the host goes through here.
    """
    return jax.device_put(tree, _replicated(devices))


def _replicated(devices: Sequence[Device]) -> jax.sharding.Sharding:
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), tree)


def split(batch: Any, num_devices: int) -> Any:
    """Returns the batch with leaves (N, ...) as (num_devices, N / num_devices, ...)."""
    return jax.tree.map(lambda leaf: np.reshape(leaf, (num_devices, -1, *np.shape(leaf)[1:])), batch)
