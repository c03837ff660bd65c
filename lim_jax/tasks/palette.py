"""Colours for any number of classes that stay apart, for colour-blind readers too.

The first eight are Okabe and Ito's. Each further one is the colour of a fixed grid whose nearest chosen
neighbour, over normal, protan and deutan vision, is the farthest away in CIELAB.
"""

import functools

import numpy as np

from lim_jax.tasks.base import INVALID_COLOR

OKABE_ITO = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (86, 180, 233),
    (204, 121, 167),
    (240, 228, 66),
    (0, 0, 0),
)

# Complete dichromacy in linear RGB: Machado, Oliveira and Fernandes (2009), severity 1.0.
_VISIONS = (
    np.eye(3),
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
)
_RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) / np.array(
    [[0.9505], [1.0], [1.089]]
)  # rows divided by the D65 white point


@functools.lru_cache
def class_colors(number: int) -> np.ndarray:
    """Returns uint8 (number, 3): `number` colours, the same ones every time."""
    levels = np.linspace(0, 255, 9).round()
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    candidates = np.concatenate([np.array([INVALID_COLOR, *OKABE_ITO], float), grid])
    seen = np.stack([_lab(candidates, vision) for vision in _VISIONS])  # (visions, candidates, 3)
    chosen = list(range(1, 1 + len(OKABE_ITO)))
    distance = np.full(len(candidates), np.inf)
    for index in (0, *chosen):  # 0: no class may look like an invalid pixel
        distance = np.minimum(distance, _distance(seen, index))
    while len(chosen) < number:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, _distance(seen, chosen[-1]))
    return candidates[chosen[:number]].astype(np.uint8)


def _distance(seen: np.ndarray, index: int) -> np.ndarray:
    return np.linalg.norm(seen - seen[:, index : index + 1], axis=-1).min(axis=0)


def _lab(colors: np.ndarray, vision: np.ndarray) -> np.ndarray:
    """Returns CIELAB (n, 3) of sRGB colours 0..255 (n, 3) as someone with this vision sees them."""
    srgb = colors / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ vision.T, 0, 1) @ _RGB_TO_XYZ.T
    cube = np.where(xyz > 0.008856, np.cbrt(xyz), xyz * 7.787 + 16 / 116)
    x, y, z = cube[:, 0], cube[:, 1], cube[:, 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
