"""NYU-v2 from all layouts: the same tensors, the right splits, and one clear line for what is wrong."""

import json
import pathlib
import re
import shutil

import cv2
import ml_collections
import numpy as np
import pytest

from lim_jax.data import load, nyu40
from lim_jax.data.sources import nyu, nyu_layouts
from lim_jax.data.specs import IGNORE
from lim_jax.errors import UserError
from tests.data import nyu_trees

TASKS = ("segmentation", "depth", "normals")
SHARED = pathlib.Path(__file__).parents[3] / "../shared/data"


def _config(tmp_path, source, image_size=nyu_trees.SIZE, **more):
    source_dir = str(source) if source else None
    fields = {"name": "nyu", "data_dir": str(tmp_path / "records"), "source_dir": source_dir}
    return ml_collections.ConfigDict({**fields, "image_size": image_size, **more})


WRITERS = {
    "3-task": nyu_trees.write_three_task,
    "NYUD-MT": nyu_trees.write_nyud_mt,
    "NYUDv2.tar.gz": nyu_trees.write_nyudv2_png,
    "MTAN": nyu_trees.write_mtan,
}


def _write(layout, root, train, test):
    return WRITERS[layout](root, {"train": train, "test" if layout == "3-task" else "val": test})


def _real(folder):
    if not (SHARED / folder).is_dir():
        pytest.skip(f"{folder} is not here")
    return (SHARED / folder).resolve()


@pytest.mark.parametrize(
    ("layout", "classes"), [("3-task", 0), ("NYUD-MT", 40), ("NYUD-MT", 13), ("NYUDv2.tar.gz", 13), ("MTAN", 0)]
)
def test_records_hold_the_source(tmp_path, layout, classes):
    source = _write(layout, tmp_path / "source", [0, 1, 2], [3, 4])
    dataset = load(_config(tmp_path, source, classes=classes), TASKS)
    has_13 = classes == 13 or layout == "MTAN"
    assert len(dataset.specs["segmentation"].class_names) == (13 if has_13 else 40)
    assert {split: len(s) for split, s in dataset.sources.items()} == {"train": 3, "validation": 3, "test": 2}
    for split, numbers in (("train", [0, 1, 2]), ("test", [3, 4])):
        for index, number in enumerate(numbers):
            example, f = dataset.sources[split][index], nyu_trees.frame(number)
            np.testing.assert_array_equal(example["image"], f["image"])
            expected = nyu40.to_13(f["classes"]) if has_13 else f["classes"]
            np.testing.assert_array_equal(example["targets"]["segmentation"], expected)
            np.testing.assert_array_equal(example["targets"]["depth"], f["depth"])
            normals = example["targets"]["normals"]
            np.testing.assert_allclose(normals, f["normals"], atol=1 / 127.5)
            np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), np.any(f["normals"], -1), atol=1e-4)


def test_jpeg_images_are_found_too(tmp_path):
    source = nyu_trees.write_nyud_mt(tmp_path / "source", {"train": [1], "val": [2]}, image_type="jpg")
    image = load(_config(tmp_path, source), TASKS).sources["train"][0]["image"]
    np.testing.assert_allclose(image.astype(int), nyu_trees.frame(1)["image"], atol=4)


def test_frames_are_resized(tmp_path):
    source = _write("3-task", tmp_path / "source", [0, 1], [2])
    example = load(_config(tmp_path, source, (6, 8)), TASKS).sources["train"][0]
    assert example["image"].shape == (6, 8, 3)
    f = nyu_trees.frame(0)
    np.testing.assert_array_equal(example["targets"]["segmentation"], f["classes"][2::4, 2::4])
    np.testing.assert_allclose(example["targets"]["depth"][2, 3], f["depth"][8:12, 12:16].mean(), rtol=0.03)
    assert np.all(example["targets"]["depth"][-1] == 0)
    assert np.all(example["targets"]["normals"][:, -1] == 0)


def test_validation_is_taken_from_training_by_a_fixed_seed(tmp_path):
    source = _write("NYUD-MT", tmp_path / "source", list(range(30)), [40])
    dataset = load(_config(tmp_path, source, validation_share=0.2), TASKS)
    train, validation = (
        [dataset.sources[s][i]["image"][0, 0, 1] for i in range(len(dataset.sources[s]))]
        for s in ("train", "validation")
    )
    assert len(validation) == 6
    assert sorted([*train, *validation]) == list(range(30))
    layout = nyu_layouts.find_layout(source)
    assert nyu.with_validation(layout.splits, 0.2) == nyu.with_validation(layout.splits, 0.2)


def test_a_validation_split_of_the_source_is_used(tmp_path):
    source = nyu_trees.write_three_task(tmp_path / "source", {"train": [0], "val": [7], "test": [1]})
    assert load(_config(tmp_path, source), TASKS).sources["validation"][0]["image"][0, 0, 1] == 7


def test_a_tiny_source_validates_on_its_training_frames_and_says_so(tmp_path, messages):
    source = _write("3-task", tmp_path / "source", [0, 1], [2])
    dataset = load(_config(tmp_path, source), TASKS)
    assert any("validation uses the training frames" in message for message in messages)
    for index in range(2):
        images = [dataset.sources[split][index]["image"] for split in ("train", "validation")]
        np.testing.assert_array_equal(*images)


def test_another_source_is_not_mistaken_for_the_first(tmp_path, messages):
    first = _write("3-task", tmp_path / "first", [0, 1], [2])
    second = _write("3-task", tmp_path / "second", [5, 6], [7])
    assert load(_config(tmp_path, first), TASKS).sources["train"][0]["image"][0, 0, 1] == 0
    load(_config(tmp_path, None), TASKS)
    (said,) = [message for message in messages if "source_dir is not set" in message]
    assert re.search(rf"of {first}, prepared 20.*\(2 train, 2 validation, 1 test\)", said)
    assert load(_config(tmp_path, second), TASKS).sources["train"][0]["image"][0, 0, 1] == 5
    with pytest.raises(UserError, match="2 sources") as error:
        load(_config(tmp_path, None), TASKS)
    assert f"{first}, " in str(error.value)
    assert f"{second}, " in str(error.value)


def test_a_changed_file_is_prepared_again(tmp_path):
    source = _write("3-task", tmp_path / "source", [0, 1], [2])
    load(_config(tmp_path, source), TASKS)
    np.save(source / "depth/0000.npy", np.full((*nyu_trees.SIZE, 1), 9, np.float32))  # a trailing axis is fine
    assert load(_config(tmp_path, source), TASKS).sources["train"][0]["targets"]["depth"].max() == 9


def test_prepared_records_need_no_source(tmp_path):
    source = _write("3-task", tmp_path / "source", [0, 1], [2])
    load(_config(tmp_path, source), TASKS)
    shutil.rmtree(source)
    assert len(load(_config(tmp_path, None), ("depth",)).sources["test"]) == 1
    with pytest.raises(UserError, match="not prepared at 6x8"):
        load(_config(tmp_path, None, (6, 8)), TASKS)


def _remove(path):
    return lambda root: (root / path).unlink()


def _save(path, array):
    return lambda root: np.save(root / path, array)


def _image(path, array):
    return lambda root: cv2.imwrite(str(root / path), array)


def _text(path, text):
    return lambda root: (root / path).write_text(text)


def _cut(path):
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:40])


ZEROS = np.zeros(nyu_trees.SIZE, np.float32)
BAD_SOURCES = {
    "no listing": ("3-task", _remove("nyu_v2_3task.json"), "neither nyu_v2_3task.json"),
    "listing is not JSON": ("3-task", _text("nyu_v2_3task.json", "{"), "nyu_v2_3task.json is not"),
    "listing is a list": ("3-task", _text("nyu_v2_3task.json", "[]"), "nyu_v2_3task.json is not"),
    "rows are too short": ("3-task", _text("nyu_v2_3task.json", json.dumps({"train": [["a"]]})), "is not"),
    "no test split": ("3-task", _text("nyu_v2_3task.json", json.dumps({"train": [["a"] * 4]})), "test split"),
    "no train.txt": ("NYUD-MT", _remove("gt_sets/train.txt"), "train.txt is missing"),
    "empty val.txt": ("NYUD-MT", _text("gt_sets/val.txt", ""), "no frames of the test split"),
    "a list that leads out": (
        "3-task",
        _text("nyu_v2_3task.json", json.dumps({split: [["../a.png"] * 4] for split in ("train", "test")})),
        "names ../a.png, which lies outside",
    ),
    "names that lead out": ("NYUD-MT", _text("gt_sets/val.txt", "../../0"), "outside of .*follow_links"),
    "image is missing": ("3-task", _remove("img/0001.png"), "img/0001.png"),
    "image is cut short": ("3-task", _cut("img/0001.png"), "not a readable image"),
    "image is empty": ("3-task", _text("img/0001.png", ""), "not a readable image"),
    "depth is missing": ("NYUD-MT", _remove("depth/0001.npy"), "depth/0001.npy"),
    "depth is cut short": ("3-task", _cut("depth/0001.npy"), "as a NumPy array"),
    "depth of another size": ("3-task", _save("depth/0001.npy", ZEROS[:-1]), "23×32 but its image"),
    "labels of another size": ("3-task", _image("seg/0001.png", ZEROS[:, :-1]), "24×31 but its image"),
    "labels in colour": (
        "3-task",
        _image("seg/0001.png", np.dstack([ZEROS, ZEROS, ZEROS + 1])),
        "3 different channels",
    ),
    "label out of range": ("3-task", _image("seg/0001.png", ZEROS + 40), "the label 40"),
    "label out of range, from 1": ("NYUD-MT", _image("segmentation/0001.png", ZEROS + 41), "the label 41"),
    "normals are a plane": ("NYUD-MT", _save("normals/0001.npy", ZEROS), "not a map of finite normals"),
    "normals have infinities": (
        "NYUD-MT",
        _save("normals/0001.npy", np.full((*nyu_trees.SIZE, 3), np.inf)),
        "not a map of finite normals",
    ),
}


@pytest.mark.parametrize(("layout", "spoil", "message"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_what_is_wrong_with_a_source_is_said_in_one_line(tmp_path, layout, spoil, message):
    source = _write(layout, tmp_path / "source", [0, 1], [2])
    spoil(source)
    with pytest.raises(UserError, match=message) as caught:
        load(_config(tmp_path, source), TASKS)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "records").glob("nyu/*/*.*.*")), "no half-written records"
    assert not list((tmp_path / "records").glob("nyu/*/*incomplete*"))


@pytest.mark.parametrize("source", [None, "nowhere"])
def test_without_data_the_error_says_where_to_get_it(tmp_path, source):
    with pytest.raises(UserError, match=r"github.com/.*--config.dataset.source_dir=FOLDER"):
        load(_config(tmp_path, source), TASKS)


def test_real_frames_of_both_layouts_agree(tmp_path):
    three_task = nyu_layouts.find_layout(_real("nyu_3task_mini"))
    nyud_mt = nyu_layouts.find_layout(_real("nyud_mt_mini"))
    frames = [{f.image.stem: f for fs in layout.splits.values() for f in fs} for layout in (three_task, nyud_mt)]
    common = sorted(set(frames[0]) & set(frames[1]))
    assert common == ["0295", "1314"]
    for name in common:
        a = nyu.read_frame(frames[0][name], three_task, (240, 320))
        b = nyu.read_frame(frames[1][name], nyud_mt, (240, 320))
        assert np.abs(a["image"].astype(int) - b["image"]).mean() < 1.5  # PNG here, JPEG there
        np.testing.assert_array_equal(a["targets"]["segmentation"], b["targets"]["segmentation"])
        np.testing.assert_array_equal(a["targets"]["depth"], b["targets"]["depth"])
        np.testing.assert_allclose(a["targets"]["normals"], b["targets"]["normals"], atol=1e-4)


@pytest.mark.parametrize("folder", ["nyu_3task_mini", "nyud_mt_mini"])
def test_axes_of_real_normals(folder):
    """Normals of the back-projected depth agree in x right, y into the scene, z up, and in no mirror image of it."""
    layout = nyu_layouts.find_layout(_real(folder))
    focal, column, row = 518.86, 325.58, 253.74  # of NYU's colour camera
    for frames in layout.splits.values():
        for frame in frames:
            targets = nyu.read_frame(frame, layout, (480, 640))["targets"]
            depth, normals = targets["depth"], targets["normals"]
            v, u = np.mgrid[:480, :640]
            points = np.stack([(u - column) * depth / focal, depth, (row - v) * depth / focal], axis=-1)
            right, down = points[7:-7, 14:] - points[7:-7, :-14], points[14:, 7:-7] - points[:-14, 7:-7]
            found = np.cross(down, right)
            found /= np.linalg.norm(found, axis=-1, keepdims=True) + 1e-12
            given, known = normals[7:-7, 7:-7], depth[7:-7, 7:-7] > 0
            valid = known & np.any(given != 0, axis=-1)

            def error(signs, valid=valid, found=found, given=given):
                cosine = np.sum(found * given * np.array(signs), axis=-1)[valid]
                return np.median(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))

            assert error((1, 1, 1)) < 15
            assert min(error(s) for s in ((-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, 1))) > 20


def test_an_archive_gives_the_same_pixels(tmp_path):
    """NYUDv2.tar.gz holds a window of the frames; normals went through 8 bits in both."""
    archive, whole = (nyu_layouts.find_layout(_real(name)) for name in ("nyudv2_png_mini", "nyud_mt_mini"))
    for split, frames in archive.splits.items():
        for frame, full in zip(frames, whole.splits[split], strict=True):
            a = nyu.read_frame(frame, archive, (425, 560))
            b = nyu.read_frame(full, whole, (480, 640))
            for name, target in a["targets"].items():
                window = b["targets"][name][27 : 27 + 425, 40 : 40 + 560]
                np.testing.assert_allclose(target, window, atol=1e-6 if name == "normals" else 0, err_msg=name)
            np.testing.assert_array_equal(a["image"], b["image"][27 : 27 + 425, 40 : 40 + 560])


def test_npy_folders_give_the_same_frames_up_to_how_they_were_resized():
    """MTAN's were resized by taking pixels, ours by surfaces: they differ along edges."""
    npy, whole = (nyu_layouts.find_layout(_real(name)) for name in ("mtan_npy_mini", "nyud_mt_mini"))
    for split, frames in npy.splits.items():
        for frame, full in zip(frames, whole.splits[split], strict=True):
            a = nyu.read_frame(frame, npy, (288, 384), classes=13)
            b = nyu.read_frame(full, whole, (288, 384), classes=13)
            assert np.abs(a["image"].astype(int) - b["image"]).max() <= 1
            found, expected = ({**e["targets"]} for e in (a, b))
            assert np.mean(found["segmentation"] == expected["segmentation"]) > 0.95
            known = (found["depth"] > 0) & (expected["depth"] > 0)
            assert np.mean(known == (expected["depth"] > 0)) > 0.97
            assert np.median(np.abs(found["depth"] - expected["depth"])[known]) < 0.01
            cosine = np.sum(found["normals"] * expected["normals"], axis=-1)
            assert np.quantile(cosine[found["normals"].any(-1) & expected["normals"].any(-1)], 0.05) > 0.97


def test_13_classes_by_name():
    """A few of class13Mapping.mat."""
    for name, coarse in {
        "wall": "wall",
        "bookshelf": "furniture",
        "desk": "table",
        "blinds": "window",
        "television": "tv",
        "books": "books",
        "floor mat": "floor",
        "person": "objects",
    }.items():
        index = nyu40.to_13(np.array([nyu40.CLASS_NAMES.index(name), IGNORE], np.uint8))
        assert nyu40.CLASS_NAMES_13[index[0]] == coarse and index[1] == IGNORE


def test_13_and_40_classes_of_a_source_are_told_apart(tmp_path):
    source = _write("3-task", tmp_path / "source", [0, 1], [2])
    for classes in (40, 13):
        load(_config(tmp_path, source, classes=classes), TASKS)
    for classes in (40, 13):  # without the source the name of the records says which they are
        dataset = load(_config(tmp_path, None, classes=classes), TASKS)
        labels = dataset.sources["train"][0]["targets"]["segmentation"]
        assert len(dataset.specs["segmentation"].class_names) == classes
        assert (labels[labels != IGNORE].max() < 13) == (classes == 13)
    with pytest.raises(UserError, match=r"has 13 classes: set dataset\.classes to 13"):
        load(_config(tmp_path, _write("MTAN", tmp_path / "mtan", [0], [1]), classes=40), TASKS)


@pytest.mark.parametrize("layout", WRITERS)
def test_only_the_chosen_tasks_files_are_needed(tmp_path, layout):
    source = _write(layout, tmp_path / "source", [0, 1], [2])
    for path in source.rglob("*norm*/*"):
        path.unlink()
    dataset = load(_config(tmp_path, source), ("depth",))
    assert list(dataset.sources["train"][0]["targets"]) == ["depth"]
    assert load(_config(tmp_path, None, classes=13 if layout == "MTAN" else 0), ("segmentation",))
    with pytest.raises(UserError, match="norm"):
        load(_config(tmp_path, source), ("normals",))


def test_real_frames_prepare(tmp_path):
    config = _config(tmp_path, _real("nyu_3task_mini"), (96, 128))
    dataset = load(config, TASKS)
    assert {split: len(s) for split, s in dataset.sources.items()} == {"train": 2, "validation": 2, "test": 1}
    for source in dataset.sources.values():
        for index in range(len(source)):
            targets = source[index]["targets"]
            assert np.mean(targets["segmentation"] != IGNORE) > 0.7
            assert np.mean(targets["depth"] > 0) == 1
            assert 0.5 < np.mean(np.any(targets["normals"] != 0, axis=-1)) < 0.9
