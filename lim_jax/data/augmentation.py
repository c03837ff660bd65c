"""Random changes of training examples in which image and targets stay true to each other; off by default.

* Horizontal flip: the world in a mirror. Labels, depth and normals move with their pixels, and normals' x (right)
  changes its sign.
* Scale and crop: a random window of the image, enlarged to the whole. There are two ways to see that. With
  "keep" it is a longer lens: depth and normals stay what they are. With "divide", the practice on NYU-v2, the lens is
  the same and the scene is closer: depth is divided by the scale. That compresses the scene along the view, so the y
  of normals (into the scene) is multiplied by the scale before they become unit again. It is exact for a window in
  the middle; one further out would also shear the scene, which is neglected, as everywhere.
* Colour jitter: brightness, contrast and saturation of the image.

Targets are taken from the nearest pixel, so that no label, depth or normal is made up between two surfaces.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import cv2
import grain
import numpy as np

from lim_jax.data import transforms
from lim_jax.data.specs import Example, TargetSpec

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luma of ITU-R BT.601


@dataclasses.dataclass(frozen=True)
class Augmentation(grain.transforms.RandomMap):
    """grain's random transform of one example; picklable, and random only through the generator that it is given.

    Attributes:
      specs: the targets of the examples by name.
      horizontal_flip: flip every second image.
      max_scale: scale by a factor drawn from 1 to this; 1 = never.
      color_jitter: brightness, contrast and saturation are multiplied by factors drawn from 1 ± this.
      zoomed_depth: "divide" or "keep", see above.
    """

    specs: Mapping[str, TargetSpec]
    horizontal_flip: bool = False
    max_scale: float = 1.0
    color_jitter: float = 0.0
    zoomed_depth: str = "divide"

    def random_map(self, element: Example, rng: np.random.Generator) -> Example:
        """Returns the example, changed."""
        if self.horizontal_flip and rng.random() < 0.5:
            element = flip(element, self.specs)
        if self.max_scale > 1:
            scale = rng.uniform(1, self.max_scale)
            height, width = element["image"].shape[:2]
            top, left = rng.uniform(0, 1, 2) * (height, width) * (1 - 1 / scale)
            element = zoom(element, self.specs, scale, top, left, self.zoomed_depth)
        if self.color_jitter > 0:
            factors = rng.uniform(1 - self.color_jitter, 1 + self.color_jitter, 3)
            element = {**element, "image": jitter(element["image"], *factors)}
        return element


def create(config: Any, specs: Mapping[str, TargetSpec]) -> Augmentation | None:
    """Returns what `config.augmentation` describes, None if that changes nothing.

    Args:
      config: has `horizontal_flip`, `max_scale`, `color_jitter` and `zoomed_depth`.
      specs: the targets of the examples by name.
    """
    made = Augmentation(dict(specs), **{key: config[key] for key in config})
    return made if made.horizontal_flip or made.max_scale > 1 or made.color_jitter > 0 else None


def flip(example: Example, specs: Mapping[str, TargetSpec]) -> Example:
    """Mirrors an example, left to right."""
    targets = {}
    for name, target in example["targets"].items():
        if np.ndim(target):
            target = np.ascontiguousarray(target[:, ::-1])
        if specs[name].kind == "normals":
            target = target * np.array([-1, 1, 1], np.float32)
        targets[name] = target
    return {"image": np.ascontiguousarray(example["image"][:, ::-1]), "targets": targets}


def zoom(
    example: Example,
    specs: Mapping[str, TargetSpec],
    scale: float,
    top: float,
    left: float,
    zoomed_depth: str = "divide",
) -> Example:
    """Enlarges a window of an example to the size of the whole.

    Args:
      example: of H×W pixels.
      specs: the targets by name.
      scale: at least 1; the window has H / scale rows and W / scale columns.
      top, left: the window's upper left corner, in pixels.
      zoomed_depth: "divide" or "keep", see the module's docstring.
    """
    height, width = example["image"].shape[:2]
    rows, columns = (
        np.floor(start + (np.arange(size) + 0.5) / scale).astype(np.int64).clip(0, size - 1)
        for start, size in ((top, height), (left, width))
    )
    targets = {}
    for name, target in example["targets"].items():
        kind = specs[name].kind
        if np.ndim(target):
            target = target[rows[:, None], columns]
        if zoomed_depth == "divide" and kind == "depth":
            target = target / np.float32(scale)
        elif zoomed_depth == "divide" and kind == "normals":
            target = transforms.normalized(target * np.array([1, scale, 1], np.float32))
        targets[name] = target
    offsets = [start + 0.5 / scale - 0.5 for start in (left, top)]
    matrix = np.array([[1 / scale, 0, offsets[0]], [0, 1 / scale, offsets[1]]])
    image = cv2.warpAffine(
        example["image"],
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return {"image": image, "targets": targets}


def jitter(image: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """Multiplies a uint8 image's brightness, contrast (about its mean grey) and saturation by these factors."""
    light = image.astype(np.float32) * np.float32(brightness)
    grey = light @ _GREY
    light = grey[..., None] + (light - grey[..., None]) * np.float32(saturation)
    mean = grey.mean()
    light = mean + (light - mean) * np.float32(contrast)
    return np.round(light.clip(0, 255)).astype(np.uint8)
