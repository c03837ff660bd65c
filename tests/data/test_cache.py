"""Examples that stay in memory give the batches of those that are read, to the last bit."""

import jax
import numpy as np
import pytest

from lim_jax.data import cache, encoding, pipeline
from lim_jax.data.augmentation import Augmentation
from lim_jax.data.specs import IGNORE, TargetSpec
from lim_jax.runtime import devices, memory

SPECS = {
    "segmentation": TargetSpec("segmentation", "segmentation", ("a", "b", "c")),
    "depth": TargetSpec("depth", "depth"),
    "normals": TargetSpec("normals", "normals"),
    "smiling": TargetSpec("smiling", "attribute"),
    "age": TargetSpec("age", "number"),
}


class Noise:
    """A source of random examples with everything that is invalid, encoded once as records are; counts its reads."""

    def __init__(self, length=11, size=(12, 16)):
        self._length, self._size = length, size
        self.reads = 0

    def __len__(self):
        return self._length

    def __repr__(self):
        return f"Noise({self._length})"

    def __getitem__(self, index):
        if not 0 <= index < self._length:
            raise IndexError(index)
        self.reads += 1
        rng = np.random.default_rng(index)
        normals = rng.standard_normal((*self._size, 3)).astype(np.float32)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        normals[rng.random(self._size) < 0.1] = 0
        depth = rng.uniform(0.5, 9, self._size).astype(np.float32)
        depth[rng.random(self._size) < 0.1] = 0
        targets = {
            "segmentation": rng.choice(np.array([0, 1, 2, IGNORE], np.uint8), self._size, p=(0.6, 0.2, 0.1, 0.1)),
            "depth": depth,
            "normals": encoding.decode(SPECS["normals"], encoding.encode_normals(normals)),
            "smiling": np.array(index % 3 - 1, np.int8),
            "age": np.array(np.nan if index == 4 else index / 7, np.float32),
        }
        return {"image": rng.integers(0, 256, (*self._size, 3)).astype(np.uint8), "targets": targets}


CHANGES = {
    "none": None,
    "flip": {"horizontal_flip": True},
    "scale": {"horizontal_flip": True, "scales": (0.7, 1.0, 1.37), "crop_size": (10, 14)},
    "scale, as published": {"min_scale": 0.5, "max_scale": 2.0, "zoomed_depth": "divide_depth"},
    "crop": {"crop_size": (8, 16), "max_class_share": 0.62, "horizontal_flip": True, "zoomed_depth": "keep"},
    "colours": {"horizontal_flip": True, "color_jitter": 0.3, "photometric_distortion": True},
    "all": {"horizontal_flip": True, "max_scale": 1.5, "max_class_share": 0.62, "photometric_distortion": True},
}


def both(changes, num_devices=2, source=None, **settings):
    """Returns the iterators of the host and of devices over the same source."""
    augmentation = None if changes is None else Augmentation(SPECS, **changes)
    settings = {"batch_size": 4, "seed": 3} | settings
    on_host = pipeline.train_iterator(Noise(), augmentation=augmentation, **settings)
    local_devices = jax.local_devices()[:num_devices]
    return on_host, cache.DeviceBatches(source or Noise(), SPECS, augmentation, local_devices, **settings)


def assert_same_bits(batch, other):
    """Asserts that two batches are equal in shapes, dtypes and bits: also -0 and NaN."""
    batch, other = jax.device_get((batch, other))
    assert jax.tree.structure(batch) == jax.tree.structure(other)
    for one, two in zip(jax.tree.leaves(batch), jax.tree.leaves(other), strict=True):
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_devices_make_the_batches_of_the_host(changes):
    on_host, on_devices = both(changes)
    for _ in range(6):  # more than two epochs of 11 examples
        assert_same_bits(next(on_devices), next(on_host))


@pytest.mark.parametrize("name", ["flip", "all"])
def test_positions_are_those_of_the_host(name):
    on_host, on_devices = both(CHANGES[name])
    for _ in range(5):
        next(on_host)
    on_devices.set_state(on_host.get_state())
    expected = [next(on_host) for _ in range(3)]
    for batch in expected:
        assert_same_bits(next(on_devices), batch)
    assert on_devices.get_state() == on_host.get_state()
    position = on_devices.get_state()
    expected = next(on_devices)
    on_devices.set_state(position)
    assert_same_bits(next(on_devices), expected)


def test_a_batch_lies_where_the_step_wants_its_shares():
    _, on_devices = both(None, num_devices=4)
    batch = next(on_devices)
    assert {shard.data.shape[0] for shard in batch["image"].addressable_shards} == {1}
    total = devices.data_parallel(
        lambda part: devices.total(part["image"].astype(int).sum(), devices.AXIS), jax.local_devices()[:4], 0
    )
    assert total(batch) == jax.device_get(batch["image"]).astype(int).sum()


@pytest.mark.parametrize("place", ["device", "host"])
def test_every_example_is_read_once(place):
    source = Noise()
    batches = both(None, source=source)[1]
    if place == "host":
        batches = pipeline.train_iterator(cache.kept({"train": source}, "host")["train"], batch_size=4, seed=3)
    for _ in range(9):
        next(batches)
    assert len(source) <= source.reads <= len(source) + 4  # a few are looked at beforehand, or by two threads at once


ENCODED, DECODED = 12 * 16 * (3 + 1 + 4 + 6) + 5, 12 * 16 * (3 + 1 + 4 + 12) + 5


@pytest.mark.parametrize(
    ("wanted", "num_workers", "examples_fit", "expected", "says"),
    [
        ("none", 0, 99, "none", ""),
        ("auto", 0, 16, "host", ""),
        ("auto", 0, 15, "none", ""),
        ("auto", 2, 99, "none", ""),
        ("host", 0, 16, "host", ""),
        ("host", 0, 15, "none", "not kept on the host: they take 0 MB, more than 1/8"),
        ("device", 0, 16, "device", ""),
        ("device", 0, 7, "none", "not kept on the device"),
    ],
)
def test_what_does_not_fit_is_kept_elsewhere(wanted, num_workers, examples_fit, expected, says, monkeypatch, caplog):
    monkeypatch.setattr(memory, "of_machine", lambda: cache.SHARE * examples_fit * DECODED)
    sources = {"train": Noise(11), "validation": Noise(5), "test": Noise(1000)}
    found = cache.fitting_place(wanted, num_workers, sources, SPECS, jax.local_devices()[:1])
    assert found == expected
    assert (says in caplog.text) if says else not caplog.records


def test_on_the_host_training_and_validation_are_kept_under_their_names():
    sources = {split: Noise() for split in ("train", "validation", "test")}
    kept = cache.kept(sources, "host")
    for source in kept.values():
        first = source[2]
        assert_same_bits(source[2], first)
    assert [source.reads for source in sources.values()] == [1, 1, 2]
    assert repr(kept) == repr(sources)
    assert cache.kept(sources, "device") == sources


def test_stored_normals_lose_nothing_when_they_are_stored_again():
    stored = np.arange(-32767, 32768, dtype=np.int16)
    np.testing.assert_array_equal(encoding.encode_normals(encoding.decode(SPECS["normals"], stored)), stored)
