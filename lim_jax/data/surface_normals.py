"""Surface normals from a depth map, for data sets that have only depth.

On a plane 1/depth is a linear function of the pixel, and a structured light camera measures 1/depth with the same
error everywhere. So each pixel's normal is that of the plane fitted to 1/depth in a window around it, by
least squares; pixels beyond a depth edge, and then those off the first plane, do not take part.
"""

import dataclasses

import numpy as np

_RADIUS = 9  # pixels of a 480×640 image; with it published normals of NYU-v2 frames are met best (1.7° to 3.2°, median)
_STEP = 3  # every third pixel of the window, in rows and columns
_SAME_SURFACE = 0.08  # relative difference in depth to the centre that still counts as one surface
_ON_PLANE = 0.01  # relative distance from the first plane
_FEWEST = 0.2  # share of the window's samples that a fit needs


@dataclasses.dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera: focal lengths and principal point, in pixels."""

    focal_x: float
    focal_y: float
    centre_x: float
    centre_y: float


# The colour camera of NYU-v2, to which its labelled frames are aligned (camera_params.m of the official toolbox).
NYU = Intrinsics(518.857901, 519.469611, 325.582449, 253.736166)


def from_depth(depth: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Returns the normals of a depth map.

    Args:
      depth: float32 H×W, metres along the viewing axis; 0 where unknown.
      intrinsics: of the camera.

    Returns:
      float32 H×W×3 of length 1, pointing towards the camera: x right, y into the scene, z up; (0, 0, 0) where depth
      is unknown or too little of the window is on the same surface.
    """
    valid = depth > 0
    inverse = np.where(valid, 1 / np.maximum(depth, 1e-6), 0).astype(np.float32)
    first = _fit(inverse, inverse, np.zeros_like(inverse), np.zeros_like(inverse), _SAME_SURFACE)[0]
    plane, support = _fit(inverse, *first, _ON_PLANE)
    centre, slope_x, slope_y = plane
    rows, columns = np.indices(depth.shape, np.float32)
    x, y = (columns - intrinsics.centre_x) / intrinsics.focal_x, (rows - intrinsics.centre_y) / intrinsics.focal_y
    # n · (x, y, 1) depth = distance of the plane, so 1 / depth = a x + b y + c with (a, b, c) along the normal.
    a, b = slope_x * intrinsics.focal_x, slope_y * intrinsics.focal_y
    c = centre - a * x - b * y
    normals = np.stack([-a, -c, b], axis=-1)  # towards the camera; the camera's y points down
    length = np.linalg.norm(normals, axis=-1)
    usable = valid & (support >= _FEWEST) & (length > 0)
    return np.where(usable[..., None], normals / np.maximum(length, 1e-12)[..., None], 0).astype(np.float32)


def _fit(
    inverse: np.ndarray, centre: np.ndarray, slope_x: np.ndarray, slope_y: np.ndarray, tolerance: float
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Fits centre + slope_x dx + slope_y dy to `inverse` around every pixel, near the given such plane.

    Returns:
      The plane's three coefficients, and the share of the window that took part.
    """
    offsets = np.arange(-(_RADIUS // _STEP) * _STEP, _RADIUS + 1, _STEP)
    sums = np.zeros((9, *inverse.shape), np.float32)
    padded = np.pad(inverse, _RADIUS)
    height, width = inverse.shape
    for dy in offsets:
        for dx in offsets:
            sample = padded[_RADIUS + dy : _RADIUS + dy + height, _RADIUS + dx : _RADIUS + dx + width]
            near = np.abs(sample - (centre + slope_x * dx + slope_y * dy)) <= tolerance * centre
            weight = (near & (sample > 0)).astype(np.float32)
            value = weight * sample
            # In units of the radius, so that the sums stay of one size.
            u, v = dx / _RADIUS, dy / _RADIUS
            for total, factor in zip(sums[:6], (1, u, v, u * u, u * v, v * v), strict=True):
                total += factor * weight
            for total, factor in zip(sums[6:], (1, u, v), strict=True):
                total += factor * value
    n, u, v, uu, uv, vv = sums[:6]
    matrix = np.stack([np.stack(row, -1) for row in ((n, u, v), (u, uu, uv), (v, uv, vv))], -2).astype(np.float64)
    matrix += 1e-6 * np.eye(3)  # solvable also where nothing took part
    solution = np.linalg.solve(matrix, np.stack(list(sums[6:]), -1)[..., None].astype(np.float64))[..., 0]
    plane = solution[..., 0], solution[..., 1] / _RADIUS, solution[..., 2] / _RADIUS
    return tuple(part.astype(np.float32) for part in plane), n / len(offsets) ** 2  # pyright: ignore[reportReturnType]
