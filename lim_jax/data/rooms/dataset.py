"""`rooms`: rendered indoor scenes with segmentation, depth and normals, for trying lim_jax without a download.

Every image is a function of the builder's seed, its split and its index. `scenes` draws a room,
`rendering` casts the rays, and this module plays the sensor: exposure, noise, and the pixels for which a real
depth camera and real annotators give nothing.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds

from lim_jax.data import nyu40, preparation
from lim_jax.data.rooms import rendering, scenes
from lim_jax.data.specs import IGNORE, Example
from lim_jax.errors import UserError

SPECS = nyu40.SPECS
SPLITS = ("train", "validation", "test")
SPLIT_SIZES = (768, 128, 128)
SEED = 40
_GLOSSY = [nyu40.CLASS_NAMES.index(name) for name in ("window", "mirror", "television")]


def example(split: str, index: int, image_size: tuple[int, int]) -> Example:
    """Renders one example.

    Args:
      split: "train", "validation" or "test".
      index: position in the split.
      image_size: (height, width).

    Returns:
      `{"image": uint8 H×W×3, "targets": {"segmentation", "depth", "normals"}}` as in `specs`.
    """
    rng = np.random.default_rng([SEED, SPLITS.index(split), index])
    scene, camera = scenes.random_view(rng)
    view = rendering.render(rng, scene, camera, image_size)
    no_depth = _depth_holes(rng, view)
    edge = _depth_edges(view.depth)
    unlabelled = _unlabelled(rng, view)
    return {
        "image": _photograph(rng, view.image),
        "targets": {
            "segmentation": np.where(unlabelled, np.uint8(IGNORE), view.labels),
            "depth": np.where(no_depth, np.float32(0), view.depth),
            "normals": np.where((no_depth | edge)[..., None], np.float32(0), view.normals),
        },
    }


def _photograph(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Exposes linear light, adds white balance error, vignetting, and shot and read noise; returns uint8."""
    height, width, _ = light.shape
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    exposure = rng.uniform(0.3, 0.42) / np.mean(light)
    balance = rng.normal(1, 0.03, 3)
    light = light * exposure * balance * (1 - 0.12 * (x * x + y * y))[..., None]
    light = light / (1 + 0.35 * light) * 1.35  # highlights roll off instead of clipping
    light = light + rng.normal(0, 1, light.shape) * np.sqrt(4e-5 + 6e-4 * light)
    return np.round(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def _depth_edges(depth: np.ndarray) -> np.ndarray:
    """Returns bool H×W: pixels beside a jump of more than 8 % in depth, where a camera's normals are meaningless."""
    edge = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        a, b = (np.moveaxis(v, axis, 0) for v in (depth, edge))  # views: writing to b writes to edge
        jump = np.abs(a[1:] - a[:-1]) > 0.08 * np.minimum(a[1:], a[:-1])
        b[1:] |= jump
        b[:-1] |= jump
    return edge


def _depth_holes(rng: np.random.Generator, view: rendering.View) -> np.ndarray:
    """Returns bool H×W: what a structured light camera misses.

    That is a strip left of near objects that its projector does not reach, most of glossy surfaces, and spots.
    """
    depth = view.depth
    shadow = np.zeros(depth.shape, bool)
    shadow[:, :-1] = depth[:, :-1] - depth[:, 1:] > 0.15 * depth[:, 1:]
    blotches = _smooth_noise(rng, depth.shape)
    glossy = np.isin(view.labels, _GLOSSY) & (blotches > 0.1)
    return shadow | glossy | (blotches > 2.1) | (rng.random(depth.shape) < 0.002)


def _unlabelled(rng: np.random.Generator, view: rendering.View) -> np.ndarray:
    """Returns bool H×W: some of the outlines and now and then a whole part, as annotators leave them."""
    labels = view.labels
    outline = np.zeros(labels.shape, bool)
    outline[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    outline[1:] |= labels[1:] != labels[:-1]
    skipped = rng.random(view.parts.max() + 1) < 0.03
    skipped[:6] = False  # walls, floor and ceiling are always labelled
    return (outline & (rng.random(labels.shape) < 0.4)) | skipped[view.parts]


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Returns float H×W: a few random waves, mean 0, standard deviation about 1."""
    y, x = np.linspace(0, 1, shape[0])[:, None], np.linspace(0, 1, shape[1])
    waves = rng.normal(0, 6, (6, 2))
    phases = rng.uniform(0, 2 * np.pi, 6)
    noise = sum(np.sin(2 * np.pi * (a * y + b * x) / 2 + p) for (a, b), p in zip(waves, phases, strict=True))
    return np.asarray(noise) / np.sqrt(3)


@dataclasses.dataclass
class RoomsConfig(tfds.core.BuilderConfig):
    """Size of the images, (height, width), and examples per split."""

    image_size: tuple[int, int] = (64, 64)
    split_sizes: tuple[int, int, int] = SPLIT_SIZES


class Rooms(preparation.RecordsBuilder, skip_registration=True):
    """Rendered indoor scenes with NYU-40 labels, depth and normals."""

    specs = SPECS
    builder_config: RoomsConfig

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the records."""
        return self.builder_config.image_size

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        del dl_manager
        return {
            split: self._generate_examples(split, size)
            for split, size in zip(SPLITS, self.builder_config.split_sizes, strict=True)
        }

    def _generate_examples(self, split: str, size: int) -> Iterator[tuple[int, Example]]:
        return self.keyed(split, (example(split, index, self.image_size) for index in range(size)), size)


def prepare(data_dir: str | None, image_size: tuple[int, int], split_sizes: Sequence[int]) -> pathlib.Path:
    """Renders the data set unless it is there, and returns its directory.

    Args:
      data_dir: where records are kept; None is TFDS's own place.
      image_size: (height, width).
      split_sizes: examples for training, validation and test.

    Raises:
      UserError: `split_sizes` are not three positive numbers, or `data_dir` cannot be written.
    """
    if len(split_sizes) != len(SPLITS) or min(split_sizes) < 1:
        raise UserError(f"dataset.split_sizes={split_sizes}: give three positive counts, for {', '.join(SPLITS)}")
    train, validation, test = split_sizes
    height, width = image_size
    name = f"{height}x{width}-{train}-{validation}-{test}"
    builder_config = RoomsConfig(name=name, image_size=image_size, split_sizes=(train, validation, test))
    return preparation.prepare(Rooms, builder_config, data_dir)
