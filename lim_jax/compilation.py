"""Compiles a function before its first call, in the background, and says how long that took.

XLA needs no Python lock, neither to compile nor to load what the compilation cache holds: meanwhile parameters are
drawn and modules imported.
"""

import concurrent.futures
import contextlib
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from lim_jax import devices

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


def batch_shapes(example: Any, batch_size: int) -> Any:
    """Returns the shapes and dtypes of a batch of `batch_size` examples like `example`."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch_size, *np.shape(leaf)), leaf.dtype), example)


class Ahead:
    """A function of `devices.distribute` that is being compiled; calling it waits until it is."""

    def __init__(self, function: devices.Distributed, name: str, *shapes: Any, meanwhile: Callable[[], Any]):
        """Starts compiling.

        Args:
          function: what to compile.
          name: of the function, for people.
          *shapes: its arguments, or anything with their shapes and dtypes; calls must have the same.
          meanwhile: called in a thread as soon as only XLA works.
        """
        self._function, self._name, self._shapes, self._meanwhile = function, name, shapes, meanwhile
        threads = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="compilation")
        self._compiled = threads.submit(self._compile)
        threads.shutdown(wait=False)

    def __call__(self, *arguments: Any) -> Any:
        """Calls the compiled function; what went wrong when it was compiled is raised here."""
        return self._compiled.result()(*arguments)

    def _compile(self) -> Callable[..., Any]:
        started = time.monotonic()
        with without_garbage_collection():
            compile_lowered = self._function.lower(*self._shapes)
        threading.Thread(target=self._meanwhile).start()
        compiled = compile_lowered()
        logger.info("compiled %s in %.1f s", self._name, time.monotonic() - started)
        return compiled
