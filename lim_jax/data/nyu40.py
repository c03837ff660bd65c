"""The 40 classes of NYU-v2 that the field trains on, in the order of their indices 0..39, and the 13 that some make of
them.

Names and order: Gupta et al. 2013 ("Perceptual organization and recognition of indoor scenes from RGB-D images"),
`classMapping40.mat`; files count from 1 there and keep 0 for "void". Colours: those of ScanNet's NYU-40 palette.
The 13 are Couprie et al.'s 2013, by `class13Mapping.mat`.
"""

import numpy as np

from lim_jax.data.specs import IGNORE, TargetSpec

_CLASSES = (
    ("wall", (174, 199, 232)),
    ("floor", (152, 223, 138)),
    ("cabinet", (31, 119, 180)),
    ("bed", (255, 187, 120)),
    ("chair", (188, 189, 34)),
    ("sofa", (140, 86, 75)),
    ("table", (255, 152, 150)),
    ("door", (214, 39, 40)),
    ("window", (197, 176, 213)),
    ("bookshelf", (148, 103, 189)),
    ("picture", (196, 156, 148)),
    ("counter", (23, 190, 207)),
    ("blinds", (178, 76, 76)),
    ("desk", (247, 182, 210)),
    ("shelves", (66, 188, 102)),
    ("curtain", (219, 219, 141)),
    ("dresser", (140, 57, 197)),
    ("pillow", (202, 185, 52)),
    ("mirror", (51, 176, 203)),
    ("floor mat", (200, 54, 131)),
    ("clothes", (92, 193, 61)),
    ("ceiling", (78, 71, 183)),
    ("books", (172, 114, 82)),
    ("refridgerator", (255, 127, 14)),
    ("television", (91, 163, 138)),
    ("paper", (153, 98, 156)),
    ("towel", (140, 153, 101)),
    ("shower curtain", (158, 218, 229)),
    ("box", (100, 125, 154)),
    ("whiteboard", (178, 127, 135)),
    ("person", (120, 185, 128)),
    ("night stand", (146, 111, 194)),
    ("toilet", (44, 160, 44)),
    ("sink", (112, 128, 144)),
    ("lamp", (96, 207, 209)),
    ("bathtub", (227, 119, 194)),
    ("bag", (213, 92, 176)),
    ("otherstructure", (94, 106, 211)),
    ("otherfurniture", (82, 84, 163)),
    ("otherprop", (100, 85, 144)),
)

# Each of the 13, and the one of the 40 that lends it its colour.
_THIRTEEN = {
    "bed": "bed",
    "books": "books",
    "ceiling": "ceiling",
    "chair": "chair",
    "floor": "floor",
    "furniture": "cabinet",
    "objects": "otherprop",
    "picture": "picture",
    "sofa": "sofa",
    "table": "table",
    "tv": "television",
    "wall": "wall",
    "window": "window",
}
# Of each of the 40, in their order, the number of its class among the 13, counted from 1.
_THIRTEEN_OF_FORTY = (
    *(12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5),
    *(7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7),
)

CLASS_NAMES = tuple(name for name, _ in _CLASSES)
CLASS_NAMES_13 = tuple(_THIRTEEN)


def _specs(names: tuple[str, ...], colors: tuple[tuple[int, int, int], ...]) -> dict[str, TargetSpec]:
    return {
        "segmentation": TargetSpec("segmentation", "segmentation", names, colors),
        "depth": TargetSpec("depth", "depth"),
        "normals": TargetSpec("normals", "normals"),
    }


SPECS = _specs(CLASS_NAMES, tuple(color for _, color in _CLASSES))
SPECS_13 = _specs(CLASS_NAMES_13, tuple(dict(_CLASSES)[name] for name in _THIRTEEN.values()))


def to_13(classes: np.ndarray) -> np.ndarray:
    """Maps indices 0..39 to those of the 13 classes, uint8; `IGNORE` stays."""
    table = np.full(256, IGNORE, np.uint8)
    table[: len(_THIRTEEN_OF_FORTY)] = np.array(_THIRTEEN_OF_FORTY) - 1
    return table[classes]
