"""Reads `.npy` files, which strangers wrote: one plain array of numbers, and no more of it than the file has."""

import io
import math
import pathlib
import zipfile

import numpy as np

from lim_jax.data.sources import headers, raw
from lim_jax.errors import UserError, one_line

_BYTES_PER_PIXEL = 64  # at most: three channels of eight bytes, and more
_CHANNELS = 4
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,  # the same layout in UTF-8, which only field names need
}


def is_array(path: pathlib.Path) -> bool:
    """Whether the name of a file says that it is an array."""
    return path.suffix.lower() == ".npy"


def read(path: pathlib.Path) -> np.ndarray:
    """Reads an H×W or H×W×C array of booleans, whole numbers or floats.

    Raises:
      UserError: the file is something else, damaged, or larger than what is read of images.
    """
    data = raw.read_bytes(path, headers.max_pixels() * _BYTES_PER_PIXEL)
    if zipfile.is_zipfile(io.BytesIO(data)):
        raise UserError(f"{path} is an npz archive: save the one array with numpy.save, as npy")
    shape, fortran_order, dtype, start = _header(path, data)
    if dtype.kind not in "biuf":
        raise UserError(f"{path} holds values of type {dtype}: save plain numbers, such as float32 or uint16")
    if len(shape) not in (2, 3) or min(shape) < 1 or (len(shape) == 3 and shape[2] > _CHANNELS):
        raise UserError(f"{path} has the shape {shape}: save one map, height×width or height×width×channels")
    headers.check_pixels(path, shape[0] * shape[1])
    count = math.prod(shape)
    if len(data) - start < count * dtype.itemsize:
        raise UserError(f"{path} is cut short: its {shape} array of {dtype} needs more bytes than it has; {raw.REPAIR}")
    values = np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if fortran_order else "C")
    return values.astype(dtype.newbyteorder("="))  # a copy in this machine's byte order


def _header(path: pathlib.Path, data: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Returns shape, whether columns come first, type, and where the numbers start."""
    file = io.BytesIO(data)
    try:
        shape, fortran_order, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    except Exception as error:  # whatever NumPy's parser makes of damage
        raise UserError(f"cannot read {path} as a NumPy array ({one_line(error)}): {raw.REPAIR}") from error
    return shape, fortran_order, dtype, file.tell()
