"""Predicts for the frames of a video file or of a camera, through OpenCV, and writes them as one video.

Every frame of the result shows the frame that was seen and, beside it, a picture per dense task; what colours mean
stands in the legends. Attributes go to the tables, a row per frame.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from lim_jax.errors import UserError
from lim_jax.figures import pictures
from lim_jax.prediction.predictor import Predictor
from lim_jax.prediction.upsampling import Prediction
from lim_jax.tasks.base import Task, dense_tasks

SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}
_ASSUMED_RATE = 25.0  # frames per second, of what does not say
_CODEC = "mp4v"


@dataclasses.dataclass(frozen=True)
class Video:
    """A video file, or a camera by its number.

    Attributes:
      source: the file's path, or the camera's number.
      rate: frames per second.
      number: of its frames; None where it does not say.
    """

    source: str | int
    rate: float
    number: int | None

    @property
    def path(self) -> pathlib.Path:
        """Of the file, after whose stem its results are called; of a camera one that stands for it."""
        return pathlib.Path(f"camera_{self.source}" if isinstance(self.source, int) else self.source)

    def frames(self, most: int = 0) -> Iterator[np.ndarray]:
        """Yields uint8 (H, W, 3), RGB, `most` at most (0: all that there are)."""
        capture, count = cv2.VideoCapture(self.source), 0
        try:
            while most == 0 or count < most:
                read, frame = capture.read()
                if not read:
                    return
                count += 1
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            capture.release()


def opened(source: str | int) -> Video:
    """Returns a video file or a camera; raises `UserError` if OpenCV cannot read it."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # one line of ours says it
    capture = cv2.VideoCapture(source)
    try:
        if not capture.isOpened():
            what = f"camera {source}" if isinstance(source, int) else source
            raise UserError(f"{what} cannot be opened: is it there, and can OpenCV read it?")
        rate, number = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        capture.release()
    return Video(source, rate if 0 < rate < 1000 else _ASSUMED_RATE, int(number) if 0 < number < 1e9 else None)


def predicted(predictor: Predictor, video: Video, most: int) -> Iterator[tuple[pictures.Reduced, Prediction]]:
    """Yields the frames of a video, `most` at most (0: all), in their order, and what is predicted for them."""
    inputs = ((pictures.reduced(frame), predictor.prepare(frame)) for frame in video.frames(most))
    yield from predictor.stream(inputs)


class Strip:
    """Writes frames with their predictions beside them as a video; as a context manager, which ends the file."""

    def __init__(self, path: pathlib.Path, tasks: Mapping[str, Task], rate: float):
        """Writes to `path`, an .mp4 file, at `rate` frames per second."""
        self._path, self._tasks, self._rate = path, dense_tasks(tasks), rate
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> "Strip":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, frame: pictures.Reduced, prediction: Mapping[str, np.ndarray]) -> None:
        """Adds a frame; all have to be of one size."""
        shown = [frame.pixels]
        for name, task in self._tasks.items():
            drawn = pictures.task_picture(task, prediction[name], frame.size)
            shown.append(cv2.resize(drawn, frame.pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST))
        strip = np.concatenate(shown, axis=1)
        if self._writer is None:
            code = cv2.VideoWriter.fourcc(*_CODEC)
            self._writer = cv2.VideoWriter(str(self._path), code, self._rate, strip.shape[1::-1])
            if not self._writer.isOpened():
                raise UserError(f"OpenCV cannot write {self._path}: give another --output")
        self._writer.write(cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))
