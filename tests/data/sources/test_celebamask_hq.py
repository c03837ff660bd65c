"""CelebAMask-HQ from its official layout: classes, attributes, splits, and one clear line for what is wrong."""

import pathlib
import shutil

import cv2
import ml_collections
import numpy as np
import pytest

from lim_jax.data import load
from lim_jax.data.sources import celebamask_hq
from lim_jax.data.specs import IGNORE
from lim_jax.errors import UserError
from tests.data import celeba_trees

TASKS = ("segmentation", "male", "smiling")
IDENTITIES = [0, 3, 17, 1999, 2000, 4001, 5, 29999, 12, 13]
SHARED = pathlib.Path(__file__).parents[3] / "../shared/data/celebamask_hq_mini"


def _config(tmp_path, source, image_size=(8, 8)):
    return ml_collections.ConfigDict(
        {
            "name": "celebamask_hq",
            "data_dir": str(tmp_path / "records"),
            "source_dir": str(source) if source else "",
            "image_size": image_size,
        }
    )


@pytest.mark.parametrize("overlapping", [True, False])
def test_records_hold_the_source(tmp_path, overlapping):
    source = celeba_trees.write(tmp_path / "source", IDENTITIES, overlapping)
    dataset = load(_config(tmp_path, source), TASKS)
    assert {split: len(s) for split, s in dataset.sources.items()} == {"train": 6, "validation": 2, "test": 2}
    assert dataset.specs["segmentation"].class_names == ("skin", "hair", "background")
    seen = []
    for split, faces in celebamask_hq.split(celebamask_hq.find_faces(source)).items():
        for index, face in enumerate(faces):
            example = dataset.sources[split][index]
            assert np.all(example["image"] == face.identity % 256)
            np.testing.assert_array_equal(example["targets"]["segmentation"], celeba_trees.classes())
            for name in ("male", "smiling"):
                expected = celeba_trees.attribute(face.identity, celebamask_hq.ATTRIBUTE_NAMES.index(name)) == 1
                assert example["targets"][name] == expected
            seen.append(face.identity)
    assert sorted(seen) == sorted(IDENTITIES)


def test_any_of_the_attributes_is_a_task(tmp_path):
    source = celeba_trees.write(tmp_path / "source", IDENTITIES)
    dataset = load(_config(tmp_path, source), ("young", "5_o_clock_shadow"))
    assert set(dataset.sources["test"][0]["targets"]) == {"young", "5_o_clock_shadow"}
    assert len(celebamask_hq.ATTRIBUTE_NAMES) == 40
    with pytest.raises(UserError, match=r"no target 'happy'.*smiling"):
        load(_config(tmp_path, source), ("happy",))


def test_the_split_is_fixed_and_prepared_records_need_no_source(tmp_path):
    source = celeba_trees.write(tmp_path / "source", IDENTITIES)
    faces = celebamask_hq.find_faces(source)
    assert celebamask_hq.split(faces) == celebamask_hq.split(faces)
    first = load(_config(tmp_path, source), TASKS).sources["train"][0]
    shutil.rmtree(source)
    again = load(_config(tmp_path, None), TASKS).sources["train"][0]
    np.testing.assert_array_equal(first["image"], again["image"])
    with pytest.raises(UserError, match="not prepared at 8x16"):
        load(_config(tmp_path, None, (8, 16)), TASKS)


def _edit_attributes(change):
    def spoil(root):
        path = root / celebamask_hq.ATTRIBUTES
        path.write_text(change(path.read_text()))

    return spoil


def _remove(path):
    return lambda root: (root / path).unlink()


def _mask(shape):
    return lambda root: cv2.imwrite(str(root / celebamask_hq.MASKS / "0/00017_skin.png"), np.zeros(shape, np.uint8))


def _cut(root):
    path = root / celebamask_hq.IMAGES / "17.jpg"
    path.write_bytes(path.read_bytes()[:100])


def _remove_masks(root):
    for path in (root / celebamask_hq.MASKS / "0").glob("00017_*"):
        path.unlink()


BAD_SOURCES = {
    "no masks folder": (lambda root: shutil.rmtree(root / celebamask_hq.MASKS), "no folder CelebAMask-HQ-mask-anno"),
    "no images folder": (lambda root: shutil.rmtree(root / celebamask_hq.IMAGES), "no folder CelebA-HQ-img"),
    "no attribute file": (_remove(celebamask_hq.ATTRIBUTES), "cannot read .*attribute-anno.txt"),
    "attribute file without names": (_edit_attributes(lambda text: "10\n"), "does not name CelebA's 40 attributes"),
    "attribute row is missing": (_edit_attributes(lambda text: text[: text.rindex("13.jpg")]), "no row for 13.jpg"),
    "attribute row is short": (_edit_attributes(lambda text: text.rstrip()[:-2]), "line 12: 13.jpg has 39 attributes"),
    "attribute is 0": (_edit_attributes(lambda text: text.rstrip()[:-2] + " 0"), "young of 13.jpg is '0': write 1 or"),
    "duplicate row": (_edit_attributes(lambda text: text + text.splitlines()[-1] + "\n"), "13.jpg is there twice"),
    "odd name": (_edit_attributes(lambda text: text.replace("13.jpg", "a.jpg")), "a.jpg is not named by a number"),
    "image is missing": (_remove(f"{celebamask_hq.IMAGES}/17.jpg"), "lists 17.jpg, which"),
    "image is cut short": (_cut, "17.jpg is not a readable image"),
    "a face has no masks": (_remove_masks, r"no mask 00017_\*.png of 17.jpg"),
    "mask is no square": (_mask((8, 9)), "00017_skin.png is 8×9"),
    "mask of another size": (_mask((16, 16)), "masks have one size"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_what_is_wrong_with_a_source_is_said_in_one_line(tmp_path, spoil, message):
    source = celeba_trees.write(tmp_path / "source", IDENTITIES)
    spoil(source)
    with pytest.raises(UserError, match=message) as caught:
        load(_config(tmp_path, source), TASKS)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "records").glob("*/*/*.*.*")), "no half-written records"


def test_a_mask_repaired_in_place_is_prepared_again(tmp_path):
    source = celeba_trees.write(tmp_path / "source", IDENTITIES)
    first = load(_config(tmp_path, source), TASKS).sources["train"][0]["targets"]["segmentation"]
    for path in (source / celebamask_hq.MASKS).rglob("*_hair.png"):
        cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    second = load(_config(tmp_path, source), TASKS).sources["train"][0]["targets"]["segmentation"]
    assert np.any(first == 1) and not np.any(second == 1)


def test_what_macos_leaves_is_skipped(tmp_path):
    source = celeba_trees.write(tmp_path / "source", IDENTITIES)
    (source / celebamask_hq.IMAGES / "._3.jpg").write_bytes(b"?")
    assert len(celebamask_hq.find_faces(source)) == len(IDENTITIES)


def test_too_few_faces(tmp_path):
    source = celeba_trees.write(tmp_path / "source", [1, 2])
    with pytest.raises(UserError, match="too few"):
        load(_config(tmp_path, source), TASKS)


def test_real_faces(tmp_path):
    if not SHARED.is_dir():
        pytest.skip("celebamask_hq_mini is not here")
    faces = celebamask_hq.find_faces(SHARED.resolve())
    assert len(faces) == 137
    example = celebamask_hq.read_face(faces[0], (64, 64))
    labels = example["targets"]["segmentation"]
    assert set(np.unique(labels)) <= {0, 1, 2, IGNORE}
    assert labels[32, 32] == 0, "the middle of a face is skin"
