"""Colours of pictures: for any number of classes, such that they stay apart for colour-blind readers too.

The first seven are Okabe and Ito's. Each further one is the colour of a fixed grid whose nearest chosen neighbour,
over normal, protan and deutan vision, is the farthest away in Oklab. Nearly black, white and grey ones are left out:
they look alike in small regions, and grey means invalid.
"""

import functools

import numpy as np

INVALID_COLOR = (128, 128, 128)  # of pixels without a label or a measurement, in every task's pictures
OKABE_ITO = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (86, 180, 233),
    (204, 121, 167),
    (240, 228, 66),
)

# Linear RGB as it is, and as a protanope and a deuteranope see it: Machado, Oliveira and Fernandes (2009), severity 1.
_VISIONS = (
    np.eye(3),
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
)
_VISION_WEIGHTS = (1.0, 2.0, 2.0)  # so that normal vision, where distances are larger, has a say
# Oklab (Ottosson, 2020): linear RGB to cone responses, and their cube roots to lightness and two opponent colours.
_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_OPPONENTS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@functools.lru_cache
def class_colors(number: int) -> np.ndarray:
    """Returns uint8 (number, 3): `number` colours, the same ones every time, each list a prefix of the longer ones."""
    levels = np.linspace(0, 255, 9).round()
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lightness, a, b = _oklab(grid, _VISIONS[0]).T
    grid = grid[(lightness >= 0.35) & (lightness <= 0.95) & (np.hypot(a, b) >= 0.04)]
    candidates = np.concatenate([np.array([INVALID_COLOR, *OKABE_ITO], float), grid])
    views = zip(_VISION_WEIGHTS, _VISIONS, strict=True)
    seen = np.stack([weight * _oklab(candidates, vision) for weight, vision in views]) * (1, 2, 2)
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


def _oklab(colors: np.ndarray, vision: np.ndarray) -> np.ndarray:
    """Returns Oklab (n, 3) of sRGB colours 0..255 (n, 3) as someone with this vision sees them."""
    srgb = colors / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(np.clip(linear @ vision.T, 0, 1) @ _CONES.T) @ _OPPONENTS.T
