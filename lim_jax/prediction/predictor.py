"""Predicts all tasks for images of any size: arrays in, arrays out.

    predictor = Predictor(trained.network, trained.weights, image_size=(256, 256))
    predictions = predictor([image, another])          # [{task: array}, ...], each at its own image's size

The network sees every image at one size, as in training, or (`image_size=None`) at its own. What it computes, maps
at an eighth of that resolution, is interpolated to the size of the image and only then decoded: classes are the
largest of interpolated logits, normals are unit. That is done tile by tile, so that a large image takes little more
memory than its predictions. An image of exactly the network's size goes through `evaluation.predictor`.

Native sizes fall into buckets, so that few programs are compiled: an image is extended, at the bottom and at the right
by its mirror image, until each side is a multiple of 32 pixels, of 64 above 512 pixels, of 128 above 1024, and so on.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import cv2
import jax
import numpy as np

from lim_jax.data import transforms
from lim_jax.network import Network
from lim_jax.prediction import evaluation
from lim_jax.runtime import platforms
from lim_jax.tasks.base import OUTPUT_STRIDE, Task, interpolate, interpolation_matrix

Size: TypeAlias = tuple[int, int]  # (height, width)
Prediction: TypeAlias = dict[str, np.ndarray]
PyTree = Any
Key = TypeVar("Key")

TILE = 128  # pixels, each way: its logits stay in a processor's cache
_NATIVE_BATCH_PIXELS = 2**22  # of all images in a batch of native size; activations take hundreds of bytes each


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
    def unchanged(self) -> bool:
        """Whether the network sees the image just as it is, at a size that it always works at."""
        return self.pixels.shape[:2] == self.image_size and not self.extended


class Predictor:
    """Predicts with one network; compiled once for every size that the network sees.

    Attributes:
      network: the model and its tasks.
      image_size: what images are resized to, (height, width); None: native.
      batch_size: images that the network sees at once, at most.
    """

    def __init__(self, network: Network, weights: PyTree, image_size: Size | None, batch_size: int = 8):
        self.network = network
        self.image_size = image_size
        self.batch_size = batch_size
        self._weights = jax.device_put(weights)
        self._sizes: dict[tuple[Size, bool], set[int]] = {}  # of the batches that programs were compiled for
        self._dense = {name: task for name, task in network.tasks.items() if task.spec.kind != "attribute"}
        computed = network.on(platforms.default())
        self._cells = jax.jit(lambda weights, images: _cells(computed, weights, images))
        self._tile = jax.jit(lambda maps, *place: _tile(self._dense, maps, *place))
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
        waiting: dict[tuple[Size, bool], list[tuple[Key, Input]]] = {}
        for key, item in inputs:
            bucket = _bucket(item)
            waiting.setdefault(bucket, []).append((key, item))
            if len(waiting[bucket]) == self._full(bucket[0]):
                yield waiting.pop(bucket)
        yield from waiting.values()

    def _full(self, size: Size) -> int:
        if self.image_size is not None:
            return self.batch_size
        return max(min(self.batch_size, _NATIVE_BATCH_PIXELS // (size[0] * size[1])), 1)

    def _start(self, items: Sequence[Input]) -> PyTree:
        """Starts the network on a batch; it goes on running while the caller does something else."""
        bucket = _bucket(items[0])
        images = np.stack([item.pixels for item in items])
        compiled = self._sizes.setdefault(bucket, set())
        rows = min((size for size in compiled if size >= len(images)), default=len(images))
        compiled.add(rows)
        images = np.concatenate([images, np.zeros((rows - len(images), *images.shape[1:]), np.uint8)])
        program = self._whole if self._whole and items[0].unchanged else self._cells
        return program(self._weights, jax.device_put(images))

    def _finish(
        self, batch: Sequence[tuple[Key, Input]], started: Mapping[str, jax.Array]
    ) -> Iterator[tuple[Key, Prediction]]:
        if batch[0][1].unchanged:
            host = jax.device_get(started)
            for index, (key, _) in enumerate(batch):
                yield key, {name: host[name][index] for name in self.network.tasks}
            return
        answers = {name: jax.device_get(values) for name, values in started.items() if name not in self._dense}
        maps = {name: started[name] for name in self._dense}
        for index, (key, item) in enumerate(batch):
            dense = self._upsample(maps, index, item) if maps else {}
            yield key, {name: dense[name] if name in dense else answers[name][index] for name in self.network.tasks}

    def _upsample(self, maps: Mapping[str, jax.Array], index: int, item: Input) -> Prediction:
        """Interpolates and decodes the maps of one image of a batch, a row of tiles at a time."""
        cells = next(iter(maps.values())).shape[1:3]
        rows, columns = (_tiles(*side) for side in zip(_positions(item), cells, strict=True))
        result: Prediction = {}
        for top, (row, row_weights) in enumerate(rows):
            tiles = [self._tile(maps, index, row, column, row_weights, weights) for column, weights in columns]
            for left, tile in enumerate(jax.device_get(tiles)):
                for name, values in tile.items():
                    place = slice(top * TILE, (top + 1) * TILE), slice(left * TILE, (left + 1) * TILE)
                    if name not in result:
                        result[name] = np.empty((*item.image_size, *values.shape[2:]), values.dtype)
                    target = result[name][place]
                    target[:] = values[: target.shape[0], : target.shape[1]]
        return result


def bucket_side(pixels: int) -> int:
    """Returns the side of the bucket that takes an image's side: at most an eighth (or 31 pixels) more."""
    step = 32
    while pixels > 16 * step:
        step *= 2
    return -(-pixels // step) * step


def _bucket(item: Input) -> tuple[Size, bool]:
    return (item.pixels.shape[0], item.pixels.shape[1]), item.unchanged


def _cells(network: Network, weights: PyTree, images: jax.Array) -> dict[str, jax.Array]:
    """Returns per task the values to interpolate, (B, h, w, outputs); of an attribute its predictions (B,)."""
    logits = network.logits(weights, images)
    size = images.shape[1], images.shape[2]
    return {
        name: task.predict(logits[name], size) if task.spec.kind == "attribute" else task.activate(logits[name])
        for name, task in network.tasks.items()
    }


def _tile(
    tasks: Mapping[str, Task],
    maps: Mapping[str, jax.Array],
    index: jax.Array,
    row: jax.Array,
    column: jax.Array,
    row_weights: jax.Array,
    column_weights: jax.Array,
) -> dict[str, jax.Array]:
    """Returns the predictions of one tile of image `index`, from the window of cells that begins at (row, column)."""
    window = (1, row_weights.shape[1], column_weights.shape[1])
    tile = {}
    for name, task in tasks.items():
        cells = jax.lax.dynamic_slice(maps[name], (index, row, column, 0), (*window, maps[name].shape[-1]))
        tile[name] = task.decode(interpolate(cells, row_weights, column_weights))[0]
    return tile


def _positions(item: Input) -> tuple[np.ndarray, np.ndarray]:
    """Returns, in cells, where the image's rows and columns lie in the network's map.

    Pixel y of the image is centred on y + 1/2, which resizing maps to (y + 1/2) h / H in what the network sees; there
    cell i is centred on pixel 8 i, that is on 8 i + 1/2.
    """
    rows, columns = (
        ((np.arange(pixels) + 0.5) * (1 if item.extended else seen / pixels) - 0.5) / OUTPUT_STRIDE
        for pixels, seen in zip(item.image_size, item.pixels.shape[:2], strict=True)
    )
    return rows, columns


def _tiles(positions: np.ndarray, cells: int) -> list[tuple[int, np.ndarray]]:
    """Cuts an axis into tiles: for each the first cell that it may read, and its weights (TILE, cells that it reads).

    All are of one shape, which depends only on the number of cells and on whether the network sees the image enlarged.
    """
    weights = np.zeros((-(-len(positions) // TILE) * TILE, cells), np.float32)
    weights[: len(positions)] = interpolation_matrix(positions, cells)
    enlarged = len(positions) > 1 and positions[1] - positions[0] > 1 / OUTPUT_STRIDE
    window = cells if enlarged or len(positions) == 1 else min(cells, TILE // OUTPUT_STRIDE + 2)
    tiles = []
    for begin in range(0, len(positions), TILE):
        first = min(max(int(positions[begin]), 0), cells - window)
        tiles.append((first, weights[begin : begin + TILE, first : first + window]))
    return tiles
