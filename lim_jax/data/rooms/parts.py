"""What the furniture of `rooms` is made of: boxes, cylinders and ellipsoids with a class and a material.

A piece is a list of parts in its own frame: x along the wall behind it and centred, y from the wall (0) into the room,
z up; metres.
"""

import colorsys
import dataclasses
import itertools
from collections.abc import Callable

import numpy as np

from lim_jax.data import nyu40

BOX, CYLINDER, ELLIPSOID, FACE = range(4)
PLAIN, STRIPES, CHECKER, WOOD, CLOTH = range(5)


@dataclasses.dataclass(frozen=True)
class Material:
    """How a surface looks: a pattern between two linear-light colours.

    Attributes:
      color: red, green, blue in 0..1.
      second: the pattern's other colour.
      pattern: PLAIN, STRIPES, CHECKER, WOOD or CLOTH.
      scale: metres per period of the pattern.
      glow: light that the surface emits by itself, in units of its colour.
    """

    color: tuple[float, float, float]
    second: tuple[float, float, float]
    pattern: int | np.integer = PLAIN
    scale: float = 0.2
    glow: float = 0.0

    def row(self) -> list[float]:
        """Returns the nine numbers of a scene's material table."""
        return [*self.color, *self.second, int(self.pattern), self.scale, self.glow]


@dataclasses.dataclass(frozen=True)
class Part:
    """One primitive.

    Attributes:
      kind: BOX, CYLINDER (upright), ELLIPSOID, or FACE of the room.
      label: NYU-40 class index.
      params: BOX lower corner, upper corner; CYLINDER centre x, y, bottom, top, radius, 0; ELLIPSOID centre, radii.
      material: its looks.
    """

    kind: int
    label: int
    params: tuple[float, ...]
    material: Material

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lower and upper corner of the box around it."""
        p = np.asarray(self.params)
        if self.kind == CYLINDER:
            x, y, bottom, top, radius, _ = self.params
            return np.array([x - radius, y - radius, bottom]), np.array([x + radius, y + radius, top])
        return (p[:3] - p[3:], p[:3] + p[3:]) if self.kind == ELLIPSOID else (p[:3], p[3:])


def material(
    rng: np.random.Generator,
    hue: tuple[float, float],
    saturation: tuple[float, float],
    value: tuple[float, float],
    pattern: int | np.integer = PLAIN,
    scale: float = 0.2,
    contrast: float = 0.75,
    glow: float = 0.0,
) -> Material:
    """Draws a material from ranges of hue, saturation and value; `contrast` darkens the pattern's second colour."""
    h, s, v = (rng.uniform(*span) for span in (hue, saturation, value))
    color = colorsys.hsv_to_rgb(h % 1.0, s, v)
    linear = tuple(c**2.2 for c in color)
    second = tuple(c * contrast for c in linear)
    return Material(linear, second, pattern, scale * rng.uniform(0.8, 1.25), glow)


def box(name: str, look: Material, lower: tuple[float, float, float], upper: tuple[float, float, float]) -> Part:
    """Returns a box of the class `name` between two corners."""
    return Part(BOX, _INDEX[name], (*lower, *upper), look)


def cylinder(name: str, look: Material, centre: tuple[float, float], span: tuple[float, float], radius: float) -> Part:
    """Returns an upright cylinder of the class `name` from `span[0]` to `span[1]` high."""
    return Part(CYLINDER, _INDEX[name], (*centre, *span, radius, 0.0), look)


def ellipsoid(name: str, look: Material, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Part:
    """Returns an ellipsoid of the class `name`."""
    return Part(ELLIPSOID, _INDEX[name], (*centre, *radii), look)


_INDEX = {name: index for index, name in enumerate(nyu40.CLASS_NAMES)}

Parts = list[Part]
Maker = Callable[[np.random.Generator], Parts]


def wood(rng: np.random.Generator, value: tuple[float, float] = (0.45, 0.75)) -> Material:
    """Boards of brown wood, of a brightness within `value`."""
    return material(rng, (0.06, 0.1), (0.45, 0.65), value, WOOD, 0.12, 0.7)


def white(rng: np.random.Generator) -> Material:
    """Enamel or paint."""
    return material(rng, (0.0, 1.0), (0.0, 0.05), (0.85, 0.98))


def dark(rng: np.random.Generator) -> Material:
    """Black or nearly so."""
    return material(rng, (0.55, 0.7), (0.0, 0.3), (0.1, 0.22))


def metal(rng: np.random.Generator) -> Material:
    """Grey, slightly bluish."""
    return material(rng, (0.55, 0.65), (0.0, 0.08), (0.55, 0.75))


def fronts(name: str, look: Material, width: float, depth: float, rows: np.ndarray, columns: int) -> Parts:
    """Doors or drawers: slightly raised boxes, with knobs, on the front of a body."""
    parts = []
    knob = Material((0.05, 0.05, 0.05), (0.05, 0.05, 0.05))
    edges = np.linspace(-width / 2, width / 2, columns + 1)
    for bottom, top in itertools.pairwise(rows):
        for left, right in itertools.pairwise(edges):
            lower, upper = (left + 0.02, depth, bottom + 0.02), (right - 0.02, depth + 0.02, top - 0.02)
            parts.append(box(name, look, lower, upper))
            centre = ((left + right) / 2, depth + 0.03, (bottom + top) / 2)
            parts.append(ellipsoid(name, knob, centre, (0.03, 0.02, 0.015)))
    return parts
