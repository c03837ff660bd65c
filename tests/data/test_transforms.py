"""Resizing: what averages, what must not."""

import numpy as np
import pytest

from lim_jax.data import transforms


def test_image_shrinks_by_area():
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    expected = image.reshape(3, 2, 4, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(transforms.resize_image(image, (3, 4)), expected, atol=0.5)


@pytest.mark.parametrize("size", [(3, 4), (6, 8), (12, 16), (5, 3)])
def test_labels_are_those_at_the_centres(size):
    labels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    resized = transforms.resize_labels(labels, size)
    for i in range(size[0]):
        for j in range(size[1]):
            assert resized[i, j] == labels[int((i + 0.5) * 6 / size[0]), int((j + 0.5) * 8 / size[1])]


def test_depth_averages_one_surface_only():
    depth = np.full((8, 8), 2.0, np.float32)
    depth[:, 5:] = 6.0  # the edge runs through the cells of the second column
    depth[0, 0] = 2.04
    resized = transforms.resize_depth(depth, (2, 2))
    np.testing.assert_allclose(resized, [[2 + 0.04 / 16, 6], [2, 6]], rtol=1e-6)


def test_depth_ignores_invalid_pixels():
    depth = np.full((4, 8), 3.0, np.float32)
    depth[:, :4] = 0
    depth[0, 0] = 2.0  # one valid pixel in a corner of the first cell answers for it
    np.testing.assert_array_equal(transforms.resize_depth(depth, (1, 2)), [[2.0, 3.0]])
    assert transforms.resize_depth(np.zeros((4, 4), np.float32), (2, 2)).max() == 0


@pytest.mark.parametrize("size", [(4, 5), (9, 10), (20, 30)])
def test_constant_maps_stay_what_they_are(size):
    depth = np.full((9, 10), 1.7, np.float32)
    np.testing.assert_allclose(transforms.resize_depth(depth, size), np.full(size, 1.7), rtol=1e-6)
    normals = np.broadcast_to(np.array([0.6, 0, 0.8], np.float32), (9, 10, 3))
    np.testing.assert_allclose(
        transforms.resize_normals(normals, size), np.broadcast_to(normals[0, 0], (*size, 3)), rtol=1e-6
    )


def test_normals_average_one_surface_and_stay_unit():
    angle = np.deg2rad(10)
    normals = np.zeros((4, 4, 3), np.float32)
    normals[:] = [0, 0, 1]
    normals[:, 0] = [np.sin(angle), 0, np.cos(angle)]
    normals[0, 3] = [0, -1, 0]  # another surface
    normals[3, 3] = 0  # invalid
    resized = transforms.resize_normals(normals, (1, 1))[0, 0]
    total = 4 * normals[0, 0] + 10 * np.array([0, 0, 1])
    np.testing.assert_allclose(resized, total / np.linalg.norm(total), rtol=1e-6)
    assert transforms.resize_normals(np.zeros((4, 4, 3), np.float32), (2, 2)).any() == np.False_


def test_normals_become_unit_at_any_size():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(12, 16, 3)).astype(np.float32)
    for size in ((12, 16), (5, 7), (24, 16)):
        np.testing.assert_allclose(np.linalg.norm(transforms.resize_normals(normals, size), axis=-1), 1, rtol=1e-6)
