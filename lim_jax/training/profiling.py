"""A trace of some steps of a run, by JAX's profiler: what `--profile=STEPS` records."""

import logging
import pathlib
from typing import Any

import jax

logger = logging.getLogger(__name__)

FOLDER = "profile"  # in the workdir
_BEFORE = 2  # steps of a process that are not recorded: the first one waits for the compiler


class Profile:
    """Records steps; as a context manager, it ends the trace of a run that ends before all of them are done.

    Args:
      workdir: of the run; the trace goes to its folder `profile`.
      steps: how many are recorded; 0 = none.
    """

    def __init__(self, workdir: pathlib.Path, steps: int):
        self._folder, self._wanted = workdir / FOLDER, steps
        self._seen = 0
        self._first: int | None = None  # of the recorded steps, while they are recorded

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *exception) -> None:
        if self._first is not None:
            jax.profiler.stop_trace()

    def before(self, step: int) -> None:
        """Begins the trace if this step, counted from 1, is the first one to be recorded."""
        self._seen += 1
        if self._wanted and self._seen == _BEFORE + 1:
            jax.profiler.start_trace(self._folder)
            self._first = step

    def after(self, step: int, sums: Any) -> None:
        """Ends the trace if this step was the last one to be recorded, when the device is done with its `sums`."""
        if self._first is None or step < self._first + self._wanted - 1:
            return
        jax.block_until_ready(sums)
        jax.profiler.stop_trace()
        logger.info(
            "steps %d to %d are recorded: `xprof %s` or TensorBoard's profiler shows them",
            self._first,
            step,
            self._folder,
        )
        self._first = None
