"""Weights by which a pixel's loss counts, by its class: given as numbers, or by how rare the classes are."""

import numpy as np

BALANCED = "balanced"
_NONE = "none"


def parse(text: str) -> tuple[float, ...] | str:
    """Returns the numbers of "1,2.5,3", nothing for "none", and `BALANCED` for itself.

    Raises:
      ValueError: it is none of these, or a number is not above 0.
    """
    if text == BALANCED:
        return text
    found = tuple(float(part) for part in text.split(",")) if text != _NONE else ()
    if not all(0 < number < float("inf") for number in found):
        raise ValueError(f"{text!r} has numbers that are not above 0")
    return found


def balanced(pixels: np.ndarray) -> tuple[float, ...]:
    """Returns weights that give each class that occurs an equal share of all pixels; 1 to those that do not occur.

    Args:
      pixels: (classes,), how many there are of each class.
    """
    occurs = pixels > 0
    equal = pixels.sum() / max(occurs.sum(), 1)
    weights = np.where(occurs, equal / np.maximum(pixels, 1), 1.0)
    return tuple(float(f"{weight:.4g}") for weight in weights)


def normalized(weights: tuple[float, ...]) -> np.ndarray:
    """Returns the weights, float32 (classes,), of a mean of 1."""
    exact = np.asarray(weights, np.float64)
    return (exact / exact.mean()).astype(np.float32)
