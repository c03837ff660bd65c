"""Furniture that stands in a room: one function per piece, which draws its proportions and colours.

Colours, patterns and proportions are typical of a class but vary, so that classes can be told apart by looking, not
by one number. Frames and units: see `parts`.
"""

import numpy as np

from lim_jax.data.rooms.parts import (
    CHECKER,
    CLOTH,
    PLAIN,
    STRIPES,
    WOOD,
    Material,
    Parts,
    box,
    cylinder,
    dark,
    ellipsoid,
    fronts,
    material,
    metal,
    white,
    wood,
)
from lim_jax.data.rooms.walls import wall_mirror


def _legs(name: str, look: Material, width: float, depth: float, height: float, radius: float = 0.03) -> Parts:
    x, near, far = width / 2 - 0.06, 0.06, depth - 0.06
    return [cylinder(name, look, (sx * x, y), (0.0, height), radius) for sx in (-1, 1) for y in (near, far)]


def _books(rng: np.random.Generator, left: float, right: float, y: tuple[float, float], bottom: float) -> Parts:
    """A row of upright books in a few colours; one box for several books keeps it cheap."""
    parts, x = [], left
    while x < right - 0.1:
        end = min(x + rng.uniform(0.08, 0.2), right)
        look = material(rng, (0.0, 1.0), (0.6, 0.9), (0.4, 0.85), STRIPES, 0.05, 0.45)
        parts.append(box("books", look, (x, y[0], bottom), (end, y[1], bottom + rng.uniform(0.18, 0.27))))
        x = end + (rng.uniform(0.05, 0.2) if rng.random() < 0.3 else 0.0)
    return parts


def bed(rng: np.random.Generator) -> Parts:
    """A frame with headboard, a mattress under a patterned blanket, and pillows."""
    width, depth, top = rng.uniform(1.2, 1.9), rng.uniform(1.9, 2.1), rng.uniform(0.48, 0.6)
    blanket = material(rng, (0.55, 0.68), (0.4, 0.7), (0.5, 0.8), rng.choice([STRIPES, CHECKER, CLOTH]), 0.35, 0.55)
    frame, sheet = wood(rng, (0.3, 0.5)), white(rng)
    parts = [
        box("bed", frame, (-width / 2, 0, 0), (width / 2, 0.07, rng.uniform(0.9, 1.2))),
        box("bed", frame, (-width / 2, 0.07, 0.1), (width / 2, depth, 0.3)),
        box("bed", sheet, (-width / 2, 0.07, 0.3), (width / 2, 0.75, top)),
        box("bed", blanket, (-width / 2 - 0.01, 0.75, 0.22), (width / 2 + 0.01, depth + 0.01, top + 0.03)),
    ]
    pillow = material(rng, (0.1, 0.17), (0.25, 0.6), (0.85, 0.98))
    centres = (-width / 4, width / 4) if width > 1.4 else (0.0,)
    parts += [ellipsoid("pillow", pillow, (x, 0.35, top + 0.07), (0.3, 0.2, 0.1)) for x in centres]
    return parts


def sofa(rng: np.random.Generator) -> Parts:
    """Seat, back and arms in one dark cloth, with cushions."""
    width, depth = rng.uniform(1.5, 2.2), rng.uniform(0.8, 0.95)
    cloth = material(rng, rng.choice([0.0, 0.02, 0.92]) + np.array([0, 0.03]), (0.5, 0.75), (0.3, 0.5), CLOTH, 0.06)
    parts = [
        box("sofa", cloth, (-width / 2, 0.2, 0.06), (width / 2, depth, 0.42)),
        box("sofa", cloth, (-width / 2, 0, 0.06), (width / 2, 0.25, 0.85)),
    ]
    for side in (-1, 1):
        x = side * (width / 2 - 0.09)
        parts.append(box("sofa", cloth, (x - 0.09, 0, 0.06), (x + 0.09, depth, 0.58)))
        parts.append(ellipsoid("sofa", cloth, (x, depth / 2, 0.58), (0.1, depth / 2, 0.07)))
    for x in rng.uniform(-width / 2 + 0.35, width / 2 - 0.35, rng.integers(0, 3)):
        pillow = material(rng, (0.1, 0.17), (0.4, 0.8), (0.8, 0.95), STRIPES, 0.1)
        parts.append(ellipsoid("pillow", pillow, (x, 0.36, 0.6), (0.22, 0.1, 0.2)))
    return parts


def chair(rng: np.random.Generator) -> Parts:
    """Four legs, a seat and a back; of wood or dark plastic."""
    look = material(rng, (0.28, 0.4), (0.5, 0.75), (0.25, 0.55)) if rng.random() < 0.6 else dark(rng)
    width, seat, back = rng.uniform(0.42, 0.5), rng.uniform(0.42, 0.48), rng.uniform(0.85, 1.05)
    parts = _legs("chair", look, width, width, seat, 0.025)
    parts.append(box("chair", look, (-width / 2, 0, seat), (width / 2, width, seat + 0.05)))
    parts.append(box("chair", look, (-width / 2, 0, seat + 0.15), (width / 2, 0.05, back)))
    parts += [box("chair", look, (x - 0.02, 0, seat), (x + 0.02, 0.04, back)) for x in (-width / 2.3, width / 2.3)]
    return parts


def table(rng: np.random.Generator) -> Parts:
    """A round or rectangular light wooden table, perhaps with paper, a vase or a box on it."""
    look = wood(rng, (0.75, 0.95))
    height = rng.choice([rng.uniform(0.4, 0.5), rng.uniform(0.7, 0.78)])
    if rng.random() < 0.4:
        radius = rng.uniform(0.4, 0.6)
        parts = [
            cylinder("table", look, (0, radius), (height - 0.04, height), radius),
            cylinder("table", look, (0, radius), (0.03, height), 0.05),
            cylinder("table", look, (0, radius), (0.0, 0.03), radius * 0.5),
        ]
        return parts + _tabletop(rng, 0.3, (radius - 0.2, radius + 0.2), height)
    width, depth = rng.uniform(0.9, 1.5), rng.uniform(0.6, 0.85)
    parts = [box("table", look, (-width / 2, 0, height - 0.04), (width / 2, depth, height))]
    return parts + _legs("table", look, width, depth, height) + _tabletop(rng, width / 2, (0.1, depth - 0.1), height)


def _tabletop(rng: np.random.Generator, half: float, y: tuple[float, float], height: float) -> Parts:
    parts = []
    for _ in range(rng.integers(0, 4)):
        x, v = rng.uniform(-half + 0.15, half - 0.15), rng.uniform(*y)
        kind = rng.integers(4)
        if kind == 0:
            parts.append(box("paper", white(rng), (x - 0.15, v - 0.1, height), (x + 0.15, v + 0.1, height + 0.01)))
        elif kind == 1:
            vase = material(rng, (0.75, 0.9), (0.6, 0.9), (0.5, 0.9))
            parts.append(ellipsoid("otherprop", vase, (x, v, height + 0.13), (0.08, 0.08, 0.14)))
        elif kind == 2:
            parts += _books(rng, x - 0.1, x + 0.1, (v - 0.08, v + 0.08), height)
        else:
            look = material(rng, (0.75, 0.9), (0.6, 0.9), (0.5, 0.9))
            parts.append(cylinder("otherprop", look, (x, v), (height, height + rng.uniform(0.1, 0.25)), 0.05))
    return parts


def desk(rng: np.random.Generator) -> Parts:
    """A dark red-brown table with drawers on one side, paper, books, a screen or a lamp."""
    width, depth, height = rng.uniform(1.2, 1.6), rng.uniform(0.6, 0.75), rng.uniform(0.72, 0.78)
    look = material(rng, (0.02, 0.05), (0.6, 0.75), (0.45, 0.6), WOOD, 0.1)
    side = rng.choice([-1, 1])
    inner, outer = side * (width / 2 - 0.4), side * width / 2
    parts = [
        box("desk", look, (-width / 2, 0, height - 0.05), (width / 2, depth, height)),
        box("desk", look, (min(inner, outer), 0.05, 0.05), (max(inner, outer), depth - 0.05, height - 0.05)),
        box("desk", look, (-outer - 0.02, 0.02, 0), (-outer + 0.02, depth - 0.02, height - 0.05)),
    ]
    parts += _tabletop(rng, width / 2, (0.15, depth - 0.1), height)
    if rng.random() < 0.5:
        parts += _screen(rng, 0.55, 0.34, 0.12, height + 0.1)
        parts.append(cylinder("television", dark(rng), (0, 0.15), (height, height + 0.12), 0.04))
    elif rng.random() < 0.6:
        parts += _small_lamp(rng, -side * (width / 2 - 0.2), depth / 3, height)
    return parts


def _screen(rng: np.random.Generator, width: float, height: float, y: float, bottom: float) -> Parts:
    picture = material(rng, (0.5, 0.62), (0.7, 0.95), (0.35, 0.7), PLAIN, glow=0.5)
    return [
        box("television", dark(rng), (-width / 2, y, bottom), (width / 2, y + 0.05, bottom + height)),
        box(
            "television",
            picture if rng.random() < 0.5 else dark(rng),
            (-width / 2 + 0.03, y + 0.05, bottom + 0.03),
            (width / 2 - 0.03, y + 0.055, bottom + height - 0.03),
        ),
    ]


def _small_lamp(rng: np.random.Generator, x: float, y: float, bottom: float) -> Parts:
    shade = material(rng, (0.1, 0.15), (0.3, 0.55), (0.95, 1.0), glow=rng.uniform(0.5, 1.2))
    return [
        cylinder("lamp", metal(rng), (x, y), (bottom, bottom + 0.03), 0.08),
        cylinder("lamp", metal(rng), (x, y), (bottom, bottom + 0.3), 0.02),
        cylinder("lamp", shade, (x, y), (bottom + 0.25, bottom + 0.45), 0.14),
    ]


def floor_lamp(rng: np.random.Generator) -> Parts:
    """A tall pole with a glowing shade."""
    height = rng.uniform(1.4, 1.7)
    shade = material(rng, (0.1, 0.15), (0.3, 0.55), (0.95, 1.0), glow=rng.uniform(0.5, 1.2))
    return [
        cylinder("lamp", metal(rng), (0, 0.22), (0, 0.04), 0.16),
        cylinder("lamp", metal(rng), (0, 0.22), (0, height), 0.025),
        cylinder("lamp", shade, (0, 0.22), (height - 0.3, height), 0.2),
    ]


def night_stand(rng: np.random.Generator) -> Parts:
    """A small chest, often with a lamp on it."""
    width, depth, height = rng.uniform(0.4, 0.55), 0.4, rng.uniform(0.45, 0.6)
    look = material(rng, (0.0, 0.04), (0.55, 0.75), (0.3, 0.45), WOOD, 0.1)
    parts = [box("night stand", look, (-width / 2, 0, 0.06), (width / 2, depth, height))]
    parts += fronts("night stand", look, width, depth, np.linspace(0.08, height, 3), 1)
    return parts + (_small_lamp(rng, 0, depth / 2, height) if rng.random() < 0.7 else [])


def dresser(rng: np.random.Generator) -> Parts:
    """A wide chest of drawers in yellowish wood, perhaps below a mirror."""
    width, depth, height = rng.uniform(0.9, 1.4), 0.45, rng.uniform(0.75, 1.0)
    look = material(rng, (0.1, 0.13), (0.6, 0.8), (0.6, 0.8), WOOD, 0.1)
    parts = [box("dresser", look, (-width / 2, 0, 0.05), (width / 2, depth, height))]
    parts += fronts("dresser", look, width, depth, np.linspace(0.07, height, 4), 2)
    if rng.random() < 0.5:
        parts += wall_mirror(rng, rng.uniform(0.5, 0.8), height + 0.15, rng.uniform(0.6, 0.8))
    elif rng.random() < 0.5:
        parts += _screen(rng, 0.8, 0.48, 0.2, height + 0.02)
    return parts


def cabinet(rng: np.random.Generator) -> Parts:
    """A tall or low cupboard with doors; a low one may carry a television."""
    look = wood(rng, (0.5, 0.65)) if rng.random() < 0.7 else material(rng, (0.08, 0.12), (0.2, 0.3), (0.8, 0.9))
    low = rng.random() < 0.5
    width, depth = rng.uniform(0.8, 1.6), rng.uniform(0.4, 0.6)
    height = rng.uniform(0.5, 0.8) if low else rng.uniform(1.7, 2.1)
    parts = [box("cabinet", look, (-width / 2, 0, 0.06), (width / 2, depth, height))]
    parts += fronts("cabinet", look, width, depth, np.linspace(0.08, height, 2), 2 if width < 1.2 else 3)
    if low and rng.random() < 0.7:
        parts += _screen(rng, rng.uniform(0.7, 1.1), rng.uniform(0.45, 0.6), 0.15, height + 0.05)
    return parts


def _rack(rng: np.random.Generator, name: str, look: Material, filled: float, width: float, height: float) -> Parts:
    depth, boards = 0.3, int(rng.integers(4, 6))
    levels = np.linspace(0.05, height - 0.03, boards)
    parts = [
        box(name, look, (side * width / 2 - 0.02, 0, 0), (side * width / 2 + 0.02, depth, height)) for side in (-1, 1)
    ]
    for level in levels:
        parts.append(box(name, look, (-width / 2, 0, level), (width / 2, depth, level + 0.03)))
    for level in levels[:-1]:
        if rng.random() < filled:
            parts += _books(rng, -width / 2 + 0.03, width / 2 - 0.03, (0.03, 0.24), level + 0.03)
    return parts


def bookshelf(rng: np.random.Generator) -> Parts:
    """A wooden shelf with a back, full of books."""
    look, width, height = wood(rng, (0.35, 0.5)), rng.uniform(0.8, 1.2), rng.uniform(1.5, 2.1)
    back = [box("bookshelf", look, (-width / 2, 0, 0.0), (width / 2, 0.02, height))]
    return back + _rack(rng, "bookshelf", look, 0.9, width, height)


def shelves(rng: np.random.Generator) -> Parts:
    """A bluish metal rack, with boxes and a few books."""
    look, width = material(rng, (0.55, 0.6), (0.25, 0.45), (0.5, 0.7)), rng.uniform(0.9, 1.3)
    height = rng.uniform(1.5, 2.0)
    parts = _rack(rng, "shelves", look, 0.25, width, height)
    for level in np.linspace(0.05, height - 0.03, 4)[:-1]:
        if rng.random() < 0.5:
            x = rng.uniform(-width / 4, width / 4)
            parts.append(box("box", _cardboard(rng), (x - 0.15, 0.03, level + 0.04), (x + 0.15, 0.27, level + 0.25)))
    return parts


def _cardboard(rng: np.random.Generator) -> Material:
    return material(rng, (0.08, 0.1), (0.35, 0.5), (0.7, 0.85), STRIPES, 0.35, 0.8)


def carton(rng: np.random.Generator) -> Parts:
    """One or two cardboard boxes on the floor."""
    width, depth, height = rng.uniform(0.3, 0.6, 3)
    parts = [box("box", _cardboard(rng), (-width / 2, 0, 0), (width / 2, depth, height))]
    if rng.random() < 0.4:
        upper = (width / 2 - 0.05, depth - 0.03, height + rng.uniform(0.2, 0.3))
        parts.append(box("box", _cardboard(rng), (-width / 2 + 0.08, 0.04, height), upper))
    return parts


def counter(rng: np.random.Generator) -> Parts:
    """A kitchen counter: doors below, a grey slab, often with a sink."""
    width, depth, height = rng.uniform(1.4, 2.4), 0.6, rng.uniform(0.86, 0.94)
    front, slab = wood(rng, (0.5, 0.65)), material(rng, (0.5, 0.6), (0.05, 0.15), (0.35, 0.55), CLOTH, 0.05)
    parts = [
        box("cabinet", front, (-width / 2, 0, 0.08), (width / 2, depth - 0.04, height - 0.05)),
        box("counter", slab, (-width / 2, 0, height - 0.05), (width / 2, depth, height)),
        box("counter", slab, (-width / 2, 0, height), (width / 2, 0.02, height + 0.12)),
    ]
    parts += fronts("cabinet", front, width, depth - 0.04, np.array([0.1, height - 0.06]), 4)
    if rng.random() < 0.7:
        x = rng.uniform(-width / 4, width / 4)
        parts.append(box("sink", metal(rng), (x - 0.28, 0.12, height), (x + 0.28, 0.5, height + 0.02)))
        parts.append(cylinder("sink", metal(rng), (x, 0.08), (height, height + 0.28), 0.02))
        parts.append(box("sink", metal(rng), (x - 0.02, 0.08, height + 0.26), (x + 0.02, 0.28, height + 0.29)))
    for _ in range(rng.integers(0, 3)):
        x = rng.uniform(-width / 2 + 0.15, width / 2 - 0.15)
        look = material(rng, (0.75, 0.9), (0.6, 0.9), (0.5, 0.9))
        parts.append(cylinder("otherprop", look, (x, 0.2), (height, height + rng.uniform(0.1, 0.3)), 0.07))
    return parts


def refridgerator(rng: np.random.Generator) -> Parts:
    """A tall white or steel block of two doors with handles."""
    look = material(rng, (0.5, 0.58), (0.03, 0.12), (0.8, 0.95))
    width, depth, height = rng.uniform(0.65, 0.85), 0.65, rng.uniform(1.6, 1.85)
    split = height * rng.uniform(0.6, 0.7)
    parts = [box("refridgerator", look, (-width / 2, 0, 0.04), (width / 2, depth, height))]
    for bottom, top in ((0.08, split), (split + 0.02, height)):
        parts.append(box("refridgerator", look, (-width / 2, depth, bottom), (width / 2, depth + 0.05, top)))
        handle = (-width / 2 + 0.08, depth + 0.09)
        parts.append(cylinder("refridgerator", dark(rng), handle, (bottom + 0.1, min(top - 0.05, bottom + 0.5)), 0.02))
    return parts


def toilet(rng: np.random.Generator) -> Parts:
    """A white bowl with a tank."""
    look = white(rng)
    return [
        box("toilet", look, (-0.22, 0, 0.38), (0.22, 0.2, 0.8)),
        cylinder("toilet", look, (0, 0.42), (0, 0.3), 0.14),
        ellipsoid("toilet", look, (0, 0.44, 0.33), (0.2, 0.27, 0.12)),
    ]


def wash_basin(rng: np.random.Generator) -> Parts:
    """A white basin on a pillar."""
    look = material(rng, (0.5, 0.55), (0.02, 0.1), (0.85, 0.98))
    return [
        cylinder("sink", look, (0, 0.22), (0, 0.75), 0.09),
        ellipsoid("sink", look, (0, 0.25, 0.8), (0.32, 0.25, 0.14)),
        cylinder("sink", metal(rng), (0, 0.06), (0.85, 1.05), 0.02),
    ]


def bathtub(rng: np.random.Generator) -> Parts:
    """A white tub with a water surface between its rims, perhaps behind a shower curtain."""
    look, water = white(rng), material(rng, (0.48, 0.55), (0.3, 0.5), (0.7, 0.85), CLOTH, 0.2)
    width, depth, height = rng.uniform(1.5, 1.8), 0.75, rng.uniform(0.5, 0.6)
    x = width / 2
    parts = [
        box("bathtub", look, (-x, 0, 0), (x, 0.08, height)),
        box("bathtub", look, (-x, depth - 0.08, 0), (x, depth, height)),
        box("bathtub", look, (-x, 0.08, 0), (-x + 0.1, depth - 0.08, height)),
        box("bathtub", look, (x - 0.1, 0.08, 0), (x, depth - 0.08, height)),
        box("bathtub", water, (-x + 0.1, 0.08, 0), (x - 0.1, depth - 0.08, height * 0.6)),
    ]
    if rng.random() < 0.6:
        end = rng.uniform(-0.3, 0.3) * width
        cloth = material(rng, (0.42, 0.52), (0.3, 0.6), (0.8, 0.95), STRIPES, 0.15, 0.7)
        parts.append(box("shower curtain", cloth, (-x, depth + 0.01, 0.15), (end, depth + 0.05, 1.95)))
        parts.append(box("shower curtain", metal(rng), (-x, depth + 0.02, 1.95), (x, depth + 0.04, 1.98)))
    return parts


def bag(rng: np.random.Generator) -> Parts:
    """A bright bag with a handle."""
    look = material(rng, (0.88, 0.96), (0.6, 0.85), (0.5, 0.75), CLOTH, 0.05)
    return [
        ellipsoid("bag", look, (0, 0.2, 0.18), (0.26, 0.16, 0.2)),
        box("bag", dark(rng), (-0.1, 0.18, 0.34), (0.1, 0.22, 0.42)),
    ]


def clothes(rng: np.random.Generator) -> Parts:
    """A heap of clothes on the floor."""
    parts = []
    for _ in range(3):
        look = material(rng, (0.2, 0.35), (0.4, 0.8), (0.5, 0.9), rng.choice([CLOTH, STRIPES]), 0.06, 0.55)
        x, y, height = rng.uniform(-0.2, 0.2), rng.uniform(0.15, 0.45), rng.uniform(0.08, 0.18)
        parts.append(ellipsoid("clothes", look, (x, y, height * 0.6), (rng.uniform(0.2, 0.3), 0.2, height)))
    return parts


def person(rng: np.random.Generator) -> Parts:
    """Somebody standing."""
    skin = material(rng, (0.05, 0.08), (0.35, 0.5), (0.55, 0.9))
    shirt, trousers = material(rng, (-0.03, 0.12), (0.7, 0.9), (0.6, 0.9)), dark(rng)
    height = rng.uniform(1.55, 1.85)
    hip, neck = height * 0.5, height * 0.84
    parts = [cylinder("person", trousers, (x, 0.25), (0, hip), 0.08) for x in (-0.1, 0.1)]
    parts += [cylinder("person", shirt, (x, 0.25), (hip * 0.95, neck - 0.05), 0.05) for x in (-0.24, 0.24)]
    parts.append(ellipsoid("person", shirt, (0, 0.25, (hip + neck) / 2), (0.2, 0.14, (neck - hip) * 0.62)))
    parts.append(ellipsoid("person", skin, (0, 0.25, height - 0.12), (0.09, 0.1, 0.13)))
    return parts


def stool(rng: np.random.Generator) -> Parts:
    """A padded stool ("otherfurniture")."""
    look = material(rng, (0.7, 0.78), (0.4, 0.65), (0.45, 0.7), CLOTH, 0.06)
    radius, height = rng.uniform(0.22, 0.3), rng.uniform(0.38, 0.5)
    return [
        cylinder("otherfurniture", look, (0, radius), (height - 0.12, height), radius),
        cylinder("otherfurniture", dark(rng), (0, radius), (0, height), radius * 0.4),
    ]


def pillar(rng: np.random.Generator) -> Parts:
    """A column from floor to ceiling ("otherstructure")."""
    look = material(rng, (0.1, 0.15), (0.1, 0.25), (0.6, 0.8))
    return [cylinder("otherstructure", look, (0, 0.25), (0, 3.2), rng.uniform(0.12, 0.2))]


def rug(rng: np.random.Generator) -> Parts:
    """A flat mat on the floor."""
    look = material(rng, (0.93, 1.02), (0.6, 0.8), (0.45, 0.65), rng.choice([STRIPES, CHECKER]), 0.3, 0.5)
    width, depth = rng.uniform(1.0, 2.2), rng.uniform(0.8, 1.5)
    return [box("floor mat", look, (-width / 2, 0, 0), (width / 2, depth, 0.015))]
