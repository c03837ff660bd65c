"""What the colours of a task's pictures mean, as data: figures draw it, each in its own way."""

import dataclasses
from typing import NamedTuple

import numpy as np


class Entry(NamedTuple):
    """One colour.

    Attributes:
      text: what it means.
      color: uint8 (3,), RGB.
      pixels: how many pixels have it, where that was counted.
    """

    text: str
    color: np.ndarray
    pixels: int = 0


@dataclasses.dataclass(frozen=True)
class ColorKey:
    """Single colours with their meaning.

    Attributes:
      entries: the colours.
      invalid: what `INVALID_COLOR` means, for a picture that may hold it; None where that goes without saying.
    """

    entries: tuple[Entry, ...]
    invalid: str | None = None


@dataclasses.dataclass(frozen=True)
class ColorScale:
    """Colours of the numbers from 0 to some end.

    Attributes:
      label: what the numbers are.
      color_map: the colours, by matplotlib's name for them.
      end: the largest number that has a colour of its own.
    """

    label: str
    color_map: str
    end: float = 1.0

    def colors(self, values: np.ndarray) -> np.ndarray:
        """Returns uint8 (..., 3): the colours of values (...); those outside 0..end look like its ends."""
        import matplotlib  # only pictures need it

        return matplotlib.colormaps[self.color_map](
            np.clip(np.asarray(values) / np.float32(self.end), 0, 1), bytes=True
        )[..., :3]
