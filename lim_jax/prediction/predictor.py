"""Predicts all tasks for images of any size: arrays in, arrays out.

    predictor = Predictor(trained.network, trained.variables, image_size=(256, 256))
    predictions = predictor([image, another])          # [{task: array}, ...], each at its own image's size

The network sees every image at one size, as in training, or (`image_size=None`) at its own. What it computes, maps
at an eighth or a quarter of that resolution, is interpolated to the size of the image and only then decoded: classes
are the largest of interpolated logits, normals are unit. `upsampling` does that; an image of exactly the network's size
goes through `evaluation.predictor` instead.

Native sizes fall into buckets, so that few programs are compiled: an image is extended, at the bottom and at the right
by its mirror image, until each side is a multiple of 32 pixels, of 64 above 512 pixels, of 128 above 1024, and so on.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import cv2
import jax
import numpy as np

from lim_jax.data import transforms
from lim_jax.network import Network
from lim_jax.prediction import evaluation
from lim_jax.prediction.upsampling import Prediction, Upsampler
from lim_jax.runtime import platforms
from lim_jax.tasks.base import DenseTask, dense_tasks
from lim_jax.tasks.interpolation import OUTPUT_STRIDE, map_shape

Size: TypeAlias = tuple[int, int]  # (height, width)
PyTree = Any
Key = TypeVar("Key")

_NATIVE_BATCH_PIXELS = 2**22  # of all images in a batch of native size; activations take hundreds of bytes each


class Bucket(NamedTuple):
    """What images have in common that go through the network together: what it sees is of one size and kind."""

    size: Size
    unchanged: bool


@dataclasses.dataclass(frozen=True)
class Input:
    """An image as the network sees it.

    Attributes:
      pixels: uint8 (h, w, 3), RGB.
      image_size: of the image itself, (height, width).
      extended: whether `pixels` is the image, unscaled and extended; otherwise it is the image resized.
    """

    pixels: np.ndarray
    image_size: Size
    extended: bool = False

    @property
    def bucket(self) -> Bucket:
        """Its size, and whether the network sees the image just as it is, at a size that it always works at."""
        size = self.pixels.shape[0], self.pixels.shape[1]
        return Bucket(size, unchanged=size == self.image_size and not self.extended)

    def positions(self, stretched: bool = False, stride: int = OUTPUT_STRIDE) -> tuple[np.ndarray, np.ndarray]:
        """Returns, in cells, where the image's rows and columns lie in the network's map.

        Pixel y of the image is centred on y + 1/2, which resizing maps to (y + 1/2) h / H in what the network sees;
        there cell i is centred on pixel `stride` i, half a pixel further on.

        Args:
          stretched: the outermost cells lie on the outermost pixels of what the network sees instead
            (`DenseTask.loss_resolution`).
          stride: of the maps, in pixels (`DenseTask.output_stride`).
        """
        seen_size = self.pixels.shape[0], self.pixels.shape[1]
        rows, columns = (
            ((np.arange(pixels) + 0.5) * (1 if self.extended else seen / pixels) - 0.5)
            * ((cells - 1) / max(seen - 1, 1) if stretched else 1 / stride)
            for pixels, seen, cells in zip(self.image_size, seen_size, map_shape(seen_size, stride), strict=True)
        )
        return rows, columns


class Predictor:
    """Predicts with one network; compiled once for every size that the network sees.

    Attributes:
      network: the model and its tasks.
      image_size: what images are resized to, (height, width); None: native.
      batch_size: images that the network sees at once, at most.
    """

    def __init__(self, network: Network, variables: PyTree, image_size: Size | None, batch_size: int = 8):
        """Moves `variables`, `{"params", "batch_stats"}`, to the device; nothing is compiled yet."""
        self.network = network
        self.image_size = image_size
        self.batch_size = batch_size
        self._variables = jax.device_put(variables)
        self._compiled_rows: dict[Bucket, set[int]] = {}  # sizes of batches that there are programs for
        computed = network.on(platforms.default())
        self._cells = jax.jit(lambda variables, images: _cells(computed, variables, images))
        dense = dense_tasks(network.tasks)
        self._upsample = Upsampler(dense)
        self._stretched = any(task.at_image for task in dense.values())
        self._stride = next((task.output_stride for task in dense.values()), OUTPUT_STRIDE)
        self._whole = evaluation.predictor(network, image_size) if image_size else None

    def __call__(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Predicts for images, uint8 (H, W, 3), RGB, each of any size.

        Returns:
          Per image and task what `Task.predict` describes, without its batch axis: classes uint8 (H, W), relative
          depth float32 (H, W), unit normals float32 (H, W, 3), an attribute's probability float32 ().
        """
        inputs = ((index, self.prepare(image)) for index, image in enumerate(images))
        found = dict(self.stream(inputs))
        return [found[index] for index in range(len(images))]

    def prepare(self, image: np.ndarray) -> Input:
        """Returns what the network sees of an image, uint8 (H, W, 3); may be called from several threads."""
        size = image.shape[0], image.shape[1]
        if self.image_size is not None:
            return Input(transforms.resize_image(image, self.image_size), size)
        bottom, right = (bucket_side(side) - side for side in size)
        return Input(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REFLECT_101), size, extended=True)

    def stream(self, inputs: Iterable[tuple[Key, Input]]) -> Iterator[tuple[Key, Prediction]]:
        """Yields every key with its prediction, as batches of images of one size become complete.

        Args:
          inputs: keys of the caller's choice and results of `prepare`; read one batch ahead of what is yielded.
        """
        under_way = None
        for batch in self._batches(inputs):
            started = self._start([item for _, item in batch])
            if under_way is not None:
                yield from self._finish(*under_way)
            under_way = batch, started
        if under_way is not None:
            yield from self._finish(*under_way)

    def _batches(self, inputs: Iterable[tuple[Key, Input]]) -> Iterator[list[tuple[Key, Input]]]:
        """Groups the inputs by what the network sees; yields a group when it is a full batch, the rest at the end."""
        waiting: dict[Bucket, list[tuple[Key, Input]]] = {}
        for key, item in inputs:
            bucket = item.bucket
            waiting.setdefault(bucket, []).append((key, item))
            if len(waiting[bucket]) == self._full(bucket.size):
                yield waiting.pop(bucket)
        yield from waiting.values()

    def _full(self, size: Size) -> int:
        """Returns how many images of this size, as the network sees them, make a batch."""
        if self.image_size is not None:
            return self.batch_size
        return max(min(self.batch_size, _NATIVE_BATCH_PIXELS // (size[0] * size[1])), 1)

    def _start(self, items: Sequence[Input]) -> PyTree:
        """Starts the network on a batch; it goes on running while the caller does something else."""
        bucket = items[0].bucket
        program = self._whole if self._whole and bucket.unchanged else self._cells
        return program(self._variables, jax.device_put(self._padded(items, bucket)))

    def _padded(self, items: Sequence[Input], bucket: Bucket) -> np.ndarray:
        """Returns the images, uint8 (B, h, w, 3), with black ones to fill a batch that there is a program for."""
        compiled = self._compiled_rows.setdefault(bucket, set())
        rows = min((rows for rows in compiled if rows >= len(items)), default=len(items))
        compiled.add(rows)
        images = np.zeros((rows, *items[0].pixels.shape), np.uint8)
        images[: len(items)] = [item.pixels for item in items]
        return images

    def _finish(
        self, batch: Sequence[tuple[Key, Input]], started: Mapping[str, jax.Array]
    ) -> Iterator[tuple[Key, Prediction]]:
        """Yields the predictions of a batch, given what `_start` returned for it."""
        whole = dict(started)
        maps = {}
        if not batch[0][1].bucket.unchanged:
            maps = {name: whole.pop(name) for name in dense_tasks(self.network.tasks)}
        host = jax.device_get(whole)
        for index, (key, item) in enumerate(batch):
            found = {name: values[index] for name, values in host.items()}
            if maps:
                found |= self._upsample(maps, index, *item.positions(self._stretched, self._stride))
            yield key, {name: found[name] for name in self.network.tasks}


def bucket_side(pixels: int) -> int:
    """Returns the side of the bucket that takes an image's side: at most an eighth (or 31 pixels) more."""
    step = 32
    while pixels > 16 * step:
        step *= 2
    return -(-pixels // step) * step


def _cells(network: Network, variables: PyTree, images: jax.Array) -> dict[str, jax.Array]:
    """Returns (B, h, w, outputs) to interpolate of a dense task, the answers of an image task, (B,)."""
    logits = network.logits(variables, images)
    return {
        name: task.interpolated(logits[name]) if isinstance(task, DenseTask) else task.activate(logits[name])
        for name, task in network.tasks.items()
    }
