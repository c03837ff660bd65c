"""How all figures of matplotlib look: their width, fonts and colours, and the axes that several of them share.

Figures are 7 inches wide at most, so that a page shows them at full size, and their colours are Okabe and Ito's, which
colour-blind readers tell apart. matplotlib takes a second to import, so only drawing does it.
"""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[int, float]]  # (epoch, value)

WIDTH = 7.0  # inches
SMALL = 7  # points: no text is smaller
BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
PALE_BLUE = "#C8DCEB"
_STYLE: dict[Any, Any] = {
    "figure.dpi": 200,
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
    "axes.axisbelow": True,
}
_FEW = 4  # epochs: fewer are shown as points
_FAR, _NEAR = 50, 4  # medians: values beyond the one hide the others; up to the other an axis stays linear
_LINEAR = 3  # powers of ten that take as much room as the linear part, on either side of zero


def context() -> contextlib.AbstractContextManager[None]:
    """Returns the context in which figures look as all of these do."""
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def figure(width: float, height: float, padding: float = 0.04) -> "Figure":
    """Returns an empty figure of so many inches, whose parts keep `padding` inches between them."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=padding, h_pad=padding, wspace=padding, hspace=padding)
    return Figure(figsize=(width, height), layout=layout)


def grid(panels: int, height: float) -> "tuple[Figure, list[Axes]]":
    """Returns a figure with as many axes as there are panels in two columns, `height` inches each."""
    columns = min(2, panels)
    rows = -(-panels // columns)
    whole = figure(WIDTH / 2 * columns, height * rows + 0.2)
    places = whole.add_gridspec(rows, columns)
    return whole, [whole.add_subplot(places[index // columns, index % columns]) for index in range(panels)]


def legend_above(whole: "Figure", axes: "Axes", columns: int) -> None:
    """Writes what the lines or bars of `axes` are above the whole figure."""
    whole.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=columns)


def curve(axes: "Axes", points: Points, color: str, label: str) -> None:
    """Draws values over the epochs, as points where there are few."""
    epochs, values = [epoch for epoch, _ in points], [value for _, value in points]
    axes.plot(epochs, values, color=color, label=label, marker="o" if len(points) < _FEW else "")


def whole_epochs(axes: "Axes", epochs: int) -> None:
    """Makes the x axis show all epochs from 1 on, and puts its ticks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    if epochs < _FEW:
        axes.set(xlim=(0.5, epochs + 0.5), xticks=range(1, epochs + 1))
    else:
        margin = 0.03 * epochs
        axes.set_xlim(1 - margin, epochs + margin)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def whole_counts(axes: "Axes") -> None:
    """Makes the y axis begin at 0, and puts its ticks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.set_ylim(0, max(axes.get_ylim()[1], 1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))


def logarithmic_where_wide(axes: "Axes", values: Sequence[float]) -> None:
    """Makes the y axis logarithmic, in plain numbers, where values spread over more than one order of magnitude.

    With values of both signs it is linear where most of them are, and logarithmic where a few would hide the others.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not len(values):
        return
    lowest, highest, median = min(values), max(values), float(np.median(np.abs(values)))
    if lowest > 0 and highest > 10 * lowest:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if highest < 200 * lowest else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif lowest <= 0 and max(highest, -lowest) > _FAR * median > 0:
        axes.set_yscale("symlog", linthresh=_NEAR * median, linscale=_LINEAR)
    else:
        return
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def short(layer: str) -> str:
    """Returns a layer's name as figures of the backbone write it."""
    return layer.removeprefix("backbone/")
