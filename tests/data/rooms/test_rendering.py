"""The renderer's geometry, against formulas and against a search along the ray that shares nothing with it."""

import numpy as np
import pytest

from lim_jax.data import nyu40
from lim_jax.data.rooms import rendering, scenes
from lim_jax.data.rooms.parts import BOX, CYLINDER, ELLIPSOID

SIZE = (48, 64)


def _view(seed, furnished=True):
    rng = np.random.default_rng(seed)
    scene, camera = scenes.random_view(rng)
    if not furnished:
        scene = scenes.dataclasses.replace(scene, pieces=())
    return scene, camera, rendering.render(rng, scene, camera, SIZE)


def _points(camera, depth):
    """Back-projects depth to camera coordinates, H×W×3."""
    rays = np.moveaxis(rendering.camera_rays(camera, SIZE)[:, 1::2, 1::2], 0, -1)
    return rays * depth[..., None]


def _all_parts(scene):
    """Yields (index, part, placed piece) in the renderer's numbering, which starts with the room's six faces."""
    parts = [(part, piece) for piece in scene.pieces for part in piece.parts]
    return [(6 + i, part, piece) for i, (part, piece) in enumerate(parts)]


def _in_piece(piece, points):
    """World points (..., 3) in the frame of `piece`."""
    c, s = np.cos(piece.yaw), np.sin(piece.yaw)
    return (points - piece.position) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _inside(part, points):
    """How far points (..., 3) of a piece are inside `part`: 1 at its surface, less inside."""
    p = np.array(part.params)
    if part.kind == BOX:
        centre, half = (p[:3] + p[3:]) / 2, (p[3:] - p[:3]) / 2
        return np.max(np.abs(points - centre) / half, axis=-1)
    if part.kind == CYLINDER:
        x, y, bottom, top, radius, _ = p
        around = np.hypot(points[..., 0] - x, points[..., 1] - y) / radius
        return np.maximum(around, np.abs(points[..., 2] - (bottom + top) / 2) / ((top - bottom) / 2))
    assert part.kind == ELLIPSOID
    return np.linalg.norm((points - p[:3]) / p[3:], axis=-1)


def test_axes_of_a_level_camera():
    scene = scenes.random_view(np.random.default_rng(0))[0]
    scene = scenes.dataclasses.replace(scene, pieces=(), size=np.array([4.0, 5.0, 2.5]))
    camera = scenes.Camera(np.array([2.0, 1.0, 1.5]), np.eye(3), np.deg2rad(80))
    view = rendering.render(np.random.default_rng(0), scene, camera, SIZE)
    middle = (SIZE[0] // 2, SIZE[1] // 2)
    np.testing.assert_allclose(view.normals[middle], [0, -1, 0])  # the wall that faces the camera
    np.testing.assert_allclose(view.depth[middle], 4.0, rtol=1e-6)
    np.testing.assert_allclose(view.normals[-1, middle[1]], [0, 0, 1])
    np.testing.assert_allclose(view.normals[0, middle[1]], [0, 0, -1])
    np.testing.assert_allclose(view.normals[middle[0], -1], [-1, 0, 0])
    np.testing.assert_allclose(view.normals[middle[0], 0], [1, 0, 0])
    names = [nyu40.CLASS_NAMES[view.labels[pixel]] for pixel in (middle, (-1, middle[1]), (0, middle[1]))]
    assert names == ["wall", "floor", "ceiling"]


@pytest.mark.parametrize("seed", range(4))
def test_depth_of_an_empty_room_lies_on_its_planes(seed):
    scene, camera, view = _view(seed, furnished=False)
    world = _points(camera, view.depth) @ camera.rotation.T + camera.position
    for face in range(6):
        axis, far = divmod(face, 2)
        distance = world[view.parts == face][:, axis] - far * scene.size[axis]
        np.testing.assert_allclose(distance, 0, atol=2e-5)
        assert np.all(view.labels[view.parts == face] == scenes.FACE_LABELS[face])


@pytest.mark.parametrize("seed", range(6))
def test_points_lie_on_the_surface_that_was_hit(seed):
    scene, camera, view = _view(seed)
    world = _points(camera, view.depth) @ camera.rotation.T + camera.position
    seen = 0
    for index, part, piece in _all_parts(scene):
        pixels = view.parts == index
        lower, upper = part.bounds()
        tolerance = 5e-5 / np.min((upper - lower) / 2)
        np.testing.assert_allclose(_inside(part, _in_piece(piece, world[pixels])), 1, atol=tolerance)
        assert np.all(view.labels[pixels] == part.label)
        seen += pixels.any()
    assert seen >= 3


@pytest.mark.parametrize("seed", range(3))
def test_nothing_stands_before_the_surface_that_was_hit(seed):
    """Walks along some rays in steps of 2 mm of depth and looks for the first point inside of anything."""
    scene, camera, view = _view(seed)
    rng = np.random.default_rng(seed)
    points = _points(camera, np.ones(SIZE, np.float32))
    for row, column in rng.integers(SIZE, size=(40, 2)):
        depths = np.arange(0.0, view.depth[row, column] - 0.002, 0.002)
        world = depths[:, None] * (camera.rotation @ points[row, column]) + camera.position
        assert np.all((world > -1e-4) & (world < scene.size + 1e-4))
        for _, part, piece in _all_parts(scene):
            assert not np.any(_inside(part, _in_piece(piece, world)) < 1 - 1e-3), (row, column, part)


@pytest.mark.parametrize("seed", range(6))
def test_normals_are_unit_face_the_camera_and_agree_with_depth(seed):
    _, camera, view = _view(seed)
    np.testing.assert_allclose(np.linalg.norm(view.normals, axis=-1), 1, atol=1e-5)
    points = _points(camera, view.depth)
    assert np.all(np.sum(view.normals * points, axis=-1) < 1e-5)
    # Neighbours of one part and one normal span its plane.
    down, right = points[2:, 1:-1] - points[:-2, 1:-1], points[1:-1, 2:] - points[1:-1, :-2]
    from_depth = np.cross(down, right)
    from_depth /= np.linalg.norm(from_depth, axis=-1, keepdims=True)
    neighbours = [np.s_[2:, 1:-1], np.s_[:-2, 1:-1], np.s_[1:-1, 2:], np.s_[1:-1, :-2]]
    centre = np.s_[1:-1, 1:-1]
    flat = np.all(
        [
            (view.parts[n] == view.parts[centre]) & np.all(np.abs(view.normals[n] - view.normals[centre]) < 1e-4, -1)
            for n in neighbours
        ],
        axis=0,
    )
    assert flat.mean() > 0.4
    cosine = np.sum(from_depth * view.normals[centre], axis=-1)[flat]
    assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).max() < 0.5


def test_shadows_darken_the_floor_below_a_table():
    part = scenes.Part(BOX, 6, (-0.6, -0.6, 0.7, 0.6, 0.6, 0.75), scenes.Material((0.5,) * 3, (0.5,) * 3))
    scene = scenes.random_view(np.random.default_rng(0))[0]
    scene = scenes.dataclasses.replace(
        scene,
        pieces=(scenes.Placed((part,), np.array([2.0, 3.0, 0.0]), 0.3),),
        size=np.array([4.0, 5.0, 2.5]),
        lamp=np.array([2.0, 3.0, 2.3]),
        brightness=(1.0, 0.0, 0.2),
    )
    camera = scenes.Camera(np.array([2.0, 0.5, 0.4]), np.eye(3), np.deg2rad(70))
    view = rendering.render(np.random.default_rng(0), scene, camera, SIZE)
    empty = scenes.dataclasses.replace(scene, pieces=())
    lit = rendering.render(np.random.default_rng(0), empty, camera, SIZE)
    world = _points(camera, view.depth) + camera.position
    floor = view.labels == 1
    below = floor & (np.linalg.norm(world[..., :2] - [2, 3], axis=-1) < 0.4)
    assert below.any()
    assert np.all(view.image[below] < 0.6 * lit.image[below])
    apart = floor & (world[..., 1] < 1.5)
    assert apart.any()
    np.testing.assert_allclose(view.image[apart], lit.image[apart], rtol=1e-5)
