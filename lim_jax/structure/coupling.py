"""Which axes' indices must leave together: units, a union-find over the indices of all axes of all arrays.

Every index of every axis of every array belongs to a unit. Arithmetic makes the units of its operands one, contractions
those of the two axes that are summed over; what an operation keeps apart keeps its units. A unit is *blocked* where it
cannot leave: an index of an input or an output, or one that an operation mixes in a way that is not known here.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

Units = tuple[np.ndarray, ...]  # for each axis of an array, int (size,)


@dataclasses.dataclass
class Coupling:
    """The units found so far, and why some of them cannot leave."""

    _parents: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    _count: int = 0
    _blocked: dict[int, str] = dataclasses.field(default_factory=dict)

    def fresh(self, size: int) -> np.ndarray:
        """Returns new units, int (size,)."""
        start, self._count = self._count, self._count + size
        if self._count > len(self._parents):
            grown = np.arange(max(2 * len(self._parents), self._count, 1024))
            grown[: len(self._parents)] = self._parents
            self._parents = grown
        return np.arange(start, self._count)

    def find(self, units: np.ndarray) -> np.ndarray:
        """Returns the representative of each unit."""
        found = self._parents[units]
        while not np.array_equal(found, deeper := self._parents[found]):
            found = deeper
        self._parents[units] = found
        return found

    def join(self, first: np.ndarray, *others: np.ndarray) -> np.ndarray:
        """Makes units that stand at the same place one; returns them."""
        for other in others:
            if first is other or np.array_equal(first, other):
                continue
            for a, b in np.unique(np.stack([first, other], 1), axis=0):
                low, high = sorted((self._root(int(a)), self._root(int(b))))
                self._parents[high] = low
                if high in self._blocked:
                    self._blocked.setdefault(low, self._blocked.pop(high))
        return self.find(first)

    def block(self, units: np.ndarray, reason: str) -> np.ndarray:
        """Says that units cannot leave; returns them."""
        for unit in np.unique(self.find(units)).tolist():
            self._blocked.setdefault(unit, reason)
        return units

    def reasons(self, units: np.ndarray) -> list[str | None]:
        """Returns for each unit why it cannot leave, or None."""
        return [self._blocked.get(unit) for unit in self.find(units).tolist()]

    def all_blocked(self, units: np.ndarray) -> bool:
        """Says whether none of the units can leave."""
        return None not in self.reasons(units)

    def _root(self, unit: int) -> int:
        while (parent := int(self._parents[unit])) != unit:
            unit = parent
        return unit


def fresh_units(coupling: Coupling, shape: Sequence[int]) -> Units:
    """Returns new units for each axis of an array."""
    return tuple(coupling.fresh(size) for size in shape)
