"""Finds the larger regions of a picture of classes and where their names fit, for readers whom colours do not tell."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

_SMALLEST = 0.02  # of the picture: regions with a name cover at least this share


class Region(NamedTuple):
    """A connected region of one class.

    Attributes:
      name: of the class.
      x: the middle, in pixels, of the widest stretch of the region at height `y`.
      y: the height, in pixels, at which the region is deepest.
      width: the length of that stretch, in pixels.
      height: about how high the region is around it, in pixels.
    """

    name: str
    x: float
    y: float
    width: int
    height: float


def find(classes: np.ndarray, names: Sequence[str]) -> list[Region]:
    """Returns the larger regions of class indices (H, W) for which there is a name."""
    found = []
    for index in map(int, np.unique(classes[classes < len(names)])):
        count, components, stats, _ = cv2.connectedComponentsWithStats((classes == index).astype(np.uint8))
        for component in range(1, count):
            if stats[component, cv2.CC_STAT_AREA] >= _SMALLEST * classes.size:
                found.append(_region(names[index], components == component))
    return found


def _region(name: str, inside: np.ndarray) -> Region:
    """Returns where a region is deepest; the picture's edge counts as the region's."""
    depth = cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    outside = np.flatnonzero(~inside[y])
    left = outside[outside < x].max(initial=-1)
    right = outside[outside > x].min(initial=inside.shape[1])
    return Region(name, (left + right) / 2, float(y), int(right - left - 1), 2 * float(depth[y, x]))
