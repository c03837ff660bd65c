"""Random changes of training examples in which image and targets stay true to each other; off by default.

* Horizontal flip: the world in a mirror. Labels, depth and normals move with their pixels, and normals' x (right)
  changes its sign.
* Scale and crop: a random window of the image, enlarged or made smaller to the size of the crop. Where the window is
  larger than the image there is padding: the grey of `PADDING` around the middle, with targets that count nowhere. A
  window in which one class has too large a share is drawn anew, up to `_TRIES` times. There are two ways to see a
  scale. With "keep" it is a longer lens: depth and normals stay what they are. With "divide", the practice on NYU-v2,
  the lens is the same and the scene is closer: depth is divided by the scale. That compresses the scene along the view,
  so the y of normals (into the scene) is multiplied by the scale before they become unit again. It is exact for a
  window in the middle; one further out would also shear the scene, which is neglected, as everywhere. With
  "divide_depth" only depth is divided, as most published code does.
* Colour jitter: brightness, contrast and saturation of the image.
* Photometric distortion: brightness, contrast, saturation and hue, each in every second image, as SSD's authors
  (Liu et al. 2016) and the field's libraries do it.

Targets are taken from the nearest pixel, so that no label, depth or normal is made up between two surfaces.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import cv2
import grain
import numpy as np

from lim_jax.data import transforms
from lim_jax.data.specs import IGNORE, Example, TargetSpec

PADDING = (124, 116, 104)  # what the network's input is 0 for: the mean of ImageNet
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luma of ITU-R BT.601
_TRIES = 10  # windows, until no class has too large a share
_BRIGHTNESS = 32  # what photometric distortion adds, at most, of 255
_FACTORS = (0.5, 1.5)  # of its contrast and saturation
_HUE = 36  # degrees


@dataclasses.dataclass(frozen=True)
class Augmentation(grain.transforms.RandomMap):
    """grain's random transform of one example; picklable, and random only through the generator that it is given.

    Attributes:
      specs: the targets of the examples by name.
      horizontal_flip: flip every second image.
      max_scale: scale by a factor drawn from `min_scale` to this; both 1 = never.
      color_jitter: brightness, contrast and saturation are multiplied by factors drawn from 1 ± this.
      zoomed_depth: "divide", "divide_depth" or "keep", see above.
      min_scale: the smallest factor.
      scales: the factors to draw from, instead of a range; empty = a range.
      crop_size: (height, width) of the result; (0, 0) = of the example.
      max_class_share: of the labelled pixels of a crop, the most that one class may have; 1 = all.
      photometric_distortion: see above.
    """

    specs: Mapping[str, TargetSpec]
    horizontal_flip: bool = False
    max_scale: float = 1.0
    color_jitter: float = 0.0
    zoomed_depth: str = "divide"
    min_scale: float = 1.0
    scales: tuple[float, ...] = ()
    crop_size: tuple[int, int] = (0, 0)
    max_class_share: float = 1.0
    photometric_distortion: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether it changes anything."""
        return self.horizontal_flip or self._crops or self.color_jitter > 0 or self.photometric_distortion

    def random_map(self, element: Example, rng: np.random.Generator) -> Example:
        """Returns the example, changed."""
        if self.horizontal_flip and rng.random() < 0.5:
            element = flip(element, self.specs)
        if self._crops:
            element = self._cropped(element, rng)
        if self.color_jitter > 0:
            factors = rng.uniform(1 - self.color_jitter, 1 + self.color_jitter, 3)
            element = {**element, "image": jitter(element["image"], *factors)}
        if self.photometric_distortion:
            element = {**element, "image": distort(element["image"], rng)}
        return element

    @property
    def _crops(self) -> bool:
        return self.max_scale > 1 or self.min_scale < 1 or bool(self.scales) or any(self.crop_size)

    def _cropped(self, element: Example, rng: np.random.Generator) -> Example:
        scale = float(rng.choice(self.scales)) if self.scales else rng.uniform(self.min_scale, self.max_scale)
        image_size = np.array(element["image"].shape[:2])
        size = self.crop_size if any(self.crop_size) else element["image"].shape[:2]
        free = image_size - np.array(size) / scale  # negative where there will be padding
        for _ in range(_TRIES):
            # Padding is of whole pixels, so that nothing else is blurred by it.
            top, left = np.where(free > 0, rng.uniform(0, 1, 2) * free, -np.floor(-free * scale / 2) / scale)
            labels = [
                _window(target, *_sources(image_size, size, scale, top, left), IGNORE)
                for name, target in element["targets"].items()
                if self.specs[name].kind == "segmentation" and self.max_class_share < 1
            ]
            if all(largest_share(each) <= self.max_class_share for each in labels):
                break
        return zoom(element, self.specs, scale, top, left, self.zoomed_depth, size)


def create(config: Any, specs: Mapping[str, TargetSpec]) -> Augmentation | None:
    """Returns what `config.augmentation` describes, None if that changes nothing.

    Args:
      config: has the fields of `Augmentation`, apart from `specs`, or some of them.
      specs: the targets of the examples by name.
    """
    made = Augmentation(dict(specs), **{key: config[key] for key in config})
    return made if made.is_needed else None


def largest_share(labels: np.ndarray) -> float:
    """Returns the share of the labelled pixels that the most frequent class has; 0 where no pixel is labelled."""
    counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)[:IGNORE]
    return counts.max() / max(counts.sum(), 1)


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
    size: tuple[int, int] | None = None,
) -> Example:
    """Brings a window of an example to another size.

    Args:
      example: of H×W pixels.
      specs: the targets by name.
      scale: by which the window is enlarged, or below 1 made smaller.
      top, left: the window's upper left corner, in pixels; what lies outside of the image is padding.
      zoomed_depth: "divide", "divide_depth" or "keep", see the module's docstring.
      size: (height, width) of the result, (H, W) by default; the window is of size / scale pixels.
    """
    height, width = size or example["image"].shape[:2]
    rows, columns = _sources(example["image"].shape[:2], (height, width), scale, top, left)
    targets = {}
    for name, target in example["targets"].items():
        kind = specs[name].kind
        if np.ndim(target):
            target = _window(target, rows, columns, IGNORE if kind == "segmentation" else 0)
        if zoomed_depth != "keep" and kind == "depth":
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
    image[rows < 0] = PADDING
    image[:, columns < 0] = PADDING
    return {"image": image, "targets": targets}


def pad(example: Example, specs: Mapping[str, TargetSpec], size: tuple[int, int]) -> Example:
    """Puts an example into the middle of one of `size` = (height, width), at least its own; see `zoom`."""
    top, left = (-((wanted - has) // 2) for wanted, has in zip(size, example["image"].shape[:2], strict=True))
    return zoom(example, specs, 1.0, top, left, "keep", size)


def _sources(
    image_size: Any, size: tuple[int, int], scale: float, top: float, left: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns from which row and which column of the image those of a window come; -1: from outside."""
    found = []
    for start, pixels, there in zip((top, left), size, image_size, strict=True):
        positions = np.floor(start + (np.arange(pixels) + 0.5) / scale).astype(np.int64)
        found.append(np.where((positions >= 0) & (positions < there), positions, -1))
    return found[0], found[1]


def _window(target: np.ndarray, rows: np.ndarray, columns: np.ndarray, padding: int) -> np.ndarray:
    window = target[rows[:, None], columns]
    window[rows < 0] = padding
    window[:, columns < 0] = padding
    return window


def jitter(image: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """Multiplies a uint8 image's brightness, contrast (about its mean grey) and saturation by these factors."""
    light = image.astype(np.float32) * np.float32(brightness)
    grey = light @ _GREY
    light = grey[..., None] + (light - grey[..., None]) * np.float32(saturation)
    mean = grey.mean()
    light = mean + (light - mean) * np.float32(contrast)
    return np.round(light.clip(0, 255)).astype(np.uint8)


def distort(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Changes a uint8 image's brightness, contrast, saturation and hue, each with a probability of a half."""
    light = image.astype(np.float32)
    if rng.random() < 0.5:
        light = light + np.float32(rng.uniform(-_BRIGHTNESS, _BRIGHTNESS))
    contrast_first = rng.random() < 0.5
    contrast = np.float32(rng.uniform(*_FACTORS) if rng.random() < 0.5 else 1)
    light = (light * contrast if contrast_first else light).clip(0, 255)
    saturation = rng.uniform(*_FACTORS) if rng.random() < 0.5 else 1.0
    hue = rng.uniform(-_HUE, _HUE) if rng.random() < 0.5 else 0.0
    light = recolor(light, saturation, hue)
    return np.round((light if contrast_first else light * contrast).clip(0, 255)).astype(np.uint8)


def recolor(light: np.ndarray, saturation: float, hue: float) -> np.ndarray:
    """Multiplies the saturation (of HSV, at most 1) of a float32 image in 0..255, and turns its hue by degrees."""
    if saturation == 1 and hue == 0:
        return light
    hsv = cv2.cvtColor(light / 255, cv2.COLOR_RGB2HSV)  # hue 0..360, saturation and value 0..1
    hsv[..., 0] = (hsv[..., 0] + hue) % 360
    hsv[..., 1] = (hsv[..., 1] * saturation).clip(0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255
