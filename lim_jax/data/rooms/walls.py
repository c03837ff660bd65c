"""What hangs on walls or is built into them: doors, windows, pictures; see `furniture`."""

import numpy as np

from lim_jax.data.rooms.parts import (
    CHECKER,
    CLOTH,
    STRIPES,
    WOOD,
    Parts,
    box,
    dark,
    ellipsoid,
    fronts,
    material,
    metal,
    white,
    wood,
)


def wall_mirror(rng: np.random.Generator, width: float, bottom: float, height: float) -> Parts:
    """A mirror of a given size in a metal frame."""
    glass = material(rng, (0.48, 0.55), (0.15, 0.3), (0.75, 0.9), STRIPES, 0.9, 0.6)
    top = bottom + height
    return [
        box("mirror", metal(rng), (-width / 2 - 0.04, 0, bottom - 0.04), (width / 2 + 0.04, 0.02, top + 0.04)),
        box("mirror", glass, (-width / 2, 0.02, bottom), (width / 2, 0.03, top)),
    ]


def mirror(rng: np.random.Generator) -> Parts:
    """A mirror on the wall."""
    return wall_mirror(rng, rng.uniform(0.5, 1.0), rng.uniform(0.9, 1.1), rng.uniform(0.6, 0.9))


def wall_cabinet(rng: np.random.Generator) -> Parts:
    """A cupboard hung on the wall, as in a kitchen."""
    look = wood(rng, (0.5, 0.65))
    width, bottom, top = rng.uniform(0.9, 1.8), rng.uniform(1.4, 1.5), rng.uniform(2.0, 2.2)
    parts = [box("cabinet", look, (-width / 2, 0, bottom), (width / 2, 0.35, top))]
    return parts + fronts("cabinet", look, width, 0.35, np.array([bottom, top]), 2 if width < 1.3 else 3)


def radiator(rng: np.random.Generator) -> Parts:
    """A radiator below the sill ("otherstructure")."""
    look = material(rng, (0.1, 0.15), (0.1, 0.25), (0.8, 0.92), STRIPES, 0.08, 0.45)
    width = rng.uniform(0.8, 1.4)
    return [box("otherstructure", look, (-width / 2, 0.03, 0.12), (width / 2, 0.13, 0.75))]


def door(rng: np.random.Generator) -> Parts:
    """A closed door in its frame, with two panels and a knob."""
    look, frame = material(rng, (0.05, 0.07), (0.55, 0.7), (0.5, 0.7), WOOD, 0.15, 0.8), white(rng)
    width, height = rng.uniform(0.8, 0.95), rng.uniform(1.98, 2.1)
    x = width / 2
    parts = [
        box("door", look, (-x, 0, 0), (x, 0.03, height)),
        box("door", frame, (-x - 0.08, 0, 0), (-x, 0.05, height + 0.08)),
        box("door", frame, (x, 0, 0), (x + 0.08, 0.05, height + 0.08)),
        box("door", frame, (-x, 0, height), (x, 0.05, height + 0.08)),
        ellipsoid("door", metal(rng), (x - 0.09, 0.06, 1.0), (0.04, 0.04, 0.03)),
    ]
    return parts + [box("door", look, (-x + 0.14, 0.03, b), (x - 0.14, 0.04, t)) for b, t in ((0.2, 0.9), (1.15, 1.8))]


def window(rng: np.random.Generator) -> Parts:
    """A bright pane in a white frame, with curtains, with blinds, or bare."""
    width, bottom, top = rng.uniform(0.9, 1.7), rng.uniform(0.85, 1.05), rng.uniform(1.9, 2.2)
    sky = material(rng, (0.53, 0.58), (0.2, 0.45), (0.95, 1.0), glow=rng.uniform(0.8, 1.6))
    frame, x = white(rng), width / 2
    parts = [
        box("window", sky, (-x, 0, bottom), (x, 0.01, top)),
        box("window", frame, (-0.025, 0, bottom), (0.025, 0.04, top)),
    ]
    for left, right, low, high in (
        (-x - 0.06, -x, bottom, top),
        (x, x + 0.06, bottom, top),
        (-x - 0.06, x + 0.06, top, top + 0.06),
        (-x - 0.1, x + 0.1, bottom - 0.05, bottom),
    ):
        parts.append(box("window", frame, (left, 0, low), (right, 0.06, high)))
    dressing = rng.random()
    if dressing < 0.4:
        cloth = material(rng, (0.12, 0.2), (0.35, 0.65), (0.7, 0.9), STRIPES, 0.14, 0.6)
        for side in (-1, 1):
            near, far = side * rng.uniform(0.3, 0.8) * x, side * (x + 0.25)
            lower, upper = (min(near, far), 0.08, 0.05), (max(near, far), 0.13, top + 0.15)
            parts.append(box("curtain", cloth, lower, upper))
    elif dressing < 0.65:
        slats = material(rng, (0.0, 0.04), (0.25, 0.45), (0.75, 0.9), STRIPES, 0.07, 0.5)
        parts.append(box("blinds", slats, (-x, 0.06, rng.uniform(bottom, top - 0.4)), (x, 0.09, top + 0.05)))
    return parts


def picture(rng: np.random.Generator) -> Parts:
    """A framed picture."""
    width, height, bottom = rng.uniform(0.35, 0.9), rng.uniform(0.35, 0.7), rng.uniform(1.3, 1.5)
    frame, x = dark(rng), width / 2
    paint = material(rng, (0.0, 1.0), (0.6, 0.95), (0.5, 0.9), rng.choice([STRIPES, CHECKER, CLOTH]), 0.2, 0.3)
    return [
        box("picture", frame, (-x, 0, bottom), (x, 0.03, bottom + height)),
        box("picture", paint, (-x + 0.04, 0.03, bottom + 0.04), (x - 0.04, 0.035, bottom + height - 0.04)),
    ]


def whiteboard(rng: np.random.Generator) -> Parts:
    """A white glossy board in a metal frame."""
    width, bottom, top = rng.uniform(1.2, 2.0), rng.uniform(0.9, 1.0), rng.uniform(1.9, 2.1)
    x = width / 2
    return [
        box("whiteboard", metal(rng), (-x, 0, bottom), (x, 0.03, top)),
        box("whiteboard", white(rng), (-x + 0.04, 0.03, bottom + 0.04), (x - 0.04, 0.035, top - 0.04)),
        box("whiteboard", metal(rng), (-x, 0.03, bottom - 0.03), (x, 0.1, bottom)),
    ]


def towel(rng: np.random.Generator) -> Parts:
    """A towel on a rail."""
    look = material(rng, (0.33, 0.45), (0.3, 0.6), (0.7, 0.9), STRIPES, 0.12, 0.75)
    return [
        box("towel", look, (-0.25, 0.03, rng.uniform(0.6, 0.8)), (0.25, 0.08, 1.3)),
        box("towel", metal(rng), (-0.35, 0.04, 1.3), (0.35, 0.06, 1.32)),
    ]
