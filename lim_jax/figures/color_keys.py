"""Writes below a figure of matplotlib what the colours of its pictures mean; `pictures` does so for its panels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lim_jax.figures import style
from lim_jax.tasks.legends import ColorKey, ColorScale, Entry
from lim_jax.tasks.palette import INVALID_COLOR

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

_COLUMNS = 5


def height(legend: ColorKey | ColorScale) -> float:
    """Returns how many inches `draw` needs."""
    return 0.46 if isinstance(legend, ColorScale) else 0.1 + 0.16 * -(-len(_entries(legend)) // _COLUMNS)


def draw(part: "SubFigure", legend: ColorKey | ColorScale) -> None:
    """Draws a legend in its part of a figure."""
    if isinstance(legend, ColorScale):
        _draw_scale(part, legend)
    else:
        _draw_key(part, _entries(legend))


def _entries(key: ColorKey) -> Sequence[Entry]:
    return key.entries if key.invalid is None else [*key.entries, Entry(key.invalid, np.array(INVALID_COLOR))]


def _draw_key(part: "SubFigure", entries: Sequence[Entry]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=tuple(entry.color / 255), edgecolor="0.4", linewidth=0.4, label=entry.text) for entry in entries
    ]
    part.legend(handles=handles, loc="center", ncols=_COLUMNS, handlelength=1, handleheight=1, columnspacing=1.2)


def _draw_scale(part: "SubFigure", scale: ColorScale) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = part.add_axes((0.3, 0.66, 0.4, 0.18))
    part.colorbar(ScalarMappable(Normalize(0, scale.end), scale.color_map), cax=axes, orientation="horizontal")
    axes.set_xlabel(scale.label, fontsize=style.SMALL, labelpad=1)
