"""How maps of an eighth or a quarter of the resolution meet full-resolution targets and images.

Cell (i, j) of a dense head's output is centred on input pixel (8 i, 8 j), because every stride-2 operation of
the backbone is a 3×3 window with one pixel of padding. So the target of a cell is `target[8 i, 8 j]`
(`sample_target`), and the prediction at pixel (y, x) is the map at (y / 8, x / 8) (`resize_predictions`).
8 is the output stride; that of a head with a skip is 4.
"""

import jax
import jax.numpy as jnp
import numpy as np

OUTPUT_STRIDE = 8
SKIP_STRIDE = 4


def map_shape(image_size: tuple[int, int], stride: int = OUTPUT_STRIDE) -> tuple[int, int]:
    """Returns the (rows, columns) of cells that a dense head gives for images of `(height, width)`."""
    height, width = image_size
    return -(-height // stride), -(-width // stride)


def sample_target(target: jax.Array, logits: jax.Array, stride: int = OUTPUT_STRIDE) -> jax.Array:
    """Returns the pixels of a full-resolution target (B, H, W, ...) on which the logits' cells are centred."""
    sampled = target[:, ::stride, ::stride]
    if sampled.shape[:3] != logits.shape[:3]:
        raise ValueError(
            f"logits of shape {logits.shape} do not belong to a target of shape {target.shape}: "
            f"at output stride {stride} they should start with {sampled.shape[:3]}"
        )
    return sampled


def resize_predictions(maps: jax.Array, image_size: tuple[int, int], stride: int = OUTPUT_STRIDE) -> jax.Array:
    """Upsamples (B, h, w, C) to (B, H, W, C), bilinear: pixel y reads the map at y / stride, clamped at the border."""
    rows, columns = (
        interpolation_matrix(np.arange(pixels) / stride, cells)
        for pixels, cells in zip(image_size, maps.shape[1:3], strict=True)
    )
    return interpolate(maps, rows, columns)


def stretch(maps: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes (B, h, w, C) to (B, *size, C), bilinear: the corners' cells lie on the corners (torch: align_corners)."""
    if maps.shape[1:3] == size:
        return maps
    rows, columns = (
        interpolation_matrix(np.linspace(0, cells - 1, pixels), cells)
        for pixels, cells in zip(size, maps.shape[1:3], strict=True)
    )
    return interpolate(maps, rows, columns)


def interpolate(maps: jax.Array, rows: jax.Array | np.ndarray, columns: jax.Array | np.ndarray) -> jax.Array:
    """Returns (B, Y, X, C): maps (B, h, w, C) between their cells, by the matrices `rows` (Y, h), `columns` (X, w)."""
    # Full precision: the default on a GPU rounds to 10 bits, which moves class borders.
    precision = jax.lax.Precision.HIGHEST
    tall = jnp.einsum("Yy,byxc->bYxc", rows, maps, precision=precision)
    return jnp.einsum("Xx,bYxc->bYXc", columns, tall, precision=precision)


def interpolation_matrix(positions: np.ndarray, cells: int) -> np.ndarray:
    """Returns float32 (positions, cells): weights that read a row of cells linearly at positions 0..cells - 1.

    Positions before the first cell or after the last one read that cell.
    """
    positions = np.clip(positions, 0, cells - 1)
    distance = np.abs(positions[:, None] - np.arange(cells))
    return np.maximum(1 - distance, 0).astype(np.float32)
