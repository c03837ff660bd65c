"""Normals from depth: exact on planes, aware of edges, and close to those that are published for NYU-v2."""

import pathlib

import numpy as np
import pytest

from lim_jax.data import surface_normals

CAMERA = surface_normals.Intrinsics(60.0, 62.0, 33.0, 22.0)
SIZE = (48, 64)
FRAME = pathlib.Path(__file__).parents[2] / "../shared/data/nyud_mt_mini"


def _plane(normal, distance):
    """Depth of the plane n · p = -distance with n in our axes, seen by `CAMERA`."""
    rows, columns = np.indices(SIZE)
    ray = np.stack(
        [
            (columns - CAMERA.centre_x) / CAMERA.focal_x,
            np.ones(SIZE),
            -(rows - CAMERA.centre_y) / CAMERA.focal_y,
        ],
        -1,
    )
    return (-distance / (ray @ np.asarray(normal))).astype(np.float32)


@pytest.mark.parametrize("normal", [(0, -1, 0), (0.6, -0.8, 0), (-0.28, -0.96, 0), (0, -0.8, 0.6), (0.36, -0.8, -0.48)])
def test_planes_are_exact(normal):
    normals = surface_normals.from_depth(_plane(normal, 3), CAMERA)
    angle = np.degrees(np.arccos(np.clip(normals @ np.asarray(normal), -1, 1)))
    assert np.any(normals, -1).mean() > 0.9
    assert angle[np.any(normals, -1)].max() < 1


def test_an_edge_between_two_walls_stays_sharp():
    depth = _plane((0, -1, 0), 2)
    depth[:, 32:] = _plane((0.6, -0.8, 0), 3)[:, 32:]
    normals = surface_normals.from_depth(depth, CAMERA)
    for part, normal in ((normals[:, :31], (0, -1, 0)), (normals[:, 33:], (0.6, -0.8, 0))):
        part = part[np.any(part, -1)]
        assert np.median(np.degrees(np.arccos(np.clip(part @ np.asarray(normal), -1, 1)))) < 1


def test_unknown_depth_has_no_normal():
    depth = _plane((0, -1, 0), 2)
    depth[10:20] = 0
    normals = surface_normals.from_depth(depth, CAMERA)
    assert not np.any(normals[10:20])
    assert np.any(normals[:8], -1).all()
    assert not np.any(surface_normals.from_depth(np.zeros(SIZE, np.float32), CAMERA))


def test_a_real_frame_is_close_to_its_published_normals():
    if not FRAME.is_dir():
        pytest.skip("nyud_mt_mini is not here")
    published = np.load(FRAME / "normals/1314.npy")
    normals = surface_normals.from_depth(np.load(FRAME / "depth/1314.npy").astype(np.float32), surface_normals.NYU)
    both = np.any(published, -1) & np.any(normals, -1)
    assert both.sum() > 0.95 * np.any(published, -1).sum()
    cosine = np.sum(published * normals, -1)[both] / np.linalg.norm(published[both], axis=-1)
    assert np.median(np.degrees(np.arccos(np.clip(cosine, -1, 1)))) < 3
