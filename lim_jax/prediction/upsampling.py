"""From a network's maps to predictions at the size of an image: interpolated and decoded tile by tile.

Tile by tile, so that a large image takes little more memory than its predictions.
"""

from collections.abc import Mapping
from typing import TypeAlias

import jax
import numpy as np

from lim_jax.tasks.base import DenseTask
from lim_jax.tasks.interpolation import OUTPUT_STRIDE, interpolate, interpolation_matrix

Prediction: TypeAlias = dict[str, np.ndarray]

TILE = 128  # pixels, each way: its logits stay in a processor's cache


class Upsampler:
    """Interpolates and decodes maps of dense tasks; compiled once for every shape of the maps."""

    def __init__(self, tasks: Mapping[str, DenseTask]):
        self._tile = jax.jit(lambda maps, *place: _tile(tasks, maps, *place))
        self._stride = next((task.output_stride for task in tasks.values()), OUTPUT_STRIDE)

    def __call__(self, maps: Mapping[str, jax.Array], index: int, rows: np.ndarray, columns: np.ndarray) -> Prediction:
        """Returns the predictions of the dense tasks for one image, (H, W, ...).

        Args:
          maps: what is interpolated of a batch, (B, h, w, outputs), by task.
          index: of the image in the batch.
          rows, columns: where the image's rows (H,) and columns (W,) lie in the maps, in cells.
        """
        cells = next(iter(maps.values())).shape[1:3]
        row_tiles, column_tiles = (_tiles(*side, self._stride) for side in zip((rows, columns), cells, strict=True))
        result: Prediction = {}
        for top, (row, row_weights) in enumerate(row_tiles):
            tiles = [
                self._tile(maps, index, row, column, row_weights, column_weights)
                for column, column_weights in column_tiles
            ]
            for left, tile in enumerate(jax.device_get(tiles)):
                _put(result, tile, (top * TILE, left * TILE), (len(rows), len(columns)))
        return result


def _put(result: Prediction, tile: Prediction, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Writes a tile into the predictions of an image of `size`, which are made as they are needed."""
    top, left = corner
    for name, values in tile.items():
        if name not in result:
            result[name] = np.empty((*size, *values.shape[2:]), values.dtype)
        target = result[name][top : top + TILE, left : left + TILE]
        target[:] = values[: target.shape[0], : target.shape[1]]


def _tile(
    tasks: Mapping[str, DenseTask],
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
        tile[name] = task.decoded(interpolate(cells, row_weights, column_weights))[0]
    return tile


def _tiles(positions: np.ndarray, cells: int, stride: int) -> list[tuple[int, np.ndarray]]:
    """Cuts an axis into tiles: for each the first cell that it may read, and its weights (TILE, cells that it reads).

    All are of one shape, which depends only on the number of cells and on whether the network sees the image enlarged.
    """
    weights = np.zeros((-(-len(positions) // TILE) * TILE, cells), np.float32)
    weights[: len(positions)] = interpolation_matrix(positions, cells)
    enlarged = len(positions) > 1 and positions[1] - positions[0] > 1 / stride
    window = cells if enlarged or len(positions) == 1 else min(cells, TILE // stride + 2)
    tiles = []
    for begin in range(0, len(positions), TILE):
        first = min(max(int(positions[begin]), 0), cells - window)
        tiles.append((first, weights[begin : begin + TILE, first : first + window]))
    return tiles
