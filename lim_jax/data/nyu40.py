"""The 40 classes of NYU-v2 that the field trains on, in the order of their indices 0..39, and the 13 that some make of
them.

Names and order: Gupta et al. 2013 ("Perceptual organization and recognition of indoor scenes from RGB-D images"),
`classMapping40.mat`; files count from 1 there and keep 0 for "void". The 13 are Couprie et al.'s 2013, by
`class13Mapping.mat`. The colours are `tasks.palette`'s: in ScanNet's, which others use, a colour-blind reader cannot
tell a box from paper.
"""

import numpy as np

from lim_jax.data.specs import IGNORE, TargetSpec

CLASS_NAMES = (
    "wall",
    "floor",
    "cabinet",
    "bed",
    "chair",
    "sofa",
    "table",
    "door",
    "window",
    "bookshelf",
    "picture",
    "counter",
    "blinds",
    "desk",
    "shelves",
    "curtain",
    "dresser",
    "pillow",
    "mirror",
    "floor mat",
    "clothes",
    "ceiling",
    "books",
    "refridgerator",
    "television",
    "paper",
    "towel",
    "shower curtain",
    "box",
    "whiteboard",
    "person",
    "night stand",
    "toilet",
    "sink",
    "lamp",
    "bathtub",
    "bag",
    "otherstructure",
    "otherfurniture",
    "otherprop",
)
CLASS_NAMES_13 = (
    "bed",
    "books",
    "ceiling",
    "chair",
    "floor",
    "furniture",
    "objects",
    "picture",
    "sofa",
    "table",
    "tv",
    "wall",
    "window",
)
# Of each of the 40, in their order, the number of its class among the 13, counted from 1.
_THIRTEEN_OF_FORTY = (
    *(12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5),
    *(7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7),
)


def _specs(names: tuple[str, ...]) -> dict[str, TargetSpec]:
    return {
        "segmentation": TargetSpec("segmentation", "segmentation", names),
        "depth": TargetSpec("depth", "depth"),
        "normals": TargetSpec("normals", "normals"),
    }


SPECS = _specs(CLASS_NAMES)
SPECS_13 = _specs(CLASS_NAMES_13)


def to_13(classes: np.ndarray) -> np.ndarray:
    """Maps indices 0..39 to those of the 13 classes, uint8; `IGNORE` stays."""
    table = np.full(256, IGNORE, np.uint8)
    table[: len(_THIRTEEN_OF_FORTY)] = np.array(_THIRTEEN_OF_FORTY) - 1
    return table[classes]
