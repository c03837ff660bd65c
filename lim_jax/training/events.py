"""TensorBoard events: records as scalars, norms of groups as histograms, figures as images; and records as a table."""

import contextlib
import functools
import importlib
import pathlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import jax
import numpy as np

from lim_jax.runtime import cli, whole_files
from lim_jax.training import trackers

_WRITERS = "clu.metric_writers"


class EventWriter:
    """clu's writer of TensorBoard events, asynchronous; use as a context manager.

    It is made when there is something to write, since it imports TensorFlow, which takes seconds.
    """

    def __init__(self, workdir: pathlib.Path, hyperparameters: Mapping[str, Any], names: Sequence[str] = ()):
        """Writes to `workdir`, first of all the values of a configuration by their keys, and to the named trackers."""
        self._workdir = workdir
        self._trackers = trackers.opened(names if jax.process_index() == 0 else (), workdir, hyperparameters)
        self._hyperparameters = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in hyperparameters.items()
        }

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *exception) -> None:
        if "_writer" in vars(self):
            self._writer.close()  # writes what it still holds
        for tracker in self._trackers:
            tracker.close()

    @functools.cached_property
    def _writer(self) -> Any:
        writers = _imported_writers()
        writer = writers.create_default_writer(self._workdir, just_logging=jax.process_index() > 0)
        writer.write_hparams(self._hyperparameters)
        return writer

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Writes a record of the history as scalars named by their place in it: `validation/depth/mae`."""
        scalars = {name: value for name, value in _flat(record) if name not in ("epoch", "step")}
        self._writer.write_scalars(record["step"], scalars)
        for tracker in self._trackers:
            tracker.write(record["step"], scalars)

    def write_histograms(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Writes the distribution of values by name."""
        self._writer.write_histograms(step, values)

    def write_pictures(self, step: int, files: Sequence[pathlib.Path]) -> None:
        """Writes figures, PNG files, named by their file and its folder: `report/predictions`."""
        if files:
            read = {path: np.asarray(cv2.imread(str(path))) for path in files}
            pictures = {f"{path.parent.name}/{path.stem}": image[None, :, :, ::-1] for path, image in read.items()}
            self._writer.write_images(step, pictures)


@functools.cache
def import_writers_meanwhile() -> None:
    """Imports clu's writers, and with them TensorFlow, in a thread, so that `EventWriter` finds them; once."""
    threading.Thread(target=_try_to_import_writers).start()


def write_table(workdir: pathlib.Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Writes `history.csv`: a row per epoch, a column per number of the records; the first process does."""
    if jax.process_index() == 0:
        whole_files.write_csv(workdir / "history.csv", [dict(_flat(record)) for record in history])


def _try_to_import_writers() -> None:
    with contextlib.suppress(Exception):  # `EventWriter` meets it again, unless the process is ending
        _imported_writers()


def _imported_writers() -> Any:
    cli.quiet_tensorflow()  # here for programs, which no verb has started
    return importlib.import_module(_WRITERS)


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif value is not None:
            yield f"{prefix}{name}", value
