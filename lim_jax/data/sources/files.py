"""Reads the files of a data set as people have them; whatever is wrong with one becomes one clear line.

Every function raises `UserError` naming the file and what to do about it.
"""

import hashlib
import pathlib
from collections.abc import Iterable

import cv2
import numpy as np
import PIL.Image

from lim_jax.data import transforms
from lim_jax.errors import UserError

_REPAIR = "copy or unpack it again"
NORMAL_LENGTHS = (0.8, 1.2)  # what counts as unit: PNG rounds, averaging shortens a little
FEW = 0.01  # share of pixels that may be off without the whole map being wrong


def read_image(path: pathlib.Path) -> np.ndarray:
    """Reads a picture as uint8 H×W×3, RGB."""
    return np.ascontiguousarray(_decode(path, cv2.IMREAD_COLOR)[..., ::-1])


def read_map(path: pathlib.Path) -> np.ndarray:
    """Reads a map of numbers that is stored as an image, uint8 or uint16 H×W.

    Of an image with a palette these are the indices, not the colours; equal channels count as one.
    """
    stored = _indices(path) if _has_palette(path) else _decode(path, cv2.IMREAD_UNCHANGED)
    if stored.ndim == 3 and np.all(stored[..., :3] == stored[..., :1]):
        stored = np.ascontiguousarray(stored[..., 0])
    if stored.ndim != 2 or stored.dtype not in (np.uint8, np.uint16):
        kind = f"{stored.shape[-1]} different channels" if stored.ndim == 3 else f"values of type {stored.dtype}"
        raise UserError(
            f"{path} has {kind}: save labels (or depth) as a grey image of 8 or 16 bits that holds the numbers "
            "themselves instead of colours"
        )
    return stored


def read_binary(path: pathlib.Path) -> np.ndarray:
    """Reads a black and white image of any number of channels as bool H×W, true where it is white."""
    return _decode(path, cv2.IMREAD_GRAYSCALE) > 127


def read_depth(path: pathlib.Path, scale: float = 1.0) -> np.ndarray:
    """Reads depth from npy or from an image of one channel as float32 H×W, 0 where unknown.

    Args:
      path: the file.
      scale: metres per stored unit.
    """
    stored = _read_array(path) if path.suffix == ".npy" else read_map(path)
    depth = stored.astype(np.float32) * np.float32(scale)
    depth = depth.reshape(depth.shape[:2]) if depth.ndim == 3 and depth.shape[-1] == 1 else depth
    if depth.ndim != 2:
        raise UserError(f"{path} is not a map of depths, height×width: its shape is {depth.shape}")
    if not np.isfinite(depth).all():
        raise UserError(f"{path} holds NaN or infinite depths: write 0 where depth is unknown")
    if depth.min(initial=0) < 0:
        raise UserError(f"{path} holds negative depths: write 0 where depth is unknown")
    return depth


def read_normals(path: pathlib.Path) -> np.ndarray:
    """Reads normals from npy, or from an image that stores n = v / 127.5 - 1.

    Returns:
      float32 H×W×3 of length 1; zero where invalid, which in an image is (255, 255, 255) or (127, 127, 127).
    """
    if path.suffix == ".npy":
        normals = _read_array(path).astype(np.float32)
    else:
        stored = read_image(path)
        invalid = np.all(stored == 255, axis=-1) | np.all(stored == 127, axis=-1)
        normals = np.where(invalid[..., None], np.float32(0), stored / np.float32(127.5) - 1)
    if normals.ndim != 3 or normals.shape[-1] != 3 or not np.isfinite(normals).all():
        raise UserError(f"{path} is not a map of finite normals, height×width×3")
    length = np.linalg.norm(normals, axis=-1)
    low, high = NORMAL_LENGTHS
    odd = (length > 0) & ((length < low) | (length > high))
    if np.mean(odd) > FEW:
        raise UserError(
            f"{path} holds normals that are not unit, one of length {length[odd][0]:.3g}: "
            "divide each by its length, and write (0, 0, 0) where there is none"
        )
    return transforms.normalized(normals)


def check_same_size(image: np.ndarray, image_path: pathlib.Path, target: np.ndarray, path: pathlib.Path) -> None:
    """Raises `UserError` unless the target has the image's height and width."""
    if target.shape[:2] != image.shape[:2]:
        raise UserError(
            f"{path} is {size_text(target)} but its image {image_path.name} is {size_text(image)}: "
            "a label belongs to an image of the same size"
        )


def size_text(array: np.ndarray) -> str:
    """Returns "height×width"."""
    return f"{array.shape[0]}×{array.shape[1]}"


def read_text(path: pathlib.Path) -> str:
    """Reads a UTF-8 text file, with or without a byte order mark."""
    try:
        return _read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8 ({error.reason}): save it as UTF-8") from error


def fingerprint(named: Iterable[tuple[str, pathlib.Path]]) -> str:
    """Returns 8 hex digits that change with the name, size or time of change of any file.

    Args:
      named: a name that does not depend on where the data set lies, and the file or folder that it stands for.
    """
    digest = hashlib.sha256()
    for name, path in named:
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror}): {_REPAIR}, or correct its name") from error
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:8]


def _decode(path: pathlib.Path, flags: int) -> np.ndarray:
    data = _read_bytes(path)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"{path} is not a readable image: it may be cut short; {_REPAIR}")
    return image


def _has_palette(path: pathlib.Path) -> bool:
    """Whether a file is a PNG with a palette: colour type 3 of its first chunk, IHDR."""
    header = _read_bytes(path)[:26]
    return header.startswith(b"\x89PNG") and header[25:] == b"\x03"


def _indices(path: pathlib.Path) -> np.ndarray:
    """Reads a PNG's palette indices, which OpenCV would turn into colours."""
    try:
        with PIL.Image.open(path) as image:
            return np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise UserError(f"{path} is not a readable image ({error}): {_REPAIR}") from error


def _read_bytes(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): {_REPAIR}, or correct its name") from error


def _read_array(path: pathlib.Path) -> np.ndarray:
    try:
        return np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read {path} as a NumPy array ({error}): {_REPAIR}") from error
