"""Sources that are made of other sources: some of their examples, one after the other, or with something changed.

Their texts (`repr`) are part of grain's saved states.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lim_jax.data import augmentation
from lim_jax.data.records import Noted
from lim_jax.data.specs import Example, TargetSpec


class Subset:
    """Some examples of a source, as a source."""

    def __init__(self, source: Any, indices: Sequence[int]):
        """Keeps the examples of `source` at `indices`, in that order."""
        self._source, self._indices = source, tuple(indices)
        self.noted: Noted = source.noted

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Example:
        return self._source[self._indices[index]]

    def __repr__(self) -> str:
        return f"Subset({self._source!r}, {len(self)} examples)"


class Joined:
    """The examples of two sources, one after the other, as a source."""

    def __init__(self, first: Any, second: Any):
        """Appends `second`, unless it is the same examples once more, as of sources with very few."""
        same = len(first) == len(second) and np.array_equal(first[0]["image"], second[0]["image"])
        self._sources: tuple[Any, ...] = (first,) if same else (first, second)
        self.noted: Noted = first.noted

    def __len__(self) -> int:
        return sum(map(len, self._sources))

    def __getitem__(self, index: int) -> Example:
        first = len(self._sources[0])
        return self._sources[0][index] if index < first else self._sources[1][index - first]

    def __repr__(self) -> str:
        return f"Joined({', '.join(map(repr, self._sources))})"


class Scored:
    """The images of one source with the targets of another, of the same examples at the size to be scored at."""

    def __init__(self, images: Any, targets: Any):
        self._images, self._targets = images, targets
        self.noted: Noted = targets.noted

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Example:
        return {"image": self._images[index]["image"], "targets": self._targets[index]["targets"]}

    def __repr__(self) -> str:
        return f"Scored({self._images!r}, {self._targets!r})"


class Padded:
    """The examples of a source with padding around them, which counts nowhere."""

    def __init__(self, source: Any, specs: Mapping[str, TargetSpec], size: tuple[int, int]):
        """Pads to `size` = (height, width), see `augmentation.pad`."""
        self._source, self._specs, self._size = source, dict(specs), size
        self.noted: Noted = source.noted

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        return augmentation.pad(self._source[index], self._specs, self._size)

    def __repr__(self) -> str:
        return f"Padded({self._source!r}, {self._size})"
