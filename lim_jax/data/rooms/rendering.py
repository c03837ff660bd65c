"""Ray casting of `scenes` in NumPy: exact labels, depth and normals, and a photograph-like image.

Rays lie on a grid of half pixels, (2H+1)×(2W+1), whose odd nodes are the pixels' centres: there labels, depth and
normals are exact; the image is the light of all rays under a tent filter one pixel wide.

Camera frame, as in NYU-v2's files: x right, y into the scene, z up. Rays have y = 1, so the ray parameter at a
hit *is* the depth. On the real frames this holds: normals agree with those of the back-projected depth in these
axes and in no permutation or mirror image of them; a floor has z near +1 (0.95 with y = -0.23 for a camera that
looks 13 degrees down: the frame is the camera's, not gravity's) and a wall that faces the camera y near -1.

Arrays of vectors have their components first: (3, n) keeps each component contiguous.
"""

import dataclasses

import numpy as np

from lim_jax.data.rooms.parts import BOX, CHECKER, CLOTH, CYLINDER, ELLIPSOID, FACE, STRIPES, WOOD
from lim_jax.data.rooms.scenes import FACE_LABELS, Camera, Placed, Scene

_NEAR = 1e-3
_LAMP_RADIUS = 0.12  # softens shadows
_SKIRTING = 0.08  # height of the white board where walls meet the floor


@dataclasses.dataclass(frozen=True)
class View:
    """What the camera sees, at the centres of H×W pixels.

    Attributes:
      image: float32 H×W×3, linear light before exposure.
      labels: uint8 H×W, NYU-40 class indices.
      depth: float32 H×W, metres along the camera's y.
      normals: float32 H×W×3, unit, in the camera's frame.
      parts: int32 H×W, which primitive was hit; two pixels of one part lie on the same object.
    """

    image: np.ndarray
    labels: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    parts: np.ndarray


def camera_rays(camera: Camera, image_size: tuple[int, int]) -> np.ndarray:
    """Returns float32 (3, 2H+1, 2W+1): rays (x, 1, z) in the camera's frame; [:, 1::2, 1::2] are pixel centres."""
    height, width = image_size
    focal = width / 2 / np.tan(camera.field_of_view / 2)
    x = (np.arange(2 * width + 1) / 2 - width / 2) / focal
    z = (height / 2 - np.arange(2 * height + 1) / 2) / focal
    rays = np.ones((3, 2 * height + 1, 2 * width + 1), np.float32)
    rays[0], rays[2] = x, z[:, None]
    return rays


def render(rng: np.random.Generator, scene: Scene, camera: Camera, image_size: tuple[int, int]) -> View:
    """Renders `scene`; `rng` draws the points of the lamp that rays see."""
    parts = _Parts(scene)
    rays = camera_rays(camera, image_size)
    shape = rays.shape[1:]
    world = (camera.rotation.astype(np.float32) @ rays.reshape(3, -1)).reshape(rays.shape)
    depth, part = _first_hits(scene, parts, camera, rays, world)
    flat = world.reshape(3, -1)
    points = camera.position.astype(np.float32)[:, None] + flat * depth.reshape(-1)
    local, normals = _surface(scene, parts, part.reshape(-1), points, flat)
    light = _shade(rng, scene, parts, part.reshape(-1), points, local, normals)
    in_camera = (camera.rotation.T.astype(np.float32) @ normals).reshape(rays.shape)
    centre = np.s_[1::2, 1::2]
    return View(
        image=_tent(light.reshape(3, *shape)),
        labels=parts.label[part[centre]].astype(np.uint8),
        depth=np.ascontiguousarray(depth[centre]),
        normals=np.ascontiguousarray(np.moveaxis(in_camera[:, *centre], 0, -1)),
        parts=part[centre],
    )


class _Parts:
    """All primitives of a scene as tables with one row each: first the room's six faces, then the furniture's."""

    def __init__(self, scene: Scene):
        parts = [part for piece in scene.pieces for part in piece.parts]
        faces = len(scene.faces)
        self.kind = np.array([FACE] * faces + [p.kind for p in parts])
        self.label = np.array([*FACE_LABELS, *(p.label for p in parts)])
        self.params = np.array([[0.0] * 6] * faces + [p.params for p in parts], np.float32)
        self.material = np.array([m.row() for m in (*scene.faces, *(p.material for p in parts))], np.float32)
        self.piece = np.array([-1] * faces + [i for i, piece in enumerate(scene.pieces) for _ in piece.parts])
        self.first = faces + np.cumsum([0] + [len(piece.parts) for piece in scene.pieces])

    def rows(self, piece: int) -> np.ndarray:
        """Returns the row numbers of a piece's primitives."""
        return np.arange(self.first[piece], self.first[piece + 1])

    def bounds(self, piece: Placed) -> np.ndarray:
        """Returns a box (1, 6) around a piece, in its own frame."""
        corners = [part.bounds() for part in piece.parts]
        lower, upper = np.min([c[0] for c in corners], axis=0), np.max([c[1] for c in corners], axis=0)
        return np.concatenate([lower, upper])[None].astype(np.float32)


def _to_piece(piece: Placed) -> np.ndarray:
    """Returns the rotation from world to the piece's frame."""
    c, s = np.cos(piece.yaw), np.sin(piece.yaw)
    return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32)


def _first_hits(
    scene: Scene, parts: _Parts, camera: Camera, rays: np.ndarray, world: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns depth (float32) and row of the first primitive on each ray."""
    position = camera.position.astype(np.float32)
    depth, part = _room_hits(scene, position, world)
    for index, piece in enumerate(scene.pieces):
        window = _screen_window(piece, parts, camera, rays)
        turn = _to_piece(piece)
        origin = turn @ (position - piece.position.astype(np.float32))
        directions = (turn @ world[:, *window].reshape(3, -1)).astype(np.float32)
        seen = np.flatnonzero(_hit_boxes(parts.bounds(piece), origin[:, None], directions)[0] < np.inf)
        if not seen.size:
            continue
        rows = parts.rows(index)
        t = _hits(parts, rows, np.broadcast_to(origin[:, None], (3, seen.size)), directions[:, seen])
        best = np.argmin(t, axis=0)
        nearest = t[best, np.arange(seen.size)]
        grid_rows, grid_columns = np.divmod(seen, window[1].stop - window[1].start)
        where = (grid_rows + window[0].start, grid_columns + window[1].start)
        closer = nearest < depth[where]
        where = (where[0][closer], where[1][closer])
        depth[where] = nearest[closer]
        part[where] = rows[best[closer]]
    return depth, part


def _room_hits(scene: Scene, position: np.ndarray, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays from inside the room leave it."""
    depth = np.full(world.shape[1:], np.inf, np.float32)
    part = np.zeros(world.shape[1:], np.int32)
    for axis in range(3):
        forward = world[axis] > 0
        distance = np.where(forward, np.float32(scene.size[axis]), np.float32(0)) - position[axis]
        t = np.abs(distance) / np.maximum(np.abs(world[axis]), np.float32(1e-9))
        closer = t < depth
        depth = np.where(closer, t, depth)
        part = np.where(closer, 2 * axis + forward, part)
    return depth, part


def _screen_window(piece: Placed, parts: _Parts, camera: Camera, rays: np.ndarray) -> tuple[slice, slice]:
    """Returns the part of the ray grid that can see the piece."""
    rows, columns = rays.shape[1:]
    bounds = parts.bounds(piece)[0].reshape(2, 3)
    corners = np.stack(np.meshgrid(*bounds.T, indexing="ij")).reshape(3, -1)
    x, y, z = camera.rotation.T @ (_to_piece(piece).T @ corners + (piece.position - camera.position)[:, None])
    if y.max() <= _NEAR:
        return slice(0, 0), slice(0, 0)
    if y.min() < 0.05:
        return slice(0, rows), slice(0, columns)
    step = rays[0, 0, 1] - rays[0, 0, 0]
    left, right = (columns - 1) / 2 + np.array([(x / y).min(), (x / y).max()]) / step
    top, bottom = (rows - 1) / 2 - np.array([(z / y).max(), (z / y).min()]) / step
    return _clipped(top, bottom, rows), _clipped(left, right, columns)


def _clipped(low: float, high: float, size: int) -> slice:
    start, stop = np.clip([np.floor(low), np.ceil(high) + 1], 0, size).astype(int)
    return slice(start, max(start, stop))


def _hits(parts: _Parts, rows: np.ndarray, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Returns (len(rows), n): the ray parameter at which each primitive is entered, inf where it is not."""
    t = np.empty((len(rows), directions.shape[1]), np.float32)
    for kind, hit in ((BOX, _hit_boxes), (CYLINDER, _hit_cylinders), (ELLIPSOID, _hit_ellipsoids)):
        chosen = parts.kind[rows] == kind
        if chosen.any():
            t[chosen] = hit(parts.params[rows[chosen]], origins, directions)
    return t


def _nonzero(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 1e-9, np.float32(1e-9), x)


def _slab(
    lower: np.ndarray, upper: np.ndarray, origin: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (k, n) parameters at which rays enter and leave the slabs between `lower` and `upper` (k,)."""
    inverse = 1 / _nonzero(direction)
    a, b = (lower[:, None] - origin) * inverse, (upper[:, None] - origin) * inverse
    return np.minimum(a, b), np.maximum(a, b)


def _hit_boxes(params: np.ndarray, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    enter, leave = _slab(params[:, 0], params[:, 3], origins[0], directions[0])
    for axis in (1, 2):
        a, b = _slab(params[:, axis], params[:, 3 + axis], origins[axis], directions[axis])
        enter, leave = np.maximum(enter, a), np.minimum(leave, b)
    return np.where((enter < leave) & (enter > _NEAR), enter, np.float32(np.inf))


def _hit_cylinders(params: np.ndarray, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    enter, leave = _slab(params[:, 2], params[:, 3], origins[2], directions[2])
    x, y = origins[0] - params[:, 0, None], origins[1] - params[:, 1, None]
    a = _nonzero(directions[0] ** 2 + directions[1] ** 2)
    b = x * directions[0] + y * directions[1]
    inside = b * b - a * (x * x + y * y - params[:, 4, None] ** 2)
    root = np.sqrt(np.maximum(inside, 0))
    enter, leave = np.maximum(enter, (-b - root) / a), np.minimum(leave, (-b + root) / a)
    return np.where((inside > 0) & (enter < leave) & (enter > _NEAR), enter, np.float32(np.inf))


def _hit_ellipsoids(params: np.ndarray, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    a, b, c = 0.0, 0.0, -1.0
    for axis in range(3):
        radius = params[:, 3 + axis, None]
        o, d = (origins[axis] - params[:, axis, None]) / radius, directions[axis] / radius
        a, b, c = a + d * d, b + o * d, c + o * o
    inside = b * b - a * c
    enter = (-b - np.sqrt(np.maximum(inside, 0))) / a
    return np.where((inside > 0) & (enter > _NEAR), enter, np.float32(np.inf))


def _surface(
    scene: Scene, parts: _Parts, part: np.ndarray, points: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns, for hits on `part`, (3, n) points in the frame of what was hit and unit normals in the world."""
    local, normals = points.copy(), np.zeros_like(points)
    on_room = np.flatnonzero(part < 6)
    axis, far = np.divmod(part[on_room], 2)
    normals[axis, on_room] = 1 - 2 * far
    piece_of = parts.piece[part]
    for index in np.unique(piece_of[piece_of >= 0]):
        where = np.flatnonzero(piece_of == index)
        piece = scene.pieces[index]
        turn = _to_piece(piece)
        at = turn @ (points[:, where] - piece.position.astype(np.float32)[:, None])
        local[:, where] = at
        normals[:, where] = turn.T @ _part_normals(parts, part[where], at, turn @ directions[:, where])
    return local, normals / np.linalg.norm(normals, axis=0)


def _part_normals(parts: _Parts, part: np.ndarray, at: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Returns outward normals at points `at` of primitives, in the piece's frame; length not 1 everywhere."""
    kind, params = parts.kind[part], parts.params[part].T
    normals = np.zeros_like(at)
    boxes = np.flatnonzero(kind == BOX)
    lower, upper = params[:3, boxes], params[3:, boxes]
    facing = directions[:, boxes] < 0
    off = np.abs(np.where(facing, upper, lower) - at[:, boxes])  # distance to the sides that face the ray
    side = np.argmin(off, axis=0)
    normals[side, boxes] = np.where(facing[side, np.arange(boxes.size)], 1, -1)
    round_ = np.flatnonzero(kind == ELLIPSOID)
    normals[:, round_] = (at[:, round_] - params[:3, round_]) / params[3:, round_] ** 2
    cylinders = np.flatnonzero(kind == CYLINDER)
    p, centre = at[:, cylinders], params[:, cylinders]
    radial = p[:2] - centre[:2]
    cap = np.where(directions[2, cylinders] < 0, centre[3], centre[2])
    on_cap = np.abs(p[2] - cap) < np.abs(np.hypot(*radial) - centre[4])
    normals[:2, cylinders] = np.where(on_cap, 0, radial)
    normals[2, cylinders] = np.where(on_cap, -np.sign(directions[2, cylinders]), 0)
    return normals


def _shade(
    rng: np.random.Generator,
    scene: Scene,
    parts: _Parts,
    part: np.ndarray,
    points: np.ndarray,
    local: np.ndarray,
    normals: np.ndarray,
) -> np.ndarray:
    """Returns (3, n) linear light: diffuse surfaces under a lamp with shadows, daylight and ambient light."""
    lamp, daylight, ambient = scene.brightness
    albedo = _albedo(parts.material, part, local, normals)
    albedo[:, (part < 4) & (points[2] < _SKIRTING)] = 0.7
    centre = scene.lamp.astype(np.float32)[:, None]
    start = points + np.float32(4e-3) * normals
    direct = _irradiance(start, normals, centre)
    lit = np.flatnonzero(direct)
    target = centre + np.float32(_LAMP_RADIUS) * rng.standard_normal((3, lit.size), np.float32)
    direct[lit] *= ~_shadowed(scene, parts, start[:, lit], target)
    fill = _irradiance(start, normals, scene.daylight.astype(np.float32)[:, None])
    around = _openness(scene, points, normals) * (0.8 + 0.2 * normals[2])
    white = (daylight * fill + ambient * around)[None]
    light = white + lamp * direct * scene.tint.astype(np.float32)[:, None]
    return albedo * (light + parts.material[part, 8])


def _irradiance(points: np.ndarray, normals: np.ndarray, light: np.ndarray) -> np.ndarray:
    towards = light - points
    square = np.einsum("cn,cn->n", towards, towards)
    cosine = np.maximum(np.einsum("cn,cn->n", towards, normals), 0) / np.sqrt(square)
    return cosine / (0.6 + 0.2 * square)


def _openness(scene: Scene, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Ambient light is weaker in corners: the share that walls, floor and ceiling nearby leave."""
    share = np.ones(points.shape[1], np.float32)
    for axis in range(3):
        for distance in (points[axis], np.float32(scene.size[axis]) - points[axis]):
            share *= 1 - 0.45 * (1 - np.abs(normals[axis])) * np.exp(-np.maximum(distance, 0) / 0.25)
    return share


def _shadowed(scene: Scene, parts: _Parts, start: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns bool (n,): furniture stands between `start` and `target`."""
    shadowed = np.zeros(start.shape[1], bool)
    for index, piece in enumerate(scene.pieces):
        if not piece.casts_shadow:
            continue
        turn = _to_piece(piece)
        origin = turn @ (start - piece.position.astype(np.float32)[:, None])
        direction = turn @ (target - start)
        reached = _crosses(parts.bounds(piece)[0], origin, direction) & ~shadowed
        near = np.flatnonzero(reached)
        if near.size:
            t = _hits(parts, parts.rows(index), origin[:, near], direction[:, near])
            shadowed[near] = t.min(axis=0) < 1
    return shadowed


def _crosses(bounds: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Whether segments from `origin` to `origin + direction` meet the box, from inside it too."""
    enter, leave = np.zeros(origin.shape[1], np.float32), np.ones(origin.shape[1], np.float32)
    for axis in range(3):
        a, b = _slab(bounds[axis, None], bounds[3 + axis, None], origin[axis], direction[axis])
        enter, leave = np.maximum(enter, a[0]), np.minimum(leave, b[0])
    return enter < leave


def _albedo(material: np.ndarray, part: np.ndarray, local: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Returns (3, n) surface colours: the patterns of `part`'s materials at points in the frame of what was hit."""
    upright = np.abs(normals[2]) < 0.7
    scale = material[part, 7]
    u = (local[0] + np.where(upright, local[1], 0)) / scale
    v = np.where(upright, local[2], local[1]) / scale
    mix = np.zeros_like(u)  # share of the second colour
    pattern = material[:, 6][part]
    for kind, draw in ((STRIPES, _stripes), (CHECKER, _checker), (WOOD, _wood), (CLOTH, _cloth)):
        where = np.flatnonzero(pattern == kind)
        mix[where] = draw(u[where], v[where], upright[where])
    first, second = material[:, :3].T[:, part], material[:, 3:6].T[:, part]
    return first + (second - first) * mix


def _stripes(u: np.ndarray, v: np.ndarray, upright: np.ndarray) -> np.ndarray:
    return np.where(upright, u, v) % 1 < 0.5


def _checker(u: np.ndarray, v: np.ndarray, upright: np.ndarray) -> np.ndarray:
    del upright
    return (np.floor(2 * u) + np.floor(2 * v)) % 2


def _wood(u: np.ndarray, v: np.ndarray, upright: np.ndarray) -> np.ndarray:
    """Boards with dark joints, each of its own shade, and grain along them."""
    del upright
    board = np.floor(u)
    shade = 0.35 * (np.sin(37.7 * board) + 1)
    grain = 0.3 * np.sin(9 * u + np.sin(0.7 * v + 5 * board)) ** 2
    return np.where(u - board < 0.06, 1.3, shade + grain)


def _cloth(u: np.ndarray, v: np.ndarray, upright: np.ndarray) -> np.ndarray:
    """Soft blotches."""
    del upright
    return 0.5 + 0.25 * np.sin(5.1 * u + 1.3 * np.sin(2.3 * v)) + 0.25 * np.sin(4.3 * v + 1.7 * np.sin(1.9 * u))


def _tent(light: np.ndarray) -> np.ndarray:
    """Averages (3, 2H+1, 2W+1) half-pixel samples to H×W×3 with the weights 1 2 1 in each direction."""
    rows = 0.25 * light[:, :-2:2] + 0.5 * light[:, 1::2] + 0.25 * light[:, 2::2]
    both = 0.25 * rows[:, :, :-2:2] + 0.5 * rows[:, :, 1::2] + 0.25 * rows[:, :, 2::2]
    return np.moveaxis(both, 0, -1)
