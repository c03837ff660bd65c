"""The 40 classes of NYU-v2 that the field trains on, in the order of their indices 0..39.

Names and order: Gupta et al. 2013 ("Perceptual organization and recognition of indoor scenes from RGB-D images"),
`classMapping40.mat`; files count from 1 there and keep 0 for "void". The colours are `tasks.palette`'s: in ScanNet's,
which others use, a colour-blind reader cannot tell a box from paper.
"""

from lim_jax.data.specs import TargetSpec

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

SPECS = {
    "segmentation": TargetSpec("segmentation", "segmentation", CLASS_NAMES),
    "depth": TargetSpec("depth", "depth"),
    "normals": TargetSpec("normals", "normals"),
}
