"""Compiles a function before its first call, in the background, and says how long that took.

XLA needs no Python lock, neither to compile nor to load what the compilation cache holds: meanwhile other functions are
traced and parameters drawn.
"""

import concurrent.futures
import contextlib
import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from lim_jax.runtime import memory

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Looking for garbage takes a quarter of the time in which a large function is traced, and nearly all is needed."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


# Of the 65,530 memory mappings that Linux gives a process (vm.max_map_count); one run rarely takes half of the rest.
MANY_MAPPINGS = 16_384


@contextlib.contextmanager
def released_afterwards() -> Iterator[None]:
    """Frees what was compiled, here and before, when the block ends, once a process holds many memory mappings.

    JAX keeps each program as long as the process lives. On a CPU one takes hundreds of memory mappings: without this
    the 36th of a series of small runs (seeds, a sweep) died where it loaded one. What is called again afterwards is
    compiled again, or comes from the compilation cache; hence not after each run.
    """
    try:
        yield
    finally:
        held = memory.mappings()
        if held is None or held >= MANY_MAPPINGS:
            jax.clear_caches()


def batch_shapes(example: Any, batch_size: int) -> Any:
    """Returns the shapes and dtypes of a batch of `batch_size` examples like `example`."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch_size, *np.shape(leaf)), leaf.dtype), example)


class Lowerable(Protocol):
    """A function that can be traced before it is compiled, as those of `lim_jax.runtime.devices`."""

    def lower(self, *shapes: Any) -> Callable[[], Callable[..., Any]]:
        """Traces it for arguments of these shapes and dtypes; the result compiles it when it is called."""
        ...


class Ahead:
    """A function that is being compiled; calling it waits until it is, and all that are compiled together with it."""

    def __init__(self, compiled: concurrent.futures.Future[Callable[..., Any]], all_done: concurrent.futures.Future):
        self._compiled, self._all_done = compiled, all_done

    def __call__(self, *arguments: Any) -> Any:
        """Calls the compiled function; what went wrong when it was compiled is raised here."""
        self._all_done.result()
        return self._compiled.result()(*arguments)


def ahead(name: str, *functions: tuple[Lowerable, tuple[Any, ...]]) -> list[Ahead]:
    """Starts compiling functions: traces one after the other, and compiles each while the next ones are traced.

    What takes longest to compile comes first. None is called before all are compiled, so that the memory of a compiler
    and that of a running function are not needed at the same time.

    Args:
      name: of all of them together, for people.
      *functions: pairs of a function and its arguments, or anything with their shapes and dtypes; calls must have the
        same.
    """
    started = time.monotonic()
    tracing = concurrent.futures.ThreadPoolExecutor(1, "tracing")
    compiling = concurrent.futures.ThreadPoolExecutor(len(functions), "compilation")
    lowered = [tracing.submit(_lower, function, shapes) for function, shapes in functions]
    compiled = [compiling.submit(_compile, compile_lowered) for compile_lowered in lowered]
    all_done = tracing.submit(_finish, name, started, compiled)
    for threads in (tracing, compiling):
        threads.shutdown(wait=False)
    return [Ahead(result, all_done) for result in compiled]


def _lower(function: Lowerable, shapes: tuple[Any, ...]) -> Callable[[], Callable[..., Any]]:
    with without_garbage_collection():
        return function.lower(*shapes)


def _compile(lowered: concurrent.futures.Future[Callable[[], Callable[..., Any]]]) -> Callable[..., Any]:
    return lowered.result()()


def _finish(name: str, started: float, compiled: Sequence[concurrent.futures.Future[Any]]) -> None:
    concurrent.futures.wait(compiled)
    memory.return_freed_memory()
    if not any(result.exception() for result in compiled):
        logger.info("compiled %s in %.1f s", name, time.monotonic() - started)
