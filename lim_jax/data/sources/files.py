"""Reads the images and targets of a data set as people have them; whatever is wrong with one becomes one clear line.

Every function raises `UserError` naming the file and what to do about it.

One rule for orientation: a file is turned as its own EXIF says, and what carries no EXIF (a label map, an array) is
turned as its image was, since it was made for the image's pixels as they are stored. Only where the proportions
say that a target was drawn on the upright image does it stay as it is.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from lim_jax.data import transforms
from lim_jax.data.sources import arrays, decoding, headers
from lim_jax.errors import UserError

AXES = ((0, 1), (1, 1), (2, 1))  # index and sign of the component that points right, into the scene, up
NORMAL_LENGTHS = (0.8, 1.2)  # what counts as unit: PNG rounds, averaging shortens a little
FEW = 0.01  # share of pixels that may be off without the whole map being wrong
NO_LABEL = -1  # in arrays of labels, as PyTorch's data sets write it
NO_MEASUREMENT = 65535  # what 16-bit depth cameras store where they saw nothing
LABELS = 1 << 16  # labels are smaller
# What is noted of files while they are read, for look and training to say.
TURNED = "turned as EXIF says"
ONLY_0_AND_255 = "only 0 and 255"
LARGEST_BYTE = "at the largest of 8 bits"
UNKNOWN_DEPTHS = ("65535", "NaN or infinite", "negative", "beyond the range")
_ROUNDING = 1e-3  # of floats that stand for whole numbers, or end at 1
_BYTE_MAXIMUM = 255
# How the x (right) and z (up) of a direction follow when the image that it was measured in is turned: orientation ->
# ((axis, sign) of the new x, of the new z).
_TURNED_AXES = {
    2: ((0, -1), (2, 1)),
    3: ((0, -1), (2, -1)),
    4: ((0, 1), (2, -1)),
    5: ((2, -1), (0, -1)),
    6: ((2, 1), (0, -1)),
    7: ((2, 1), (0, 1)),
    8: ((2, -1), (0, 1)),
}


@dataclasses.dataclass(frozen=True)
class Photo:
    """An image that targets belong to.

    Attributes:
      path: its file.
      pixels: uint8 H×W×3, RGB, upright.
      orientation: how it was stored, 1..8 as EXIF counts; 1 is upright.
    """

    path: pathlib.Path
    pixels: np.ndarray
    orientation: int = headers.UPRIGHT


def noted_of(photo: Photo) -> dict[str, int]:
    """Returns what a reader of the data should know of an image: that it was turned."""
    return {TURNED: 1} if photo.orientation != headers.UPRIGHT else {}


def read_image(path: pathlib.Path) -> np.ndarray:
    """Reads a picture as uint8 H×W×3, RGB, upright."""
    return read_photo(path).pixels


def read_photo(path: pathlib.Path) -> Photo:
    """Reads a picture; from npy or a TIFF of floats it is uint8 0..255 or floats 0..1, of one or three channels."""
    picture = _picture(path) if arrays.is_array(path) else decoding.read_color(path)
    values = picture.values
    if values.dtype == np.uint8 and values.ndim == 3 and values.shape[-1] == 3:
        return Photo(path, np.ascontiguousarray(values), picture.orientation)
    if values.dtype.kind == "f" and np.isfinite(values).all() and 0 <= values.min() <= values.max() <= 1 + _ROUNDING:
        values = np.round(values.clip(0, 1) * 255).astype(np.uint8)
    if values.dtype != np.uint8:
        raise UserError(f"{path} holds {values.dtype} values that are no image: save uint8 0..255, or floats 0..1")
    values = values[..., None] if values.ndim == 2 else values
    channels = np.broadcast_to(values[..., :1], (*values.shape[:2], 3)) if values.shape[-1] < 3 else values[..., :3]
    return Photo(path, np.ascontiguousarray(channels), picture.orientation)


def read_labels(path: pathlib.Path, photo: Photo) -> np.ndarray:
    """Reads a map of labels from npy or from an image of one channel.

    Returns:
      int32 H×W: 0..65535, or `NO_LABEL`. Of an image with a palette these are the indices, not the colours; equal
      channels count as one.
    """
    picture = _map(path, "labels")
    if picture.is_jpeg:
        raise UserError(f"{path} is a JPEG, which blurs labels into each other: save label maps as PNG")
    stored = picture.values
    if stored.dtype.kind == "f" and not (np.isfinite(stored).all() and np.abs(stored - np.round(stored)).max() == 0):
        raise UserError(f"{path} holds fractions, which are no labels: save whole numbers")
    if stored.min() < NO_LABEL or stored.max() >= LABELS:
        wrong = stored.min() if stored.min() < NO_LABEL else stored.max()
        raise UserError(f"{path} holds the label {wrong:g}: labels are 0..{LABELS - 1}, and -1 where there is none")
    return decoding.upright(stored.astype(np.int32), _turn(picture, photo))


def read_binary(path: pathlib.Path, photo: Photo) -> np.ndarray:
    """Reads a black and white image of any number of channels as bool H×W, true where it is white."""
    picture = decoding.read_gray(path)
    return decoding.upright(picture.values > 127, _turn(picture, photo))


@dataclasses.dataclass(frozen=True)
class Depth:
    """Depth as read.

    Attributes:
      metres: float32 H×W, 0 where unknown.
      noted: how many pixels were taken as unknown for each reason, or are suspicious; only what occurs.
    """

    metres: np.ndarray
    noted: Mapping[str, int]


def read_depth(
    path: pathlib.Path, photo: Photo, scale: float = 1.0, bounds: tuple[float, float] = (0.0, float("inf"))
) -> Depth:
    """Reads depth from npy or from an image of one channel.

    Unknown is what stores 0, 65535 (or the largest number of an integer type of 16 bits or more), what is negative or
    not finite, and what lies beyond `bounds`.

    Args:
      path: the file.
      photo: its image.
      scale: metres per stored unit.
      bounds: metres from, to.
    """
    picture = _map(path, "depths")
    stored = picture.values
    with np.errstate(over="ignore", invalid="ignore"):
        metres = stored.astype(np.float32) * np.float32(scale)
    if stored.dtype.kind == "f":
        stored = stored.astype(np.float64)  # 16-bit floats cannot be compared with 65535
    largest = np.iinfo(stored.dtype.name).max if stored.dtype.kind in "iu" else NO_MEASUREMENT
    unknown = (
        (stored == NO_MEASUREMENT) | ((stored == largest) & (largest > _BYTE_MAXIMUM)),
        ~np.isfinite(metres),
        metres < 0,
        (metres < bounds[0]) | (metres > bounds[1]),
    )
    if (metres < 0).any() and not (metres > 0).any():
        raise UserError(f"{path} holds negative depths alone: store metres along the view, and 0 where unknown")
    known, noted = metres != 0, {}
    for reason, pixels in zip(UNKNOWN_DEPTHS, unknown, strict=True):  # a pixel counts under its first reason
        noted[reason] = np.count_nonzero(pixels & known)
        known &= ~pixels
    if largest == _BYTE_MAXIMUM:
        noted[LARGEST_BYTE] = np.count_nonzero((stored == largest) & known)
    metres = decoding.upright(np.where(known, metres, np.float32(0)), _turn(picture, photo))
    return Depth(metres, {reason: count for reason, count in noted.items() if count})


def read_normals(
    path: pathlib.Path, photo: Photo, axes: Sequence[tuple[int, int]] = AXES, *, odd_is_void: bool = False
) -> np.ndarray:
    """Reads normals from npy or a TIFF of floats, or from an image that stores n = v / 127.5 - 1.

    Args:
      path: the file.
      photo: its image.
      axes: the index and sign of the stored component that points right, into the scene, and up.
      odd_is_void: whether lengths far from 1 mean in an image, too, that there is no normal, as black and white do in
        some downloads; else many of them mean that the file is something else.

    Returns:
      float32 H×W×3 of length 1; zero where invalid, which in an image is (255, 255, 255), or 127 or 128 per channel.
    """
    picture = _picture(path) if arrays.is_array(path) else decoding.read_color(path)
    normals = picture.values.astype(np.float32)
    is_coded = picture.values.dtype == np.uint8 and normals.ndim == 3 and normals.shape[-1] == 3
    if is_coded:
        invalid = np.all(normals == 255, axis=-1) | np.all((normals == 127) | (normals == 128), axis=-1)
        normals = np.where(invalid[..., None], np.float32(0), normals / np.float32(127.5) - 1)
    if normals.ndim != 3 or normals.shape[-1] != 3 or not np.isfinite(normals).all():
        raise UserError(f"{path} is not a map of finite normals, height×width×3")
    with np.errstate(over="ignore"):
        length = np.linalg.norm(normals, axis=-1)
    normals = np.where(np.isfinite(length)[..., None], normals, np.float32(0))
    low, high = NORMAL_LENGTHS
    odd = (length > 0) & ((length < low) | (length > high))
    if is_coded and odd_is_void:
        normals = np.where(odd[..., None], np.float32(0), normals)
    elif np.mean(odd) > FEW:
        raise UserError(
            f"{path} holds normals that are not unit, one of length {length[odd][0]:.3g}: "
            "divide each by its length, and write (0, 0, 0) where there is none"
        )
    if tuple(axes) != AXES:
        normals = np.stack([sign * normals[..., index] for index, sign in axes], axis=-1)
    turn = _turn(picture, photo)
    axes_turn = picture.orientation if turn == headers.UPRIGHT else turn  # the directions turn with the pixels
    return transforms.normalized(_turned_directions(decoding.upright(normals, turn), axes_turn))


def check_same_size(photo: Photo, target: np.ndarray, path: pathlib.Path) -> None:
    """Raises `UserError` unless the target has the image's height and width."""
    if target.shape[:2] != photo.pixels.shape[:2]:
        raise UserError(
            f"{path} is {size_text(target)} but its image {photo.path.name} is {size_text(photo.pixels)}: "
            "a label belongs to an image of the same size"
        )


def size_text(array: np.ndarray) -> str:
    """Returns "height×width"."""
    return f"{array.shape[0]}×{array.shape[1]}"


def _picture(path: pathlib.Path) -> decoding.Picture:
    return decoding.Picture(arrays.read(path), headers.UPRIGHT, is_jpeg=False)


def _map(path: pathlib.Path, what: str) -> decoding.Picture:
    """Reads a map of one number per pixel, with whatever type it is stored in."""
    picture = _picture(path) if arrays.is_array(path) else decoding.read_stored(path)
    stored = picture.values
    if stored.ndim == 3 and np.array_equal(stored[..., :3], np.broadcast_to(stored[..., :1], stored[..., :3].shape)):
        stored = np.ascontiguousarray(stored[..., 0])
    if stored.ndim != 2:
        raise UserError(
            f"{path} has {stored.shape[-1]} different channels: save {what} as one channel (a grey image of 8 or 16 "
            "bits, or npy) that holds the numbers themselves instead of colours"
        )
    return dataclasses.replace(picture, values=stored)


def _turn(picture: decoding.Picture, photo: Photo) -> int:
    """Returns the orientation by which a target is still to be turned, 1 for not at all."""
    if photo.orientation == headers.UPRIGHT or picture.orientation != headers.UPRIGHT:
        return headers.UPRIGHT
    (height, width), (seen_height, seen_width) = picture.values.shape[:2], photo.pixels.shape[:2]
    drawn_upright = height * seen_width == width * seen_height
    drawn_as_stored = photo.orientation < 5 or height * seen_height == width * seen_width
    return headers.UPRIGHT if drawn_upright and not drawn_as_stored else photo.orientation


def _turned_directions(normals: np.ndarray, orientation: int) -> np.ndarray:
    if orientation == headers.UPRIGHT:
        return normals
    (x, x_sign), (z, z_sign) = _TURNED_AXES[orientation]
    return np.stack([x_sign * normals[..., x], normals[..., 1], z_sign * normals[..., z]], axis=-1)
