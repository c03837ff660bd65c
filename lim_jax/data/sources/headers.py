"""What an image file says of itself before it is decoded: how large it is, how it was held, whether it is whole.

A file that is no image, that is cut short, or that would fill the memory ends here, in one clear line.
"""

import dataclasses
import os
import pathlib
from typing import BinaryIO

import PIL.Image
from PIL import TiffImagePlugin

from lim_jax.data.sources import raw
from lim_jax.errors import UserError

LIMIT_VARIABLE = "LIM_JAX_MAX_MEGAPIXELS"  # of the environment
DEFAULT_LIMIT = 200.0
UPRIGHT = 1  # EXIF's orientation of an image that is stored as it is seen
_ORIENTATION = 0x0112
_WIDTH, _HEIGHT = 256, 257  # TIFF's tags
BYTES_PER_PIXEL = 16  # at most, of a file that is not compressed
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG_END = b"\xff\xd9"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_DEFLATE = 1032  # times, the most that PNG's compression makes of a byte
_PIXELS_PER_JPEG_BYTE = 4096  # a block of 8×8 pixels takes a bit or more
_UNSUPPORTED = {  # brands of the container format that phones write
    b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"heim": "HEIC", b"heis": "HEIC", b"mif1": "HEIC",
    b"msf1": "HEIC", b"avif": "AVIF", b"avis": "AVIF",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of itself: pixels, and EXIF's orientation (1..8)."""

    pixels: int
    orientation: int


def read_header(path: pathlib.Path) -> Header:
    """Reads only the header of an image; raises `UserError` if it has none, or says that the image is too large."""
    raw.size(path)
    try:
        with path.open("rb") as file:
            return parse(path, file)
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


def is_whole(data: bytes) -> bool:
    """Whether a PNG has all its chunks (OpenCV makes room for whatever length one claims), and a JPEG its end."""
    if data.startswith(JPEG):
        return _JPEG_END in data[-max(len(data) // 8, 1024) :]
    if not data.startswith(PNG):
        return True
    begin = 8  # of a chunk: length, name, content, checksum
    while begin + 12 <= len(data):
        if data[begin + 4 : begin + 8] == b"IEND":
            return True
        begin += 12 + int.from_bytes(data[begin : begin + 4], "big")
    return False


def most_pixels(data: bytes) -> float:
    """Returns how many pixels a PNG or a JPEG of so many bytes may have; a damaged header often claims more."""
    if data.startswith(PNG):
        bits = data[24] * _PNG_CHANNELS.get(data[25], 1)
        return len(data) * _DEFLATE * 8 / max(bits, 1)
    return len(data) * _PIXELS_PER_JPEG_BYTE if data.startswith(JPEG) else float("inf")


def parse(path: pathlib.Path, file: BinaryIO) -> Header:
    """Returns the header of an opened image; raises `UserError`, naming `path`, if there is none that can be read."""
    start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in _UNSUPPORTED:
        raise UserError(
            f"{path} is a {_UNSUPPORTED[start[8:12]]} image, which is not supported: save it as JPEG or PNG"
        )
    file.seek(0)
    try:
        width, height, orientation = _tiff_header(file) if start.startswith(TIFF) else _pillow_header(file)
    except Exception as error:  # whatever a parser makes of damage
        raise UserError(damaged(path)) from error
    check_pixels(path, width * height)
    if width < 1 or height < 1:
        raise UserError(damaged(path))
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
    image = opened(file)
    try:
        orientation = _known(image.getexif().get(_ORIENTATION))
    except Exception:  # damaged EXIF says nothing
        orientation = UPRIGHT
    return *image.size, orientation


def _known(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else UPRIGHT


def opened(file: BinaryIO) -> PIL.Image.Image:
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


def damaged(path: pathlib.Path) -> str:
    """Returns the sentence for a file that is no image, or only a part of one."""
    return f"{path} is not a readable image: it may be cut short; {raw.REPAIR}"
