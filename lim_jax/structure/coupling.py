"""Which axes' indices must leave together: units, a union-find over the indices of all axes of all arrays.

Every index of every axis of every array belongs to a unit. Arithmetic makes the units of its operands one, contractions
those of the two axes that are summed over; what an operation keeps apart keeps its units. A unit is *blocked* where it
cannot leave: an index of an input or an output, or one that an operation mixes in a way that is not known here.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

# Why a unit may be blocked, beside what operations say.
INPUT, OUTPUT, PLACE = "an input", "an output", "a place, not a channel"

Axes = tuple[np.ndarray, ...]  # for each axis of an array, the unit of each index: int (size,)


@dataclasses.dataclass(frozen=True)
class Units:
    """The units of one array, and what it is computed from.

    Attributes:
      axes: the units of each axis.
      leaves: the numbers of the parameters that it depends on.
      data: whether it depends on inputs.
    """

    axes: Axes
    leaves: frozenset[int] = frozenset()
    data: bool = False


@dataclasses.dataclass(frozen=True)
class Reading:
    """A contraction of data with something made of parameters alone.

    Attributes:
      leaves: these parameters.
      axes: the units of the axes that are summed over, by their place in the factor.
      shape: of the factor.
      raw: whether the data do not depend on any parameter: this is a first layer.
    """

    leaves: frozenset[int]
    axes: dict[int, np.ndarray]
    shape: tuple[int, ...]
    raw: bool


@dataclasses.dataclass
class Coupling:
    """The units found so far, why some of them cannot leave, and the contractions with parameters."""

    readings: list[Reading] = dataclasses.field(default_factory=list)

    _parents: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    _count: int = 0
    _blocked: dict[int, set[str]] = dataclasses.field(default_factory=dict)

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
            while first is not other and (pairs := self._different(first, other)).size:
                # Each root gets one parent at a time, a smaller one, so that no circle is closed.
                highs, places = np.unique(pairs[1], return_index=True)
                self._parents[highs] = lows = pairs[0][places]
                for high, low in zip(highs[::-1].tolist(), lows[::-1].tolist(), strict=True):
                    if high in self._blocked:
                        self._blocked.setdefault(low, set()).update(self._blocked.pop(high))
        return self.find(first)

    def _different(self, first: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Returns the roots of units that stand at the same place and are not one yet: (2, n), lower ones first."""
        roots = np.stack([self.find(first), self.find(other)])
        return np.sort(roots[:, roots[0] != roots[1]], axis=0)

    def block(self, units: np.ndarray, reason: str) -> np.ndarray:
        """Says that units cannot leave; returns them."""
        for unit in np.unique(self.find(units)).tolist():
            self._blocked.setdefault(unit, set()).add(reason)
        return units

    def reasons(self, units: np.ndarray) -> set[str]:
        """Returns why some of the units cannot leave."""
        return set().union(*(self._blocked.get(unit, set()) for unit in self.find(units).tolist()))

    def is_blocked(self, units: np.ndarray) -> np.ndarray:
        """Returns which units cannot leave, bool."""
        return np.array([unit in self._blocked for unit in self.find(units).tolist()], bool)

    def read(self, factors: Sequence[Units], axes: Sequence[Sequence[int]]) -> None:
        """Notes that two factors are summed over some axes of each, if one is made of parameters alone."""
        for factor, other, summed in zip(factors, factors[::-1], axes, strict=True):
            if factor.leaves and not factor.data and other.data:
                shape = tuple(len(units) for units in factor.axes)
                parts = {axis: factor.axes[axis] for axis in summed}
                self.readings.append(Reading(factor.leaves, parts, shape, raw=not other.leaves))


def fresh_axes(coupling: Coupling, shape: Sequence[int]) -> Axes:
    """Returns new units for each axis of an array."""
    return tuple(coupling.fresh(size) for size in shape)
