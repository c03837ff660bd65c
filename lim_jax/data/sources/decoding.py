"""Decodes image files: what a file is, and how large, is read from its header before anything is decoded.

A damaged file, one that is cut short, or one that would fill the memory ends in one clear line. The EXIF
orientation, by which a camera says how it was held, is always applied: every image, label map, depth or
normal map is turned as its own file says.
"""

import dataclasses
import io
import os
import pathlib
from typing import BinaryIO

import cv2
import numpy as np
import PIL.Image
from PIL import TiffImagePlugin

from lim_jax.data.sources import raw
from lim_jax.errors import UserError

LIMIT_VARIABLE = "LIM_JAX_MAX_MEGAPIXELS"  # of the environment
DEFAULT_LIMIT = 200.0
UPRIGHT = 1  # EXIF's orientation of an image that is stored as it is seen
_ORIENTATION = 0x0112
_WIDTH, _HEIGHT = 256, 257  # TIFF's tags
_BYTES_PER_PIXEL = 16  # at most, of a file that is not compressed
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG_END = b"\xff\xd9"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_DEFLATE = 1032  # times, the most that PNG's compression makes of a byte
_PIXELS_PER_JPEG_BYTE = 4096  # a block of 8×8 pixels takes a bit or more
_UNSUPPORTED = {  # brands of the container format that phones write
    b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"heim": "HEIC", b"heis": "HEIC", b"mif1": "HEIC",
    b"msf1": "HEIC", b"avif": "AVIF", b"avis": "AVIF",
}  # fmt: skip

# How OpenCV is to decode, always as stored, and what Pillow calls that.
_COLOR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_GRAY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
_AS_STORED = cv2.IMREAD_UNCHANGED
_PILLOW_MODES = {_COLOR: "RGB", _GRAY: "L", _AS_STORED: None}

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what cannot be read is reported here


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of itself: pixels, and EXIF's orientation (1..8)."""

    pixels: int
    orientation: int


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
    if data.startswith(_TIFF):
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
    if data.startswith(_PNG) and data[25:26] == b"\x03":  # its colour type
        return Picture(upright(_by_pillow(path, data, None), header.orientation), header.orientation, False)
    return _decoded(path, data, header, _AS_STORED)


def read_header(path: pathlib.Path) -> Header:
    """Reads only the header of an image; raises `UserError` if it has none, or says that the image is too large."""
    raw.status(path)
    try:
        with path.open("rb") as file:
            return _header(path, file)
    except OSError as error:
        raise UserError(raw.unreadable(path, error)) from error


def max_pixels() -> int:
    """Returns how many pixels an image may have: 200 megapixels, or `LIM_JAX_MAX_MEGAPIXELS`."""
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        limit = float(text or DEFAULT_LIMIT)
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise UserError(f"{LIMIT_VARIABLE}={text} is not a number of megapixels: set it to one, such as 500")
    return round(limit * 1e6)


def check_pixels(path: pathlib.Path, pixels: int) -> None:
    """Raises `UserError` if an image has more than `max_pixels()`."""
    if pixels > max_pixels():
        raise UserError(
            f"{path} has {pixels / 1e6:.4g} megapixels, more than the {max_pixels() / 1e6:.4g} that are read: make it "
            f"smaller, or set the environment variable {LIMIT_VARIABLE}"
        )


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Returns an image (H×W or H×W×C) as it is to be seen, given how EXIF says that it is stored."""
    if orientation in (5, 6, 7, 8):
        values = np.swapaxes(values, 0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def _checked(path: pathlib.Path) -> tuple[bytes, Header]:
    """Reads the file, and refuses what is too large or cut short before it is decoded."""
    data = raw.read_bytes(path, max_pixels() * _BYTES_PER_PIXEL)
    header = _header(path, io.BytesIO(data))
    if header.pixels > _most_pixels(data) or not _is_whole(data):
        raise UserError(_damaged(path))
    return data, header


def _is_whole(data: bytes) -> bool:
    """Whether a PNG has all its chunks (OpenCV makes room for whatever length one claims), and a JPEG its end."""
    if data.startswith(_JPEG):
        return _JPEG_END in data[-max(len(data) // 8, 1024) :]
    if not data.startswith(_PNG):
        return True
    begin = 8  # of a chunk: length, name, content, checksum
    while begin + 12 <= len(data):
        if data[begin + 4 : begin + 8] == b"IEND":
            return True
        begin += 12 + int.from_bytes(data[begin : begin + 4], "big")
    return False


def _most_pixels(data: bytes) -> float:
    """Returns how many pixels a PNG or a JPEG of so many bytes may have; a damaged header often claims more."""
    if data.startswith(_PNG):
        bits = data[24] * _PNG_CHANNELS.get(data[25], 1)
        return len(data) * _DEFLATE * 8 / max(bits, 1)
    return len(data) * _PIXELS_PER_JPEG_BYTE if data.startswith(_JPEG) else float("inf")


def _header(path: pathlib.Path, file: BinaryIO) -> Header:
    start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in _UNSUPPORTED:
        raise UserError(
            f"{path} is a {_UNSUPPORTED[start[8:12]]} image, which is not supported: save it as JPEG or PNG"
        )
    file.seek(0)
    try:
        width, height, orientation = _tiff_header(file) if start.startswith(_TIFF) else _pillow_header(file)
    except Exception as error:  # whatever a parser makes of damage
        raise UserError(_damaged(path)) from error
    check_pixels(path, width * height)
    if width < 1 or height < 1:
        raise UserError(_damaged(path))
    return Header(width * height, orientation)


def _tiff_header(file: BinaryIO) -> tuple[int, int, int]:
    """Returns width, height and orientation of TIFFs of all kinds of numbers, of which Pillow knows only some."""
    start = file.read(8)
    start += file.read(8) if start[2] == 43 or start[3] == 43 else b""  # BigTIFF
    tags = TiffImagePlugin.ImageFileDirectory_v2(start)
    file.seek(tags.next)
    tags.load(file)
    return int(tags[_WIDTH]), int(tags[_HEIGHT]), _known(tags.get(_ORIENTATION))


def _pillow_header(file: BinaryIO) -> tuple[int, int, int]:
    image = _opened(file)
    try:
        orientation = _known(image.getexif().get(_ORIENTATION))
    except Exception:  # damaged EXIF says nothing
        orientation = UPRIGHT
    return *image.size, orientation


def _known(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else UPRIGHT


def _opened(file: BinaryIO) -> PIL.Image.Image:
    """Like `PIL.Image.open`, whose limit on pixels cannot be changed for one call; reads only the header."""
    PIL.Image.init()
    start = file.read(16)
    for name in PIL.Image.ID:
        factory, accepts = PIL.Image.OPEN[name]
        if accepts is not None and accepts(start) is True:
            file.seek(0)
            try:
                return factory(file, "")
            except (SyntaxError, IndexError, TypeError, KeyError):
                continue
    raise ValueError("no known format")


def _decoded(path: pathlib.Path, data: bytes, header: Header, flags: int) -> Picture:
    if data.startswith(_TIFF) and header.orientation != UPRIGHT:
        values = _by_pillow(path, data, _PILLOW_MODES[flags])  # which turns it; OpenCV fails on some
    else:
        values = upright(_by_opencv(path, data, flags), header.orientation)
    return Picture(values, header.orientation, data.startswith(_JPEG))


def _by_opencv(path: pathlib.Path, data: bytes, flags: int) -> np.ndarray:
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError):
        values = None
    if values is None:
        raise UserError(_damaged(path))
    if values.ndim == 3:
        values = values[..., ::-1] if values.shape[-1] == 3 else values[..., [2, 1, 0, *range(3, values.shape[-1])]]
    return values


def _by_pillow(path: pathlib.Path, data: bytes, mode: str | None) -> np.ndarray:
    try:
        with _opened(io.BytesIO(data)) as image:
            image.load()
            return np.asarray(image if mode is None else image.convert(mode))
    except Exception as error:  # whatever a parser makes of damage
        raise UserError(_damaged(path)) from error


def _damaged(path: pathlib.Path) -> str:
    return f"{path} is not a readable image: it may be cut short; {raw.REPAIR}"
