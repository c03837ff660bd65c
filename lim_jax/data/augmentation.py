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

Targets are taken from the nearest pixel, so that no label, depth or normal is made up between two surfaces. What is
done to them is written for arrays of NumPy and of JAX alike, and gives the same bits of both.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import grain
import numpy as np

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
        return self.horizontal_flip or self.crops or self.recolors

    @property
    def crops(self) -> bool:
        """Whether it scales or crops."""
        return self.max_scale > 1 or self.min_scale < 1 or bool(self.scales) or any(self.crop_size)

    @property
    def recolors(self) -> bool:
        """Whether it changes colours."""
        return self.color_jitter > 0 or self.photometric_distortion

    def random_map(self, element: Example, rng: np.random.Generator) -> Example:
        """Returns the example, changed."""
        size = element["image"].shape[:2]
        labels = [element["targets"][name] for name in self.looked_at]
        element = self.placed(element, self.place(size, labels, rng))
        return {**element, "image": self.recolored(element["image"], rng)}

    @property
    def looked_at(self) -> list[str]:
        """The targets by which a place is chosen."""
        return [name for name, spec in self.specs.items() if spec.kind == "segmentation" and self.max_class_share < 1]

    def place(self, image_size: tuple[int, int], labels: Sequence[np.ndarray], rng: np.random.Generator) -> "Place":
        """Draws where an example is seen.

        Args:
          image_size: (height, width) of the example.
          labels: its targets that are `looked_at`.
          rng: the generator.
        """
        flipped = self.horizontal_flip and rng.random() < 0.5
        if not self.crops:
            return Place(flipped, image_size)
        scale = float(rng.choice(self.scales)) if self.scales else rng.uniform(self.min_scale, self.max_scale)
        size = self.crop_size if any(self.crop_size) else image_size
        free = np.array(image_size) - np.array(size) / scale  # negative where there will be padding
        place = Place(flipped, size, scale)
        for _ in range(_TRIES):
            # Padding is of whole pixels, so that nothing else is blurred by it.
            top, left = np.where(free > 0, rng.uniform(0, 1, 2) * free, -np.floor(-free * scale / 2) / scale)
            place = place._replace(top=top, left=left)
            rows, columns = place.sources(image_size)
            windows = (_window(each[:, ::-1] if flipped else each, rows, columns, IGNORE) for each in labels)
            if all(largest_share(window) <= self.max_class_share for window in windows):
                break
        return place

    def placed(self, element: Example, place: "Place") -> Example:
        """Returns an example as it is seen from there, its colours as they were."""
        if place.flipped:
            element = flip(element, self.specs)
        if self.crops:
            element = zoom(element, self.specs, place.scale, place.top, place.left, self.zoomed_depth, place.size)
        return element

    def recolored(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns a uint8 image in other colours, if that is wanted; `rng` has drawn the place before."""
        if self.color_jitter > 0:
            image = jitter(image, *rng.uniform(1 - self.color_jitter, 1 + self.color_jitter, 3))
        return distort(image, rng) if self.photometric_distortion else image


class Place(NamedTuple):
    """Where an example is seen; see `zoom` for all but the first.

    Attributes:
      flipped: whether its mirror image is.
      size: (height, width) of the result.
      scale, top, left: of the window.
    """

    flipped: bool
    size: tuple[int, int]
    scale: float = 1.0
    top: float = 0.0
    left: float = 0.0

    def sources(self, image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Returns from which row and which column of the (mirror) image each of its own come; -1: from outside."""
        found = []
        for start, pixels, there in zip((self.top, self.left), self.size, image_size, strict=True):
            positions = np.floor(start + (np.arange(pixels) + 0.5) / self.scale).astype(np.int64)
            found.append(np.where((positions >= 0) & (positions < there), positions, -1))
        return found[0], found[1]


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
    """Mirrors an example of NumPy or JAX arrays, left to right."""
    targets = {}
    for name, target in example["targets"].items():
        if np.ndim(target):
            target = target[:, ::-1]
        if specs[name].kind == "normals":
            target = target * np.array([-1, 1, 1], np.float32)
        targets[name] = target
    return {"image": example["image"][:, ::-1], "targets": targets}


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
    rows, columns = Place(False, (height, width), scale, top, left).sources(example["image"].shape[:2])
    targets = zoomed_targets(example["targets"], specs, rows, columns, np.float32(scale), zoomed_depth)
    offsets = [start + 0.5 / scale - 0.5 for start in (left, top)]
    matrix = np.array([[1 / scale, 0, offsets[0]], [0, 1 / scale, offsets[1]]])
    image = cv2.warpAffine(
        np.ascontiguousarray(example["image"]),
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    image[rows < 0] = PADDING
    image[:, columns < 0] = PADDING
    return {"image": image, "targets": targets}


def zoomed_targets(
    targets: Mapping[str, Any], specs: Mapping[str, TargetSpec], rows: Any, columns: Any, scale: Any, zoomed_depth: str
) -> dict[str, Any]:
    """Returns what `zoom` makes of targets, arrays of NumPy or (where JAX has float64) of JAX.

    Args:
      targets: of an example.
      specs: the targets by name.
      rows, columns: where those of the window come from (`Place.sources`).
      scale: float32.
      zoomed_depth: as of `zoom`.
    """
    zoomed = {}
    for name, target in targets.items():
        kind = specs[name].kind
        if np.ndim(target):
            target = _window(target, rows, columns, IGNORE if kind == "segmentation" else 0)
        # In float64, since a GPU's division of float32 is not exact.
        if zoomed_depth != "keep" and kind == "depth":
            target = (target.astype(np.float64) / scale).astype(np.float32)
        elif zoomed_depth == "divide" and kind == "normals":
            target = _of_unit_length(
                target * (scale * np.array([0, 1, 0], np.float32) + np.array([1, 0, 1], np.float32))
            )
        zoomed[name] = target
    return zoomed


def pad(example: Example, specs: Mapping[str, TargetSpec], size: tuple[int, int]) -> Example:
    """Puts an example into the middle of one of `size` = (height, width), at least its own; see `zoom`."""
    top, left = (-((wanted - has) // 2) for wanted, has in zip(size, example["image"].shape[:2], strict=True))
    return zoom(example, specs, 1.0, top, left, "keep", size)


def _window(target: Any, rows: Any, columns: Any, padding: int) -> Any:
    outside = (rows < 0)[:, None] | (columns < 0)
    outside = outside.reshape(*outside.shape, *(1,) * (target.ndim - 2))
    return target.__array_namespace__().where(outside, padding, target[rows[:, None], columns])


def _of_unit_length(normals: Any) -> Any:
    """Returns float32 normals (..., 3) as float32 of length 1, zeros left zero: the same bits on any machine.

    Squares of float32 are exact in float64, so it does not matter whether they are multiplied and added in one go.
    """
    exact = normals.astype(np.float64)
    x, y, z = exact[..., 0], exact[..., 1], exact[..., 2]
    arrays = exact.__array_namespace__()
    length = arrays.sqrt(x * x + y * y + z * z)
    return (exact / arrays.where(length == 0, 1, length)[..., None]).astype(np.float32)


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
