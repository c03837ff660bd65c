"""`rooms`: examples as the specification says, reproducible, with every class in them."""

import numpy as np
import pytest

from lim_jax.data import nyu40
from lim_jax.data.rooms import dataset as rooms
from lim_jax.data.specs import IGNORE
from lim_jax.errors import UserError

SIZE = (48, 64)


@pytest.fixture(scope="module")
def examples():
    return [rooms.example("train", index, SIZE) for index in range(120)]


def test_examples_follow_the_conventions_of_specs(examples):
    for example in examples:
        targets = example["targets"]
        assert set(targets) == set(rooms.SPECS)
        assert example["image"].shape == (*SIZE, 3) and example["image"].dtype == np.uint8
        labels, depth, normals = (targets[name] for name in ("segmentation", "depth", "normals"))
        for array, name in ((labels, "segmentation"), (depth, "depth"), (normals, "normals")):
            missing = rooms.SPECS[name].missing(SIZE)
            assert array.shape == missing.shape and array.dtype == missing.dtype
        assert np.all((labels < len(nyu40.CLASS_NAMES)) | (labels == IGNORE))
        assert depth.min() >= 0 and 1 < depth.max() < 8
        length = np.linalg.norm(normals, axis=-1)
        np.testing.assert_allclose(length, np.where(length > 0.5, 1, 0), atol=1e-5)
        assert not np.any((length > 0) & (depth == 0))


def test_every_target_is_mostly_but_not_wholly_valid(examples):
    shares = {
        "segmentation": np.mean([e["targets"]["segmentation"] == IGNORE for e in examples]),
        "depth": np.mean([e["targets"]["depth"] == 0 for e in examples]),
        "normals": np.mean([np.all(e["targets"]["normals"] == 0, axis=-1) for e in examples]),
    }
    assert all(0.01 < share < 0.2 for share in shares.values()), shares


def test_all_classes_occur(examples):
    seen = set(np.unique([e["targets"]["segmentation"] for e in examples])) - {IGNORE}
    missing = [name for index, name in enumerate(nyu40.CLASS_NAMES) if index not in seen]
    assert not missing


def test_images_are_exposed(examples):
    means = [e["image"].mean() for e in examples]
    assert min(means) > 100 and max(means) < 200
    assert np.mean([np.mean(e["image"] == 255) for e in examples]) < 0.05


def test_an_example_depends_on_split_and_index_only(examples):
    again = rooms.example("train", 5, SIZE)
    np.testing.assert_array_equal(again["image"], examples[5]["image"])
    for name, target in again["targets"].items():
        np.testing.assert_array_equal(target, examples[5]["targets"][name])
    assert np.any(rooms.example("test", 5, SIZE)["image"] != again["image"])
    assert np.any(examples[6]["image"] != again["image"])


@pytest.mark.parametrize("sizes", [(3, 2), (3, 0, 2), ()])
def test_split_sizes_are_checked(tmp_path, sizes):
    with pytest.raises(UserError, match="split_sizes"):
        rooms.prepare(str(tmp_path), SIZE, sizes)
