"""What figures over λ show: the rows of one task combination in order, and where each is on the axis."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sweeps.rows import Row, strength_text

_AXES = {  # by the attribute of a run; of those that as many rows have, the first
    "strength": "strength λ",
    "target": "target of group sparsity (%)",
    "target_macs": "target of MACs left in the backbone (%)",
}


class Series(NamedTuple):
    """Rows of the same tasks, from dense to the strongest.

    Attributes:
      rows: in order; each has a result or a history.
      labels: of each, below the axis.
      axis: what the axis is.
      is_curve: whether the rows differ in what the axis is alone; else the labels say what else is special of each.
    """

    rows: Sequence[Row]
    labels: Sequence[str]
    axis: str
    is_curve: bool

    @property
    def places(self) -> list[int]:
        """Where the rows are on the axis: as far apart from each other, whatever their values."""
        return list(range(len(self.rows)))


def series(rows: Sequence[Row], tasks: Sequence[str] = ()) -> Series | None:
    """Returns the series of a task combination: by default of the one with most results, and of these most tasks.

    Args:
      rows: of a sweep.
      tasks: of the combination; empty: by default.

    Returns:
      None if no combination has a result. A series goes over what most of its rows have: λ, or a target of either kind.
    """
    combinations = [tuple(tasks)] if tasks else list(dict.fromkeys(row.tasks for row in rows))
    found = [_of(rows, combination) for combination in combinations]
    with_results = [one for one in found if any(row.results for row in one.rows)]
    return max(with_results, key=lambda one: (len(one.rows[0].tasks), len(one.rows)), default=None)


def _of(rows: Sequence[Row], tasks: Sequence[str]) -> Series:
    chosen = [row for row in rows if set(row.tasks) == set(tasks)]
    by = max(_AXES, key=lambda attribute: sum(bool(getattr(row.run, attribute)) for row in chosen))

    def place(row: Row) -> float:
        return 0.0 if row.is_dense else getattr(row.run, by)

    on_axis = [row for row in chosen if row.is_dense or place(row)]
    values = [place(row) for row in on_axis]
    is_curve = len(set(values)) == len(values)
    sign = -1.0 if by == "target_macs" else 1.0  # the fewer are left, the stronger
    placed = sorted(zip(values, on_axis, strict=True), key=lambda one: (bool(one[0]), sign * one[0]))
    labels = [_label(value, by) for value, _ in placed]
    if not is_curve:
        labels = ["\n".join(filter(None, (label, row.others))) for label, (_, row) in zip(labels, placed, strict=True)]
    return Series([row for _, row in placed], labels, _AXES[by], is_curve)


def _label(value: float, by: str) -> str:
    if not value:
        return "dense"
    if by != "strength":
        return f"{100 * value:.3g}"
    power = math.log10(value)
    return f"$10^{{{round(power)}}}$" if abs(power - round(power)) < 1e-6 else strength_text(value)
