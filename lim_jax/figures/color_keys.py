"""What the colours of task pictures mean, in words: for every figure and picture that shows them."""

from collections.abc import Iterable

import numpy as np

from lim_jax.tasks.normals import NormalsTask
from lim_jax.tasks.segmentation import SegmentationTask

Entries = list[tuple[str, np.ndarray]]  # (text, uint8 (3,) RGB)

DEPTH = "relative depth (1: the farthest point of the image)"
_DIRECTIONS = {
    "up": (0, 0, 1),
    "down": (0, 0, -1),
    "to the camera": (0, -1, 0),
    "to the right": (1, 0, 0),
    "to the left": (-1, 0, 0),
}


def classes(task: SegmentationTask, present: Iterable[int]) -> Entries:
    """Returns name and colour of the classes with these indices; what is no class is left out."""
    colors = task.colors
    return [(task.spec.class_names[index], colors[index]) for index in present if index < task.num_outputs]


def directions(task: NormalsTask) -> Entries:
    """Returns a few directions that a surface can face, with their colours."""
    return [(f"normal {where}", task.picture(np.array(normal))) for where, normal in _DIRECTIONS.items()]
