"""Aligned text for people: a table in a terminal or a log."""

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Returns the rows as lines, columns two spaces apart and each as wide as its widest cell.

    Args:
      rows: cells of text, as many in every row; at least one row.
      left: the columns whose cells are at the left; in the others, numbers mostly, they are at the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
