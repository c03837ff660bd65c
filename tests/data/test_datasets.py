"""`load`: the one way to open a data set, and what it says when it cannot."""

import ml_collections
import numpy as np
import pytest

from lim_jax.data import datasets, load, pipeline
from lim_jax.data.specs import IGNORE
from lim_jax.errors import UserError


def _config(tmp_path, **fields):
    defaults = {"name": "rooms", "data_dir": str(tmp_path), "source_dir": None, "image_size": (16, 24)}
    return ml_collections.ConfigDict({**defaults, "split_sizes": (3, 2, 1), **fields})


def test_rooms_load_with_the_chosen_targets(tmp_path):
    dataset = load(_config(tmp_path), ("normals", "depth"))
    assert dataset.name == "rooms"
    assert list(dataset.specs) == ["normals", "depth"]
    assert {split: len(source) for split, source in dataset.sources.items()} == dict(
        zip(datasets.SPLITS, (3, 2, 1), strict=True)
    )
    example = dataset.sources["validation"][1]
    assert example["image"].shape == (16, 24, 3)
    assert list(example["targets"]) == ["normals", "depth"]


def test_image_size_and_split_sizes_keep_records_apart(tmp_path):
    load(_config(tmp_path), ("depth",))
    other = load(_config(tmp_path, image_size=(24, 16), split_sizes=(1, 2, 1)), ("depth",))
    assert other.sources["train"][0]["targets"]["depth"].shape == (24, 16)
    assert len(other.sources["train"]) == 1


def test_what_is_scored_may_be_padded_or_of_another_size(tmp_path):
    tasks = ("depth", "segmentation")
    plain, padded, scored = (
        load(_config(tmp_path, **more), tasks) for more in ({}, {"padded_size": (20, 24)}, {"scored_size": (32, 48)})
    )
    native = load(_config(tmp_path, image_size=(32, 48)), tasks)
    for split in datasets.SPLITS:
        image, targets = plain.sources[split][0].values()
        of_padded, of_scored = padded.sources[split][0], scored.sources[split][0]
        if split == "train":
            assert of_padded["image"].shape == of_scored["image"].shape == (16, 24, 3)
            continue
        np.testing.assert_array_equal(of_padded["image"][2:18], image)
        np.testing.assert_array_equal(of_padded["targets"]["depth"][2:18], targets["depth"])
        assert np.all(of_padded["targets"]["segmentation"][[0, 1, 18, 19]] == IGNORE)
        np.testing.assert_array_equal(of_scored["image"], image)
        np.testing.assert_array_equal(of_scored["targets"]["depth"], native.sources[split][0]["targets"]["depth"])
    batches = list(pipeline.evaluation_batches(scored.sources["test"], scored.specs, batch_size=2))
    assert batches[0]["image"].shape == (2, 16, 24, 3)
    assert batches[0]["targets"]["segmentation"].shape == (2, 32, 48)
    assert np.all(batches[0]["targets"]["segmentation"][1] == IGNORE)


def test_data_dir_defaults_to_that_of_tfds(tmp_path, monkeypatch):
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))
    dataset = load(_config(tmp_path, data_dir=None), ("depth",))
    assert np.isfinite(dataset.sources["test"][0]["targets"]["depth"]).all()
    assert (tmp_path / "tfds/rooms").is_dir()


MISTAKES = {
    "unknown data set": ({"name": "roms"}, ("depth",), "'roms'.*celebamask_hq, folder, nyu, rooms"),
    "unknown task": ({}, ("depth", "smiling"), "'rooms' has no target 'smiling'.*segmentation, depth, normals"),
    "one number for a size": ({"image_size": (64,)}, ("depth",), r"image_size=\(64,\)"),
    "no size": ({"image_size": (0, 64)}, ("depth",), "image_size"),
    "a size that is no tuple": ({"image_size": 64}, ("depth",), "image_size=64"),
    "two splits": ({"split_sizes": (8, 8)}, ("depth",), "split_sizes"),
    "an empty split": ({"split_sizes": (8, 0, 8)}, ("depth",), "split_sizes"),
}


@pytest.mark.parametrize(("fields", "tasks", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_end_in_one_line(tmp_path, fields, tasks, message):
    with pytest.raises(UserError, match=message) as caught:
        load(_config(tmp_path, **fields), tasks)
    assert "\n" not in str(caught.value)


def _old_version(root):
    folder = root / "nyu/16x24-12345678/1.0.0"
    folder.mkdir(parents=True)


def test_records_of_an_incompatible_version_say_how_to_rebuild(tmp_path):
    _old_version(tmp_path)
    with pytest.raises(UserError, match=r"1\.0\.0 was prepared by an incompatible version .*source_dir"):
        load(_config(tmp_path, name="nyu", source_dir=""), ("depth",))


def _without_information(directory):
    (directory / "dataset_info.json").unlink()


def _with_other_features(directory):
    path = directory / "features.json"
    path.write_text(path.read_text().replace("float32", "float64"))


def _without_a_record_file(directory):
    next(directory.glob("*train*array_record*")).unlink()


def _with_a_record_file_cut_short(directory):
    path = next(directory.glob("*train*array_record*"))
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    "spoil", [_without_information, _with_other_features, _without_a_record_file, _with_a_record_file_cut_short]
)
def test_spoiled_records_say_how_to_rebuild(tmp_path, spoil):
    load(_config(tmp_path), ("depth",))
    (directory,) = tmp_path.glob("rooms/*/*.*.*")
    spoil(directory)
    with pytest.raises(UserError, match=r"cannot be read by this version .*--remove=old") as caught:
        load(_config(tmp_path), ("depth",)).sources["train"][0]
    assert "\n" not in str(caught.value)
