"""Augmentation: image and targets of rooms, where geometry is exact, stay true to each other."""

import dataclasses
import pickle

import numpy as np
import pytest

from configs import common
from lim_jax.data import augmentation, pipeline
from lim_jax.data.rooms import dataset as rooms
from lim_jax.data.rooms import rendering, scenes
from lim_jax.data.specs import TargetSpec

SIZE = (48, 64)
SPECS = {**rooms.SPECS, "smiling": TargetSpec("smiling", "attribute")}


@pytest.fixture(scope="module", params=[3, 8])
def room(request):
    """A room without noise, its parts, and the camera's focal length in pixels."""
    rng = np.random.default_rng(request.param)
    scene, camera = scenes.random_view(rng)
    view = rendering.render(rng, scene, camera, SIZE)
    targets = {
        "segmentation": view.labels,
        "depth": view.depth.astype(np.float32),
        "normals": view.normals.astype(np.float32),
        "smiling": np.array(1, np.int8),
    }
    image = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    return {"image": image, "targets": targets}, view.parts, focal_length(view)


def focal_length(view):
    """Finds f for which neighbours on a surface lie in the plane of its normal, by trying."""

    def misfit(focal):
        points = project(view.depth, focal, CENTRE)
        return np.median(np.abs(off_plane(points, view.normals, view.parts, 1)))

    focals = np.geomspace(20, 120, 400)
    return focals[np.argmin([misfit(focal) for focal in focals])]


CENTRE = ((SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2)


def project(depth, focal, centre):
    """Returns the points (right, into the scene, up) of a depth map in metres."""
    rows, columns = np.indices(depth.shape)
    return np.stack([(columns - centre[0]) * depth / focal, depth, (centre[1] - rows) * depth / focal], -1)


def off_plane(points, normals, parts, step):
    """How far pixels `step` columns apart on one surface are from lying in the plane of its normal, in radians."""
    difference = points[:, step:] - points[:, :-step]
    same = (parts[:, step:] == parts[:, :-step]) & (np.sum(normals[:, step:] * normals[:, :-step], -1) > 0.9999)
    difference = difference[same]
    return np.sum(normals[:, :-step][same] * difference, -1) / np.linalg.norm(difference, axis=-1)


def test_the_rooms_are_consistent_before(room):
    example, parts, focal = room
    targets = example["targets"]
    assert np.median(np.abs(off_plane(project(targets["depth"], focal, CENTRE), targets["normals"], parts, 4))) < 0.01


def test_flip_then_project_is_project_then_flip(room):
    example, parts, focal = room
    flipped = augmentation.flip(example, SPECS)
    targets = flipped["targets"]
    mirrored = project(example["targets"]["depth"], focal, CENTRE)[:, ::-1] * [-1, 1, 1]
    np.testing.assert_allclose(project(targets["depth"], focal, CENTRE), mirrored, atol=1e-6)
    np.testing.assert_array_equal(targets["normals"], example["targets"]["normals"][:, ::-1] * [-1, 1, 1])
    np.testing.assert_array_equal(targets["segmentation"], example["targets"]["segmentation"][:, ::-1])
    np.testing.assert_array_equal(flipped["image"], example["image"][:, ::-1])
    assert targets["smiling"] == 1 and targets["smiling"].shape == ()
    points = project(targets["depth"], focal, CENTRE)
    assert np.median(np.abs(off_plane(points, targets["normals"], parts[:, ::-1], 4))) < 0.01
    again = augmentation.flip(flipped, SPECS)
    np.testing.assert_array_equal(again["targets"]["normals"], example["targets"]["normals"])


@pytest.mark.parametrize(("scale", "top", "left"), [(2, 5, 20), (1.5, 0, 0), (1.25, 9.6, 12.8)])
def test_crop_then_project_is_project_then_crop(room, scale, top, left):
    """With the longer lens of "keep": the same points, up to the half pixel by which the nearest one is off."""
    example, parts, focal = room
    cropped = augmentation.zoom(example, SPECS, scale, top, left, "keep")["targets"]
    rows, columns = (
        np.floor(start + (np.arange(size) + 0.5) / scale).astype(int)
        for start, size in zip((top, left), SIZE, strict=True)
    )
    window = (rows[:, None], columns)
    points = project(example["targets"]["depth"], focal, CENTRE)[window]
    centre = [(c - start + 0.5) * scale - 0.5 for c, start in zip(CENTRE, (left, top), strict=True)]
    again = project(cropped["depth"], focal * scale, centre)
    half_pixel = 0.5001 * cropped["depth"] / focal
    assert np.all(np.abs(again - points)[..., [0, 2]] <= half_pixel[..., None])
    np.testing.assert_array_equal(again[..., 1], points[..., 1])
    np.testing.assert_array_equal(cropped["normals"], example["targets"]["normals"][window])
    np.testing.assert_array_equal(cropped["segmentation"], example["targets"]["segmentation"][window])
    assert np.median(np.abs(off_plane(again, cropped["normals"], parts[window], 8))) < 0.06


def test_divided_depth_and_its_normals_fit_the_old_lens(room):
    example, parts, focal = room
    scale, (top, left) = 2, (SIZE[0] / 4, SIZE[1] / 4)
    zoomed = augmentation.zoom(example, SPECS, scale, top, left, "divide")["targets"]
    kept = augmentation.zoom(example, SPECS, scale, top, left, "keep")["targets"]
    np.testing.assert_allclose(zoomed["depth"], kept["depth"] / 2)
    np.testing.assert_allclose(np.linalg.norm(zoomed["normals"], axis=-1), np.any(kept["normals"], -1), atol=1e-6)
    window = np.repeat(np.repeat(parts[12:36, 16:48], 2, 0), 2, 1)
    points = project(zoomed["depth"], focal, CENTRE)
    fitting, unchanged = (
        np.median(np.abs(off_plane(points, targets["normals"], window, 8))) for targets in (zoomed, kept)
    )
    assert fitting < 0.06 and fitting < unchanged / 2


def test_the_whole_image_stays_as_it_is(room):
    example = room[0]
    same = augmentation.zoom(example, SPECS, 1, 0, 0)
    np.testing.assert_array_equal(same["image"], example["image"])
    for name, target in same["targets"].items():
        np.testing.assert_allclose(target, example["targets"][name], atol=1e-6)


def test_image_and_labels_are_cropped_alike():
    labels = np.repeat(np.repeat(np.arange(12, dtype=np.uint8).reshape(3, 4), 16, 0), 16, 1)
    example = {"image": np.repeat(labels[..., None] * 20, 3, -1), "targets": {"segmentation": labels}}
    for scale, top, left in ((1.3, 2.7, 10.1), (2, 24, 32), (1.7, 0, 26.3)):
        zoomed = augmentation.zoom(example, SPECS, scale, top, left)
        different = zoomed["image"][..., 0] != zoomed["targets"]["segmentation"] * 20
        assert np.mean(different) < 0.25, "only where the image is blurred between two labels"
        assert np.mean(zoomed["image"][..., 0].astype(int) - zoomed["targets"]["segmentation"] * 20.0) < 2


def test_what_a_small_image_does_not_fill_counts_nowhere(room):
    example = room[0]
    small = augmentation.zoom(example, SPECS, 0.5, -24, -32, "keep", (48, 64))
    inside = (slice(12, 36), slice(16, 48))
    for name, spec in SPECS.items():
        target, missing = small["targets"][name], spec.missing(SIZE)
        if spec.kind == "attribute":
            assert target == 1
            continue
        np.testing.assert_array_equal(target[inside], example["targets"][name][1::2, 1::2])
        target[inside] = missing[inside]
        np.testing.assert_array_equal(target, missing)
    assert np.all(small["image"][:12] == augmentation.PADDING) and np.all(
        small["image"][:, 48:] == augmentation.PADDING
    )


def test_padding_puts_the_example_into_the_middle(room):
    example = room[0]
    padded = augmentation.pad(example, SPECS, (53, 64))
    np.testing.assert_array_equal(padded["image"][2:50], example["image"])
    np.testing.assert_array_equal(padded["targets"]["normals"][2:50], example["targets"]["normals"])
    assert not padded["targets"]["depth"][:2].any() and not padded["targets"]["depth"][50:].any()


def test_scales_come_from_the_set_or_the_range(room):
    example = room[0]
    example["targets"]["depth"] = np.full(SIZE, 6, np.float32)
    depths = {}
    for name, settings in {"set": {"scales": (1, 1.2, 1.5)}, "range": {"min_scale": 0.5, "max_scale": 2.0}}.items():
        changes = augmentation.Augmentation(SPECS, crop_size=(40, 48), **settings)
        made = [changes.random_map(example, np.random.default_rng(seed)) for seed in range(40)]
        assert {each["image"].shape for each in made} == {(40, 48, 3)}
        assert {each["targets"]["normals"].shape for each in made} == {(40, 48, 3)}
        depths[name] = [each["targets"]["depth"].max() for each in made]
    assert {round(float(depth), 4) for depth in depths["set"]} == {6, 5, 4}
    assert 3 <= min(depths["range"]) < 3.5 and 10 < max(depths["range"]) <= 12


def test_no_class_has_too_large_a_share_of_a_crop():
    labels = np.zeros((40, 40), np.uint8)
    labels[:, 30:] = 1
    labels[:10] = 255  # does not count
    example = {"image": np.zeros((40, 40, 3), np.uint8), "targets": {"segmentation": labels}}
    shares = {}
    for limit in (1.0, 0.75):
        changes = augmentation.Augmentation({"segmentation": SPECS["segmentation"]}, crop_size=(20, 20))
        changes = dataclasses.replace(changes, max_class_share=limit)
        crops = [changes.random_map(example, np.random.default_rng(seed)) for seed in range(60)]
        shares[limit] = [augmentation.largest_share(crop["targets"]["segmentation"]) for crop in crops]
    assert np.mean(np.array(shares[1.0]) > 0.75) > 0.5
    assert np.mean(np.array(shares[0.75]) > 0.75) < 0.05  # ten tries, each with a chance of one in three
    assert augmentation.largest_share(np.array([1, 1, 2, 255, 255, 255])) == pytest.approx(2 / 3)


def test_hue_turns_colours_and_leaves_greys():
    image = np.array([[[200, 0, 0], [90, 90, 90], [0, 0, 60]]], np.float32)
    np.testing.assert_allclose(augmentation.recolor(image, 1, 120), [[[0, 200, 0], [90] * 3, [60, 0, 0]]], atol=0.01)
    np.testing.assert_allclose(augmentation.recolor(image, 0.5, 0)[0, 0], [200, 100, 100], atol=0.01)


def test_photometric_distortion_keeps_to_its_bounds():
    grey = np.full((4, 4, 3), 100, np.uint8)
    made = [augmentation.distort(grey, np.random.default_rng(seed)) for seed in range(200)]
    values = np.array([each[0, 0] for each in made], int)
    assert np.all(values == values[:, :1]), "grey stays grey"
    assert 34 <= values.min() < 50 and 160 < values.max() <= 198
    assert 10 < np.sum(values[:, 0] == 100) < 90, "a quarter has neither brightness nor contrast changed"


def test_jitter_changes_what_it_says():
    image = np.random.default_rng(0).integers(60, 120, (8, 8, 3)).astype(np.uint8)
    np.testing.assert_array_equal(augmentation.jitter(image, 1, 1, 1), image)
    np.testing.assert_allclose(augmentation.jitter(image, 1.5, 1, 1), image * 1.5, atol=0.51)
    grey = augmentation.jitter(image, 1, 1, 0)
    assert np.ptp(grey.astype(int), axis=-1).max() == 0
    assert augmentation.jitter(image, 1, 0, 1).std() < 20 and augmentation.jitter(image, 5, 1, 1).max() == 255


def test_random_changes_come_from_the_generator_alone(room):
    example = room[0]
    changes = augmentation.Augmentation(
        SPECS, True, 1.5, 0.3, min_scale=0.5, max_class_share=0.3, photometric_distortion=True
    )
    copy = pickle.loads(pickle.dumps(changes))
    results = [made.random_map(example, np.random.default_rng(seed)) for made in (changes, copy) for seed in (1, 2)]
    for name in example["targets"]:
        np.testing.assert_array_equal(results[0]["targets"][name], results[2]["targets"][name])
        assert results[0]["targets"][name].dtype == example["targets"][name].dtype
        assert results[0]["targets"][name].shape == example["targets"][name].shape
    assert results[0]["image"].dtype == np.uint8
    assert not np.array_equal(results[0]["image"], results[1]["image"])


def test_it_is_off_by_default():
    config = common.get_config().augmentation
    assert augmentation.create(config, SPECS) is None
    config.horizontal_flip = True
    assert augmentation.create(config, SPECS) == augmentation.Augmentation(SPECS, horizontal_flip=True)


class Sources:
    """A few noisy images."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 256, (8, 10, 3)).astype(np.uint8)
        return {"image": image, "targets": {"depth": np.full((8, 10), 1.0 + index, np.float32)}}


def test_a_restored_iterator_repeats_the_same_changes():
    changes = augmentation.Augmentation(
        {"depth": SPECS["depth"]},
        True,
        color_jitter=0.3,
        scales=(0.5, 1.5),
        crop_size=(7, 9),
        photometric_distortion=True,
    )
    batches = pipeline.train_iterator(Sources(), batch_size=3, seed=0, augmentation=changes)
    first = [next(batches) for _ in range(2)]
    state = batches.get_state()
    expected = [next(batches) for _ in range(2)]
    batches.set_state(state)
    for before, again in zip(expected, [next(batches) for _ in range(2)], strict=True):
        np.testing.assert_array_equal(before["image"], again["image"])
        np.testing.assert_array_equal(before["targets"]["depth"], again["targets"]["depth"])
    images = np.concatenate([batch["image"] for batch in first + expected])
    assert len(np.unique(images.reshape(12, -1), axis=0)) == 12, "the second epoch changes the images in other ways"
