"""Random rooms: which furniture, where, under which light, and from where they are seen.

The world has its origin in a corner of the floor, x and y along the walls and z up, in metres. Furniture stands
with its back against a wall or free in the room, never in one another's way; what occurs together follows the
kind of room (a bathtub is not found beside a whiteboard).
"""

import dataclasses

import numpy as np

from lim_jax.data import nyu40
from lim_jax.data.rooms import furniture, parts, walls
from lim_jax.data.rooms.parts import Maker, Material, Part

# Kinds of rooms: (what stands at walls, what hangs on walls, what stands free), each with its probability.
_ROOMS: tuple[tuple[dict[Maker, float], dict[Maker, float], dict[Maker, float]], ...] = (
    (  # bedroom
        {
            furniture.bed: 1.0,
            furniture.night_stand: 0.9,
            furniture.dresser: 0.7,
            furniture.cabinet: 0.4,
            furniture.chair: 0.4,
            furniture.floor_lamp: 0.2,
            furniture.bookshelf: 0.25,
        },
        {walls.window: 0.8, walls.picture: 0.8, walls.door: 0.6, walls.mirror: 0.3},
        {furniture.rug: 0.5, furniture.clothes: 0.5, furniture.bag: 0.4, furniture.carton: 0.2},
    ),
    (  # living room
        {
            furniture.sofa: 1.0,
            furniture.cabinet: 0.7,
            furniture.bookshelf: 0.6,
            furniture.floor_lamp: 0.6,
            furniture.shelves: 0.2,
            walls.radiator: 0.3,
            furniture.chair: 0.3,
        },
        {walls.window: 0.9, walls.picture: 0.9, walls.door: 0.5},
        {
            furniture.table: 0.8,
            furniture.rug: 0.6,
            furniture.stool: 0.4,
            furniture.person: 0.2,
            furniture.bag: 0.2,
        },
    ),
    (  # kitchen
        {
            furniture.counter: 1.0,
            furniture.refridgerator: 0.9,
            furniture.cabinet: 0.4,
            furniture.shelves: 0.3,
            walls.radiator: 0.3,
        },
        {walls.wall_cabinet: 0.9, walls.window: 0.7, walls.door: 0.5, walls.towel: 0.4},
        {
            furniture.table: 0.9,
            furniture.chair: 0.9,
            furniture.stool: 0.4,
            furniture.carton: 0.3,
            furniture.person: 0.2,
        },
    ),
    (  # office
        {
            furniture.desk: 1.0,
            furniture.bookshelf: 0.6,
            furniture.shelves: 0.6,
            furniture.cabinet: 0.5,
            furniture.pillar: 0.3,
            walls.radiator: 0.3,
        },
        {walls.whiteboard: 0.9, walls.window: 0.6, walls.door: 0.6, walls.picture: 0.3},
        {furniture.chair: 1.0, furniture.carton: 0.5, furniture.bag: 0.5, furniture.person: 0.4, furniture.table: 0.3},
    ),
    (  # bathroom
        {
            furniture.bathtub: 0.9,
            furniture.toilet: 0.9,
            furniture.wash_basin: 0.8,
            furniture.cabinet: 0.3,
            walls.radiator: 0.4,
        },
        {walls.mirror: 0.9, walls.towel: 0.9, walls.window: 0.4, walls.door: 0.6},
        {furniture.rug: 0.7, furniture.clothes: 0.4, furniture.stool: 0.3},
    ),
)
_SMALLEST_ROOM, _LARGEST_ROOM = (2.8, 3.2), (4.2, 4.8)
_TRIES = 10  # to find a free place for a piece
_FREE_AROUND_CAMERA = 0.6  # metres


@dataclasses.dataclass(frozen=True)
class Placed:
    """A piece of furniture in the room.

    Attributes:
      parts: its primitives, in its own frame.
      position: world coordinates of that frame's origin.
      yaw: angle about z from the world's axes to the frame's, radians.
      casts_shadow: False for what lies flat on a wall or the floor.
    """

    parts: tuple[Part, ...]
    position: np.ndarray
    yaw: float
    casts_shadow: bool = True


@dataclasses.dataclass(frozen=True)
class Scene:
    """A furnished room.

    Attributes:
      size: width (x), depth (y) and height (z) in metres.
      faces: materials of the walls x=0, x=width, y=0, y=depth, of the floor and of the ceiling.
      pieces: the furniture.
      lamp: world position of the lamp that casts shadows.
      daylight: world position of a broad light without shadows.
      brightness: of lamp, daylight and ambient light.
      tint: red, green, blue of the lamp.
    """

    size: np.ndarray
    faces: tuple[Material, ...]
    pieces: tuple[Placed, ...]
    lamp: np.ndarray
    daylight: np.ndarray
    brightness: tuple[float, float, float]
    tint: np.ndarray


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
      position: world coordinates in metres.
      rotation: 3×3; its columns are the camera's x (right), y (into the scene) and z (up) in the world.
      field_of_view: horizontal, radians.
    """

    position: np.ndarray
    rotation: np.ndarray
    field_of_view: float


FACE_LABELS = tuple(nyu40.CLASS_NAMES.index(name) for name in ("wall", "wall", "wall", "wall", "floor", "ceiling"))


def random_view(rng: np.random.Generator) -> tuple[Scene, Camera]:
    """Returns a random room and a camera in it that looks across it."""
    at_walls, on_walls, free = _ROOMS[rng.integers(len(_ROOMS))]
    size = np.array([rng.uniform(a, b) for a, b in zip(_SMALLEST_ROOM, _LARGEST_ROOM, strict=True)] + [0.0])
    if rng.random() < 0.5:
        size[[0, 1]] = size[[1, 0]]
    size[2] = rng.uniform(2.35, 2.8)
    camera = _random_camera(rng, size)
    pieces = _furnish(rng, size, camera, at_walls, on_walls, free)
    daylight = rng.uniform([0.1, 0.1, 0.5], [0.9, 0.9, 0.8]) * size
    daylight[rng.integers(2)] = 0.0
    scene = Scene(
        size=size,
        faces=_room_materials(rng),
        pieces=tuple(pieces),
        lamp=rng.uniform([0.3, 0.3, 0.85], [0.7, 0.7, 0.93]) * size,
        daylight=daylight,
        brightness=(rng.uniform(1.0, 1.8), rng.uniform(0.1, 0.6), rng.uniform(0.3, 0.5)),
        tint=np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.7, 1.0)]),
    )
    return scene, camera


def _room_materials(rng: np.random.Generator) -> tuple[Material, ...]:
    pattern = rng.choice([parts.PLAIN, parts.PLAIN, parts.CLOTH, parts.STRIPES])
    wall = parts.material(rng, (0.05, 0.65), (0.03, 0.16), (0.78, 0.95), pattern, 0.25, 0.92)
    accent = parts.material(rng, (0.05, 0.65), (0.1, 0.25), (0.7, 0.9)) if rng.random() < 0.3 else wall
    ceiling = parts.material(rng, (0.1, 0.17), (0.0, 0.04), (0.93, 1.0))
    kind = rng.integers(3)
    if kind == 0:
        floor = parts.material(rng, (0.06, 0.09), (0.45, 0.6), (0.45, 0.75), parts.WOOD, 0.16, 0.65)
    elif kind == 1:
        floor = parts.material(rng, (0.06, 0.12), (0.1, 0.25), (0.6, 0.8), parts.CHECKER, 0.8, 0.75)
    else:
        floor = parts.material(rng, (0.05, 0.11), (0.2, 0.4), (0.4, 0.6), parts.CLOTH, 0.08, 0.7)
    sides = [wall] * 4
    sides[rng.integers(4)] = accent
    return (*sides, floor, ceiling)


def _random_camera(rng: np.random.Generator, size: np.ndarray) -> Camera:
    """Near one side of the room, at a standing or sitting person's height, aimed at its middle and slightly down."""
    position = np.array([rng.uniform(0.15, 0.85), rng.uniform(0.06, 0.22), 0.0]) * size
    aim = np.array([rng.uniform(0.2, 0.8), rng.uniform(0.6, 1.0), 0.0]) * size
    side = rng.integers(4)
    if side % 2:
        position[:2], aim[:2] = (v[[1, 0]] / size[[1, 0]] * size[:2] for v in (position, aim))
    if side >= 2:
        position[:2], aim[:2] = size[:2] - position[:2], size[:2] - aim[:2]
    position[2] = rng.uniform(1.1, 1.7)
    yaw = np.arctan2(aim[0] - position[0], aim[1] - position[1]) + rng.normal(0, 0.1)
    pitch = np.deg2rad(rng.normal(-11, 6))
    roll = np.deg2rad(rng.normal(0, 1.5))
    return Camera(position, _rotation(yaw, pitch, roll), np.deg2rad(rng.uniform(56, 72)))


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Returns the camera's axes as columns: `yaw` from y towards x, `pitch` upwards, `roll` about its view."""
    (sy, cy), (sp, cp), (sr, cr) = ((np.sin(a), np.cos(a)) for a in (yaw, pitch, roll))
    turn = np.array([[cy, sy, 0], [-sy, cy, 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    bank = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    return turn @ tilt @ bank


class _Floor:
    """What is still free: of the floor, and of each wall at the height of things that hang."""

    def __init__(self, size: np.ndarray, camera: np.ndarray):
        around = np.array([_FREE_AROUND_CAMERA, _FREE_AROUND_CAMERA])
        self._size = size
        self._taken: list[tuple[np.ndarray, np.ndarray]] = [
            (np.append(camera[:2] - around, 0.0), np.append(camera[:2] + around, 3.0))
        ]

    def claim(self, lower: np.ndarray, upper: np.ndarray) -> bool:
        """Takes a box of the room if nothing is in it."""
        if np.any(lower[:2] < -1e-3) or np.any(upper[:2] > self._size[:2] + 1e-3) or upper[2] > self._size[2]:
            return False
        if any(np.all(lower < top) and np.all(bottom < upper) for bottom, top in self._taken):
            return False
        self._taken.append((lower, upper))
        return True


def _furnish(
    rng: np.random.Generator,
    size: np.ndarray,
    camera: Camera,
    at_walls: dict[Maker, float],
    on_walls: dict[Maker, float],
    free: dict[Maker, float],
) -> list[Placed]:
    """Draws pieces and finds places for them; a piece for which there is none is left out."""
    room = _Floor(size, camera.position)
    pieces = []
    for makers, clearance, against_wall in ((at_walls, 0.05, True), (on_walls, 0.02, True), (free, 0.05, False)):
        for maker, probability in makers.items():
            for _ in range(2 if maker in (furniture.chair, walls.picture, walls.window) else 1):
                if rng.random() < probability:
                    piece = _place(rng, maker, size, room, camera, clearance, against_wall)
                    pieces += [piece] if piece else []
    return pieces


def _place(
    rng: np.random.Generator,
    maker: Maker,
    size: np.ndarray,
    room: _Floor,
    camera: Camera,
    clearance: float,
    against_wall: bool,
) -> Placed | None:
    pieces = tuple(maker(rng))
    if maker is furniture.pillar:  # from floor to ceiling, whatever the room's height
        pieces = tuple(dataclasses.replace(p, params=(*p.params[:3], size[2] - 0.001, *p.params[4:])) for p in pieces)
    corners = [part.bounds() for part in pieces]
    lower, upper = np.min([c[0] for c in corners], axis=0), np.max([c[1] for c in corners], axis=0)
    for _ in range(_TRIES):
        wall = _wall_in_view(rng, camera)
        yaw = wall * np.pi / 2
        turn = np.round(np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]))
        room_size = size[:2] if wall % 2 == 0 else size[[1, 0]]
        margin = room_size[0] / 2 - np.array([-lower[0], upper[0]]) - 0.03
        if margin.min() <= 0:
            continue
        along = rng.uniform(-margin[0], margin[1])
        out = 0.0 if against_wall else rng.uniform(0.3, max(0.31, room_size[1] - upper[1] - 0.3))
        centre = size[:2] / 2 + turn @ np.array([along, out - room_size[1] / 2])
        ends = np.stack([turn @ lower[:2], turn @ upper[:2]]) + centre
        low, high = np.append(ends.min(0), lower[2]), np.append(ends.max(0), upper[2])
        space = np.array([clearance, clearance, 0.0]) * (not against_wall)
        if room.claim(low - space, high + space) or maker is furniture.rug:
            spin = rng.normal(0, 0.1) if not against_wall and maker is not furniture.rug else 0.0
            flat = upper[2] < 0.03 or upper[1] < 0.06
            return Placed(pieces, np.append(centre, 0.0), float(yaw + spin), casts_shadow=not flat)
    return None


def _wall_in_view(rng: np.random.Generator, camera: Camera) -> int:
    """Draws a wall (0: y=0, 1: x=width, 2: y=depth, 3: x=0), the more likely the more the camera faces it."""
    towards = np.array([[0, -1], [1, 0], [0, 1], [-1, 0]]) @ camera.rotation[:2, 1]
    weights = np.cumsum(np.clip(towards + 0.5, 0.05, None))
    return int(np.searchsorted(weights, rng.random() * weights[-1]))
