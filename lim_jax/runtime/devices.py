"""Which devices a run uses, and functions over them; the only place that knows `pmap`.

A step function sees one device's share of the batch and reduces over the axis `AXIS`; `data_parallel` turns it into
a function of this process's whole batch. The state is neither stacked nor sharded: it goes in and comes out as
one replicated copy (`in_axes=None`, `out_axes=None`), which is what the proximal step, checkpoints and surgery want.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from lim_jax.errors import UserError
from lim_jax.runtime import memory

AXIS = "batch"

Device: TypeAlias = Any  # jax.Device, which type checkers take for a variable


def chosen(num_devices: int, batch_size: int) -> list[Device]:
    """Returns this process's devices for a run; raises `UserError` if they do not fit the batch.

    Args:
      num_devices: how many of this process's devices to use; 0 = all, the only choice of several processes.
      batch_size: the global batch size, which all devices of all processes must divide.
    """
    local = jax.local_devices()
    if num_devices > len(local):
        raise UserError(f"config.num_devices is {num_devices}, but this process has {len(local)} device(s)")
    devices = local[: num_devices or len(local)]
    if jax.process_count() > 1 and len(devices) < len(local):
        raise UserError(
            f"config.num_devices is {num_devices}, but each of several processes uses all of its {len(local)} devices: "
            "leave it at 0"
        )
    total = len(devices) * jax.process_count()
    if batch_size % total:
        raise UserError(
            f"config.batch_size is {batch_size}, which {total} devices cannot share equally: "
            f"choose a multiple of {total}, or set config.num_devices"
        )
    return devices


def fitting(num_devices: int, batch_size: int) -> list[Device]:
    """Returns this process's devices to evaluate a run with: as many as there are, and as can share a batch equally.

    Args:
      num_devices: how many of this process's devices the run used; 0 = all.
      batch_size: the global batch size.
    """
    local = jax.local_devices()
    most = min(num_devices or len(local), len(local))
    shares = [number for number in range(1, most + 1) if batch_size % (number * jax.process_count()) == 0]
    return local[: max(shares, default=1)]


def memory_of(device: Device) -> int:
    """Returns the bytes of memory that a device has; those of the whole machine where it does not say."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return limit or memory.of_machine()


@dataclasses.dataclass(frozen=True)
class DataParallelFunction:
    """A function over devices, made by `data_parallel`: called with the replicated arguments and a whole batch."""

    mapped: Any
    num_devices: int

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function; it is compiled for every new shape and placement of the arguments."""
        return self.mapped(*arguments[:-1], split(arguments[-1], self.num_devices))

    def lower(self, *arguments: Any) -> Callable[[], Callable[..., Any]]:
        """Traces the function for arguments of these shapes and dtypes; the result compiles it when it is called.

        What that returns is called as this object is.
        """
        *replicated_shapes, batch = _shapes(arguments)
        lowered = self.mapped.lower(*replicated_shapes, jax.tree.map(self._share, batch))
        return lambda: dataclasses.replace(self, mapped=lowered.compile())

    def _share(self, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        examples, *rest = leaf.shape
        return jax.ShapeDtypeStruct((self.num_devices, examples // self.num_devices, *rest), leaf.dtype)


@dataclasses.dataclass(frozen=True)
class ReplicatedFunction:
    """A function of replicated arguments alone, made by `replicated`, which every device computes for itself."""

    jitted: Any

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function."""
        return self.jitted(*arguments)

    def lower(self, *arguments: Any) -> Callable[[], Callable[..., Any]]:
        """As `DataParallelFunction.lower`."""
        lowered = self.jitted.lower(*_shapes(arguments))
        return lambda: dataclasses.replace(self, jitted=lowered.compile())


def data_parallel(
    function: Callable[..., Any],
    local_devices: Sequence[Device],
    num_replicated: int,
    *,
    donate_first: bool = False,
) -> DataParallelFunction:
    """Returns `function(*replicated, batch)` over devices: the batch is split, everything else is replicated.

    Args:
      function: its last argument is a device's share of the batch, its results are equal on all devices
        (reduced over `AXIS`; nothing checks that they are).
      local_devices: of this process.
      num_replicated: number of arguments before the batch.
      donate_first: the first argument's memory may be reused for the result.
    """
    mapped = jax.pmap(
        function,
        axis_name=AXIS,
        in_axes=(*(None,) * num_replicated, 0),
        out_axes=None,
        devices=local_devices if jax.process_count() == 1 else None,  # across processes, pmap takes all devices
        donate_argnums=(0,) if donate_first else (),
    )
    return DataParallelFunction(mapped, len(local_devices))


def sharing(function: Callable[..., Any], local_devices: Sequence[Device]) -> Any:
    """Returns jitted `function(replicated, batch)` whose result is a batch, too: each device has its share of both.

    Args:
      function: of a device's share of the batch; it reduces nothing.
      local_devices: of this process.
    """
    mesh, split_up = _mesh(local_devices), jax.sharding.PartitionSpec(AXIS)
    shares = jax.sharding.NamedSharding(mesh, split_up)
    specs = (jax.sharding.PartitionSpec(), split_up)
    mapped = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=split_up)
    return jax.jit(mapped, in_shardings=(_on_all(local_devices), shares), out_shardings=shares)


def replicated(
    function: Callable[..., Any], local_devices: Sequence[Device], *, donate_first: bool = False
) -> ReplicatedFunction:
    """Returns `function(*replicated)`, computed on each device; its result is replicated like its arguments.

    Args:
      function: of replicated arguments.
      local_devices: of this process.
      donate_first: the first argument's memory may be reused for the result.
    """
    placement = _on_all(local_devices)
    donated = (0,) if donate_first else ()
    jitted = jax.jit(function, in_shardings=placement, out_shardings=placement, donate_argnums=donated)
    return ReplicatedFunction(jitted)


def reduction_axis() -> str | None:
    """Returns what a step function reduces over: `AXIS`, or None on a single device, where XLA would copy all of it."""
    return AXIS if jax.lax.axis_size(AXIS) > 1 else None


def total(tree: Any, axis_name: str | None) -> Any:
    """Sums over the axis, if there is one."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def mean(tree: Any, axis_name: str | None) -> Any:
    """Averages over the axis, if there is one."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def replicate(tree: Any, local_devices: Sequence[Device]) -> Any:
    """Copies a pytree to all of this process's devices, placed exactly as the functions above return it.

    They are compiled anew for every placement that they meet, so whatever comes from the host goes through here.
    """
    return jax.device_put(tree, _on_all(local_devices))


def _on_all(local_devices: Sequence[Device]) -> jax.sharding.Sharding:
    return jax.sharding.NamedSharding(_mesh(local_devices), jax.sharding.PartitionSpec())


def _mesh(local_devices: Sequence[Device]) -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.array(local_devices), (AXIS,))


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), tree)


def split(batch: Any, num_devices: int) -> Any:
    """Returns the batch with leaves (N, ...) as (num_devices, N / num_devices, ...)."""
    return jax.tree.map(lambda leaf: np.reshape(leaf, (num_devices, -1, *np.shape(leaf)[1:])), batch)
