"""Resizing of images and targets, as pure functions of NumPy arrays.

A target pixel of the small image answers for a cell of the large one. Its label is that of the cell's centre. Its
depth and normal are averages, but only over valid pixels that lie on the surface seen at the centre:
an average across a depth edge would be a point that exists nowhere.
"""

import functools

import cv2
import numpy as np

Size = tuple[int, int]  # (height, width)

SAME_SURFACE_DEPTH = 0.05  # pixels within 5 % of the centre's depth count as the same surface
SAME_SURFACE_COSINE = 0.9  # and normals within 26° of the centre's


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """Resizes a uint8 H×W×3 image to `size`, by area when it shrinks and bilinearly when it grows."""
    height, width = size
    if image.shape[:2] == size:
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_labels(labels: np.ndarray, size: Size) -> np.ndarray:
    """Resizes an H×W map of class indices to `size`: each pixel takes the label at its centre."""
    rows, columns = _centres(labels.shape[:2], size)
    return labels[rows[:, None], columns]


def resize_depth(depth: np.ndarray, size: Size) -> np.ndarray:
    """Resizes an H×W depth map to `size`; 0 is invalid.

    Args:
      depth: float32, metres.
      size: (height, width) of the result.

    Returns:
      float32 of `size`: for each cell the mean over its valid pixels within `SAME_SURFACE_DEPTH` of the valid pixel
      closest to the cell's centre; 0 where a cell has no valid pixel.
    """
    if depth.shape == size:
        return depth
    if size[0] > depth.shape[0] or size[1] > depth.shape[1]:
        return resize_labels(depth, size)
    flat = depth.reshape(-1)
    valid = flat > 0
    cells, reference = _closest_valid(depth.shape, size, valid)
    centre = flat[reference][cells]
    same = valid & (np.abs(flat - centre) <= SAME_SURFACE_DEPTH * centre)
    count = np.bincount(cells, weights=same, minlength=size[0] * size[1])
    total = np.bincount(cells, weights=flat * same, minlength=size[0] * size[1])
    return (total / np.maximum(count, 1)).astype(np.float32).reshape(size)


def resize_normals(normals: np.ndarray, size: Size) -> np.ndarray:
    """Resizes an H×W×3 map of normals to `size`; (0, 0, 0) is invalid.

    Args:
      normals: float32, of any length.
      size: (height, width) of the result.

    Returns:
      float32 (height, width, 3): for each cell the mean direction of its valid normals within
      `SAME_SURFACE_COSINE` of the valid one closest to the cell's centre, of length 1; (0, 0, 0) where a cell has none.
    """
    normals = normalized(normals)
    if normals.shape[:2] == size:
        return normals
    if size[0] > normals.shape[0] or size[1] > normals.shape[1]:
        return resize_labels(normals, size)
    flat = normals.reshape(-1, 3)
    valid = np.any(flat != 0, axis=-1)
    cells, reference = _closest_valid(normals.shape[:2], size, valid)
    centre = flat[reference][cells]
    same = valid & (np.einsum("nc,nc->n", flat, centre) >= SAME_SURFACE_COSINE)
    total = [np.bincount(cells, weights=flat[:, c] * same, minlength=size[0] * size[1]) for c in range(3)]
    return normalized(np.stack(total, axis=-1).reshape(*size, 3))


def normalized(normals: np.ndarray) -> np.ndarray:
    """Returns `normals` (..., 3) as float32 of length 1, zeros left zero."""
    result = normals.astype(np.float32)  # a copy; einsum is three times as fast as norm, and this runs for every record
    length = np.sqrt(np.einsum("...c,...c->...", result, result))
    length[length == 0] = 1
    result /= length[..., None]
    return result


def _centres(source_size: Size, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Returns the source row and column that hold the centres of the `size` cells."""
    rows, columns = ((2 * np.arange(n) + 1) * m // (2 * n) for m, n in zip(source_size, size, strict=True))
    return rows, columns


@functools.lru_cache(maxsize=4)
def _cells(source_size: Size, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Returns each source pixel's cell (flat), and the pixels sorted by falling distance from their cell's centre."""
    coordinates = [(np.arange(m) + 0.5) * n / m for m, n in zip(source_size, size, strict=True)]
    rows, columns = (np.floor(c).astype(np.int64) for c in coordinates)
    cells = (rows[:, None] * size[1] + columns).reshape(-1)
    off_rows, off_columns = ((c % 1 - 0.5) ** 2 for c in coordinates)
    order = np.argsort(-(off_rows[:, None] + off_columns).reshape(-1), kind="stable")
    return cells, order


def _closest_valid(source_size: Size, size: Size, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each source pixel's cell, and each cell's valid pixel closest to its centre (0 if it has none)."""
    cells, order = _cells(source_size, size)
    order = order[valid[order]]
    reference = np.zeros(size[0] * size[1], np.int64)
    reference[cells[order]] = order  # of several assignments the last one stays: the closest
    return cells, reference
