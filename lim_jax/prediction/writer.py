"""Writes predictions to files, drawn and as numbers, in threads beside the network."""

import collections
import pathlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import PIL.Image

from lim_jax.figures import pictures
from lim_jax.prediction import image_files, tables
from lim_jax.tasks.base import Task, dense_tasks

_UNWRITTEN_PIXELS = 2**25  # predicted and not yet written; three tasks take 17 bytes each


class Writer:
    """Writes the predictions for a list of images; as a context manager, it ends when all files are there."""

    def __init__(
        self,
        output: pathlib.Path,
        tasks: Mapping[str, Task],
        paths: Sequence[pathlib.Path],
        raw: bool,
        panel: bool,
        threads: int,
        overlay: bool = True,
    ):
        """Writes the legends.

        Args:
          output: an existing folder.
          tasks: by name.
          paths: all images that may come.
          raw: also write `<name>.npz`.
          panel: also write `<name>_panel.png`.
          threads: that draw and write.
          overlay: also write `<name>_overlay.png` where there is a segmentation.
        """
        self._output, self._tasks, self._raw, self._panel = output, tasks, raw, panel
        classes = [name for name, task in dense_tasks(tasks).items() if task.spec.class_names]
        self._overlaid = classes[0] if classes and overlay else None
        self._rows: dict[pathlib.Path, tables.Row] = {}
        endings = [*(f"_{task}.png" for task in dense_tasks(tasks)), *["_panel.png"] * panel, *[".npz"] * raw]
        endings += [f"_{name}_16bit.png" for name, task in tasks.items() if task.stored_unit is not None]
        endings += ["_overlay.png"] * (self._overlaid is not None)
        names = image_files.result_names(paths, output, endings, write_legends(output, tasks))
        self._names = dict(zip(paths, names, strict=True))
        self._pool = ThreadPoolExecutor(threads)
        self._unwritten: collections.deque[tuple[int, Future[None]]] = collections.deque()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            if exception[0] is None:
                self._wait(0)
                tables.write(self._output, [self._rows[path] for path in self._names if path in self._rows])
        finally:
            self._pool.shutdown(cancel_futures=True)

    def write(self, path: pathlib.Path, image: pictures.Reduced, prediction: Mapping[str, np.ndarray]) -> None:
        """Starts drawing and writing; waits first while too much is unwritten.

        Args:
          path: of the image, one of `paths`.
          image: for the panel.
          prediction: of `Predictor`.
        """
        where = {"image": str(path), "name": self._names[path], "height": image.size[0], "width": image.size[1]}
        self._rows[path] = tables.row(self._tasks, where, prediction)
        pixels = image.size[0] * image.size[1]
        self._wait(_UNWRITTEN_PIXELS - pixels)
        self._unwritten.append((pixels, self._pool.submit(self._write, self._names[path], image, prediction)))

    def _wait(self, pixels: int) -> None:
        """Waits until at most so many pixels are unwritten; raises what went wrong in a thread."""
        while self._unwritten and (self._unwritten[0][1].done() or sum(each for each, _ in self._unwritten) > pixels):
            self._unwritten.popleft()[1].result()

    def _write(self, name: str, image: pictures.Reduced, prediction: Mapping[str, np.ndarray]) -> None:
        dense = {
            task_name: pictures.task_picture(task, prediction[task_name], image.size)
            for task_name, task in dense_tasks(self._tasks).items()
        }
        for task_name, picture in dense.items():
            self._write_task(f"{name}_{task_name}", self._tasks[task_name], prediction[task_name], picture)
        if self._overlaid is not None:
            segmentation = dense_tasks(self._tasks)[self._overlaid]
            over = pictures.overlay(image, segmentation, prediction[self._overlaid], dense[self._overlaid])
            _write_png(self._output / f"{name}_overlay.png", over)
        if self._panel:
            panel = pictures.panel(image, self._tasks, prediction, dense)
            _write_png(self._output / f"{name}_panel.png", panel)
        if self._raw:
            arrays = _arrays(self._tasks, prediction)
            np.savez(self._output / f"{name}.npz", **arrays)  # pyright: ignore[reportArgumentType]

    def _write_task(self, name: str, task: Task, values: np.ndarray, picture: np.ndarray) -> None:
        """Writes a dense task: classes as their indices with a palette, others in colour, depth as numbers, too."""
        path = self._output / f"{name}.png"
        if task.spec.class_names:
            indices = PIL.Image.fromarray(np.asarray(values, np.uint8))
            indices.putpalette(tables.palette(task).tobytes())
            indices.save(path)
        else:
            _write_png(path, picture)
        if task.stored_unit is not None:
            _write_encoded(path.with_name(f"{name}_16bit.png"), tables.in_16_bits(values, task.stored_unit))


def write_legends(output: pathlib.Path, tasks: Mapping[str, Task]) -> list[str]:
    """Writes `<task>_legend.png` of every dense task to an existing folder; returns the names of the files."""
    legends = {f"{name}_legend.png": pictures.legend(task) for name, task in dense_tasks(tasks).items()}
    for file, legend in legends.items():
        _write_png(output / file, legend)
    return list(legends)


def _arrays(tasks: Mapping[str, Task], prediction: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the content of an npz file: the predictions, and under `<task>.<what>` how to read them."""
    arrays = {}
    for name, task in tasks.items():
        arrays[name] = np.asarray(prediction[name])
        arrays |= {f"{name}.{what}": np.array(note) for what, note in task.file_notes().items()}
    return arrays


def _write_png(path: pathlib.Path, picture: np.ndarray) -> None:
    """Writes uint8 (H, W, 3), RGB."""
    _write_encoded(path, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def _write_encoded(path: pathlib.Path, picture: np.ndarray) -> None:
    """Writes a picture; what the disk refuses is an `OSError`, which OpenCV's own writing would hide."""
    path.write_bytes(cv2.imencode(".png", picture)[1].data)
