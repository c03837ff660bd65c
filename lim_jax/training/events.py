"""TensorBoard events: the records of the history as scalars, the norms of the groups as histograms."""

import contextlib
import functools
import importlib
import pathlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

_WRITERS = "clu.metric_writers"


class EventWriter:
    """clu's writer of TensorBoard events, asynchronous; use as a context manager.

    It is made when there is something to write, since it imports TensorFlow, which takes seconds.
    """

    def __init__(self, workdir: pathlib.Path):
        self._workdir = workdir

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *exception) -> None:
        if "_writer" in vars(self):
            self._writer.close()  # writes what it still holds

    @functools.cached_property
    def _writer(self) -> Any:
        writers = importlib.import_module(_WRITERS)
        return writers.create_default_writer(self._workdir, just_logging=jax.process_index() > 0)

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Writes a record of the history as scalars named by their place in it: `validation/depth/mae`."""
        scalars = {name: value for name, value in _flat(record) if name not in ("epoch", "step")}
        self._writer.write_scalars(record["step"], scalars)

    def write_histograms(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Writes the distribution of values by name."""
        self._writer.write_histograms(step, values)


@functools.cache
def import_writers_meanwhile() -> None:
    """Imports clu's writers, and with them TensorFlow, in a thread, so that `EventWriter` finds them; once."""
    threading.Thread(target=_try_to_import_writers).start()


def _try_to_import_writers() -> None:
    with contextlib.suppress(Exception):  # `EventWriter` meets it again, unless the process is ending
        importlib.import_module(_WRITERS)


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif value is not None:
            yield f"{prefix}{name}", value
