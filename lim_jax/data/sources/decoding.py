"""Decodes image files, upright: the EXIF orientation, by which a camera says how it was held, is always applied.

Every image, label map, depth or normal map is turned as its own file says. What cannot be read ends in one clear line.
"""

import dataclasses
import io
import pathlib

import cv2
import numpy as np

from lim_jax.data.sources import headers, raw
from lim_jax.errors import UserError

# How OpenCV is to decode, always as stored, and what Pillow calls that.
_COLOR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_GRAY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
_AS_STORED = cv2.IMREAD_UNCHANGED
_PILLOW_MODES = {_COLOR: "RGB", _GRAY: "L", _AS_STORED: None}

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what cannot be read is reported here


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded file.

    Attributes:
      values: H×W or H×W×C, upright; colours are red, green, blue.
      orientation: that the file had, 1..8; `values` are turned accordingly.
      is_jpeg: whether it was stored as JPEG, which changes numbers.
    """

    values: np.ndarray
    orientation: int
    is_jpeg: bool


def read_color(path: pathlib.Path) -> Picture:
    """Reads uint8 H×W×3, RGB; float32 H×W or H×W×C of a TIFF of floats. Raises `UserError`."""
    data, header = _checked(path)
    if data.startswith(headers.TIFF):
        picture = _decoded(path, data, header, _AS_STORED)
        if picture.values.dtype.kind == "f":
            return picture
    return _decoded(path, data, header, _COLOR)


def read_gray(path: pathlib.Path) -> Picture:
    """Reads uint8 H×W: the brightness of an image of any number of channels. Raises `UserError`."""
    data, header = _checked(path)
    return _decoded(path, data, header, _GRAY)


def read_stored(path: pathlib.Path) -> Picture:
    """Reads the numbers as they are stored, of a PNG with a palette the indices. Raises `UserError`."""
    data, header = _checked(path)
    if data.startswith(headers.PNG) and data[25:26] == b"\x03":  # its colour type
        return Picture(upright(_by_pillow(path, data, None), header.orientation), header.orientation, False)
    return _decoded(path, data, header, _AS_STORED)


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Returns an image (H×W or H×W×C) as it is to be seen, given how EXIF says that it is stored."""
    if orientation in (5, 6, 7, 8):
        values = np.swapaxes(values, 0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def _checked(path: pathlib.Path) -> tuple[bytes, headers.Header]:
    """Reads the file, and refuses what is too large or cut short before it is decoded."""
    data = raw.read_bytes(path, headers.max_pixels() * headers.BYTES_PER_PIXEL)
    header = headers.parse(path, io.BytesIO(data))
    if header.pixels > headers.most_pixels(data) or not headers.is_whole(data):
        raise UserError(headers.damaged(path))
    return data, header


def _decoded(path: pathlib.Path, data: bytes, header: headers.Header, flags: int) -> Picture:
    if data.startswith(headers.TIFF) and header.orientation != headers.UPRIGHT:
        values = _by_pillow(path, data, _PILLOW_MODES[flags])  # which turns it; OpenCV fails on some
    else:
        values = upright(_by_opencv(path, data, flags), header.orientation)
    return Picture(values, header.orientation, data.startswith(headers.JPEG))


def _by_opencv(path: pathlib.Path, data: bytes, flags: int) -> np.ndarray:
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError):
        values = None
    if values is None:
        raise UserError(headers.damaged(path))
    if values.ndim == 3:
        values = values[..., ::-1] if values.shape[-1] == 3 else values[..., [2, 1, 0, *range(3, values.shape[-1])]]
    return values


def _by_pillow(path: pathlib.Path, data: bytes, mode: str | None) -> np.ndarray:
    try:
        with headers.opened(io.BytesIO(data)) as image:
            image.load()
            return np.asarray(image if mode is None else image.convert(mode))
    except Exception as error:  # whatever a parser makes of damage
        raise UserError(headers.damaged(path)) from error
