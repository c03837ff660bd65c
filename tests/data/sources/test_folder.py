"""One's own images: what the manifest and the tasks file say is what is read, and one clear line for what is wrong."""

import hashlib
import json
import os
import pathlib
import re
import shutil

import cv2
import ml_collections
import numpy as np
import PIL.Image
import pytest

from lim_jax.data import load, statistics
from lim_jax.data.sources import folder, task_file
from lim_jax.data.specs import IGNORE
from lim_jax.errors import UserError
from tests.data import folder_trees

FACES = pathlib.Path(__file__).parents[3] / "../shared/data/faces_19class"


def _config(tmp_path, source, image_size=folder_trees.SIZE, **more):
    return ml_collections.ConfigDict(
        {
            "name": "folder",
            "data_dir": str(tmp_path / "records"),
            "source_dir": str(source),
            "image_size": image_size,
            **more,
        }
    )


@pytest.mark.parametrize(("manifest", "tasks"), [("manifest.csv", "tasks.json"), ("manifest.jsonl", "tasks.yaml")])
def test_records_hold_the_source(tmp_path, manifest, tasks):
    source = folder_trees.write(tmp_path / "source", manifest, tasks)
    dataset = load(_config(tmp_path, source), tuple(folder_trees.TASKS))
    assert {split: len(s) for split, s in dataset.sources.items()} == {"train": 3, "validation": 1, "test": 1}
    assert dataset.specs["parts"].class_names == ("thing", "rest")
    assert dataset.specs["parts"].colors == ((250, 0, 0), (0, 0, 250))
    positions = {0: ("train", 0), 1: ("train", 1), 3: ("train", 2)}
    for index, (split, position) in (positions | {4: ("validation", 0), 5: ("test", 0)}).items():
        example = dataset.sources[split][position]
        assert np.all(example["image"] == index + 1)
        for task, spec in dataset.specs.items():
            target, missing = example["targets"][task], spec.missing(folder_trees.SIZE)
            assert (target.dtype, target.shape) == (missing.dtype, missing.shape)
            assert np.array_equal(target, missing) != folder_trees.has(index, task)
        if folder_trees.has(index, "smiling"):
            assert example["targets"]["smiling"] == index % 2
            parts = example["targets"]["parts"]
            assert np.all(parts[:8] == 0) and np.all(parts[8] == IGNORE) and np.all(parts[9:] == 1)
    depth = dataset.sources["train"][2]["targets"]["depth"]
    np.testing.assert_allclose(depth[2:], 1.3, rtol=1e-6)
    assert np.all(depth[:2] == 0)
    normals = dataset.sources["train"][2]["targets"]["normals"]
    np.testing.assert_allclose(normals[:, 1:], np.broadcast_to([0, 0, 1], normals[:, 1:].shape), atol=1e-4)
    assert np.all(normals[:, 0] == 0)


def test_training_leaves_out_what_is_not_labelled_for_its_tasks(tmp_path, messages):
    source = folder_trees.write(tmp_path / "source")
    dataset = load(_config(tmp_path, source), ("depth",))
    assert [dataset.sources["train"][i]["image"][0, 0, 0] for i in range(len(dataset.sources["train"]))] == [1, 4]
    assert any(message.startswith("folder: 2 of 4 training images are labelled") for message in messages)
    assert dataset.training_files == ("images/0.png", "images/3.png")
    joined = load(_config(tmp_path, source, validation_share=0.0), ("depth",))
    assert joined.training_files == ("images/0.png", "images/3.png", "images/4.png")
    assert len(joined.sources["train"]) == 3
    text = (source / "manifest.csv").read_text()
    (source / "manifest.csv").write_text(re.sub(r"(train.*?)depth/\d.png", r"\1", text))
    with pytest.raises(UserError, match=r"no training image in .* is labelled for depth"):
        load(_config(tmp_path, source), ("depth",))


def test_classes_may_be_plain_names_and_tasks_yaml(tmp_path):
    source = folder_trees.write(tmp_path / "source")
    os.remove(source / "tasks.json")
    (source / "tasks.yaml").write_text("parts:\n  type: segmentation\n  classes: [sky, sea]\n  ignore: [9, 300]\n")
    target = load(_config(tmp_path, source), ("parts",)).sources["train"][0]["targets"]["parts"]
    assert np.all(target[:4] == 1) and np.all(target[4:9] == IGNORE) and np.all(target[9:] == 0)


def test_a_palette_image_counts_by_its_indices(tmp_path):
    source = folder_trees.write(tmp_path / "source")
    indices = np.zeros(folder_trees.SIZE, np.uint8)
    indices[:4] = 1
    image = PIL.Image.fromarray(indices)
    image.putpalette([250, 0, 0, 0, 9, 0])
    image.save(source / "parts/0.png")
    target = load(_config(tmp_path, source), ("parts",)).sources["train"][0]["targets"]["parts"]
    np.testing.assert_array_equal(target, 1 - indices)
    (source / "parts/0.png").write_bytes((source / "parts/0.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"parts/0\.png is not a readable image"):
        load(_config(tmp_path, source), ("parts",))


def test_changed_tasks_are_prepared_again(tmp_path):
    source = folder_trees.write(tmp_path / "source")
    first = load(_config(tmp_path, source), ("depth",)).sources["train"][0]["targets"]["depth"]
    (source / "tasks.json").write_text(json.dumps({**folder_trees.TASKS, "depth": {"type": "depth"}}))
    second = load(_config(tmp_path, source), ("depth",)).sources["train"][0]["targets"]["depth"]
    np.testing.assert_allclose(second[2:], 1000 * first[2:], rtol=1e-6)


def _with_values(root, weather="rain", age="31.5"):
    """Adds a category and a number to the tasks, labelled but for the image in the middle."""
    tasks = {"weather": {"type": "category", "classes": ["Sunny", "rain"]}, "age": {"type": "number", "unit": "years"}}
    (root / "tasks.json").write_text(json.dumps(folder_trees.TASKS | tasks))
    header, *lines = (root / "manifest.csv").read_text().splitlines()
    values = [",,", *[f",{weather},{age}"] * (len(lines) - 1)]
    text = [header + ",weather,age", *(line + value for line, value in zip(lines, values, strict=True))]
    (root / "manifest.csv").write_text("\n".join(text) + "\n")


def test_categories_and_numbers_stand_in_the_manifest(tmp_path):
    source = folder_trees.write(tmp_path / "source")
    _with_values(source, "SUNNY", "-2e3")
    dataset = load(_config(tmp_path, source), ("weather", "age"))
    assert dataset.specs["weather"].class_names == ("Sunny", "rain") and dataset.specs["age"].unit == "years"
    found = [dataset.sources["train"][index]["targets"] for index in range(len(dataset.sources["train"]))]
    assert {int(each["weather"]) for each in found} == {0} and {float(each["age"]) for each in found} == {-2000}
    described = statistics.describe(dataset.sources["test"], dataset.specs)
    assert described["weather"]["categories"] == {"Sunny": 1, "rain": 0}
    assert described["age"]["numbers"] == [-2000, -2000, -2000]


def _tasks(**changes):
    def spoil(root):
        content = {name: fields for name, fields in (folder_trees.TASKS | changes).items() if fields is not None}
        (root / "tasks.json").write_text(json.dumps(content))

    return spoil


def _manifest(old, new):
    """Replaces text, a regular expression, in the manifest."""

    def spoil(root):
        path = root / "manifest.csv"
        text = re.sub(old, new, path.read_text())
        assert text != path.read_text()
        path.write_text(text)

    return spoil


def _file(path, content):
    def spoil(root):
        if isinstance(content, str):
            (root / path).write_text(content)
        elif path.endswith(".npy"):
            np.save(root / path, content)
        else:
            cv2.imwrite(str(root / path), content)

    return spoil


def _remove(path):
    return lambda root: (root / path).unlink()


def _segmentation(**fields):
    return _tasks(parts={"type": "segmentation", **fields})


H, W = folder_trees.SIZE
ZEROS = np.zeros((H, W), np.uint8)
BAD_SOURCES = {
    "no tasks file": (_remove("tasks.json"), "tasks.yaml is missing: one of"),
    "two tasks files": (_file("tasks.yaml", "a: b"), "tasks.yaml and tasks.json are both there"),
    "no manifest": (_remove("manifest.csv"), "manifest.csv is missing: one of"),
    "tasks are not YAML": (_file("tasks.json", "{"), "tasks.json is not valid YAML or JSON"),
    "tasks are a list": (_file("tasks.json", "[]"), "does not map task names"),
    "tasks are no text": (_file("tasks.json", ""), "does not map task names"),
    "unknown type": (_tasks(depth={"type": "height"}), "'depth' has type 'height': write"),
    "unknown option": (_tasks(depth={"type": "depth", "unit": "mm"}), "'depth' has 'unit': .* has range, scale"),
    "odd task name": (_tasks(Depth={"type": "depth"}), "'Depth': a name has lower case"),
    "reserved task name": (_tasks(best={"type": "depth"}), "'best'.*is not best, latest"),
    "no classes": (_segmentation(), "not understood"),
    "a label twice": (
        _segmentation(classes=[{"name": "a", "labels": [1]}, {"name": "b", "labels": [1]}]),
        "1 is given",
    ),
    "a class twice": (_segmentation(classes=["a", "a"]), "same name"),
    "label is no number": (_segmentation(classes=[{"name": "a", "labels": ["sky"]}]), "'sky' is no label"),
    "some colours": (
        _segmentation(classes=["a", {"name": "b", "color": [0, 0, 0], "labels": [5]}]),
        "give all classes",
    ),
    "range upside down": (_tasks(depth={"type": "depth", "range": [9, 1]}), "range is .from, to."),
    "axes twice": (_tasks(normals={"type": "normals", "axes": ["x", "x", "y"]}), "axes are three of"),
    "a task without column": (_tasks(colour={"type": "attribute"}), "no column 'colour'"),
    "unknown split": (_manifest("validation", "valdation"), "line 6: split is 'valdation': write train"),
    "empty split": (_manifest("validation", "train"), "no image of the validation split"),
    "image without name": (_manifest("images/4.png", ""), "line 6 names no image"),
    "short row": (_manifest(",yes\n", "\n"), "line .: not as many cells"),
    "attribute is a word": (_manifest(",yes\n", ",often\n"), "smiling is 'often': write yes or no"),
    "category of no class": (
        lambda root: _with_values(root, weather="fog"),
        "weather is 'fog': write one of Sunny, rain",
    ),
    "number is a word": (lambda root: _with_values(root, age="old"), "age is 'old': write a number"),
    "number is infinite": (lambda root: _with_values(root, age="inf"), "age is 'inf': write a number"),
    "a task without labels": (_manifest("(yes|no)\n", "\n"), "labels no image for the task 'smiling'"),
    "image twice": (_manifest("images/1.png", "images/0.png"), "0.png is listed twice in train"),
    "train in test": (_manifest("images/5.png", "images/0.png"), "0.png is listed in train and in test"),
    "image is missing": (_remove("images/3.png"), "cannot read .*images/3.png .No such file"),
    "label is missing": (_remove("parts/3.png"), "cannot read .*parts/3.png .No such file"),
    "image is no image": (_file("images/3.png", "GIF"), "images/3.png is not a readable image"),
    "labels of another size": (_file("parts/3.png", np.zeros((H, W + 1))), "16×25 but its image 3.png is 16×24"),
    "labels in colour": (_file("parts/3.png", np.dstack([ZEROS, ZEROS, ZEROS + 1])), "3 different channels"),
    "label of no class": (
        _segmentation(classes=["a", "b"], ignore=[300]),
        "label 9, which no class of the task 'parts' has",
    ),
    "depth is negative": (
        lambda root: (_manifest("depth/3.png", "depth/3.npy")(root), _file("depth/3.npy", np.full((H, W), -1.0))(root)),
        "negative depths",
    ),
    "normals are not unit": (_file("normals/3.npy", np.full((H, W, 3), 1.0)), "not unit, one of length 1.73"),
    "normals are a plane": (_file("normals/3.npy", np.zeros((H, W))), "not a map of finite normals"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_what_is_wrong_with_a_source_is_said_in_one_line(tmp_path, spoil, message):
    source = folder_trees.write(tmp_path / "source")
    spoil(source)
    with pytest.raises(UserError, match=message) as caught:
        load(_config(tmp_path, source), tuple(folder_trees.TASKS))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "records").glob("*/*/*.*.*")), "no half-written records"


def test_all_bad_files_are_listed(tmp_path):
    source = folder_trees.write(tmp_path / "source")
    for name in ("parts/0.png", "normals/1.npy", "images/3.png", "parts/4.png", "parts/5.png"):
        (source / name).write_bytes(b"?")
    with pytest.raises(UserError) as caught:
        load(_config(tmp_path, source), tuple(folder_trees.TASKS))
    assert re.match(
        r"5 things are wrong: \(1\) .*parts/0\.png .*\(2\) .*normals/1\.npy .*\(3\) .*images/3\.png .*"
        r"\(4\) .*parts/4\.png .*\(5\) .*parts/5\.png ",
        str(caught.value),
    )
    assert "\n" not in str(caught.value)


def _copy(name, other):
    return lambda root: shutil.copy(root / name, root / other)


OVERLAPS = {
    "another way to write a path": (_manifest("images/5.png", "./images/../images/0.png"), "in train and in test"),
    "a link": (lambda root: _linked(root, "images/5.png", "images/0.png"), "in train and in test .once as "),
    "a copy": (
        _copy("images/0.png", "images/5.png"),
        "5.png of test is the same image as .*0.png of train: .*remove one",
    ),
}


def _linked(root, name, other):
    (root / name).unlink()
    (root / name).symlink_to(root / other)


@pytest.mark.parametrize(("spoil", "message"), OVERLAPS.values(), ids=OVERLAPS)
def test_what_is_tested_on_is_not_trained_on(tmp_path, spoil, message):
    source = folder_trees.write(tmp_path / "source")
    spoil(source)
    with pytest.raises(UserError, match=message):
        load(_config(tmp_path, source), tuple(folder_trees.TASKS))


def test_copies_within_a_split_are_the_users_affair(tmp_path):
    source = folder_trees.write(tmp_path / "source")
    _copy("images/0.png", "images/1.png")(source)
    load(_config(tmp_path, source), tuple(folder_trees.TASKS))


def _keeping_times(path, change):
    status = path.stat()
    change(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _repair(path):
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), image[::-1])


def _swap_classes(path):
    path.write_text(path.read_text().replace('"thing"', '"XX"').replace('"rest"', '"thing"').replace('"XX"', '"rest"'))


SILENT_CHANGES = {
    "a label repaired in place": ("parts/0.png", _repair),
    "an image replaced": ("images/0.png", lambda path: cv2.imwrite(str(path), np.full((*folder_trees.SIZE, 3), 99))),
    "classes swapped": ("tasks.json", _swap_classes),
    "notes": ("manifest.csv", lambda path: path.write_text(path.read_text().replace("not a task", "nota task "))),
}


@pytest.mark.parametrize(("name", "change"), SILENT_CHANGES.values(), ids=SILENT_CHANGES)
def test_records_do_not_outlive_their_source(tmp_path, name, change):
    """Not even when the size and the time of the file that changed are kept."""
    source = folder_trees.write(tmp_path / "source")
    load(_config(tmp_path, source), tuple(folder_trees.TASKS))
    _keeping_times(source / name, change)
    load(_config(tmp_path, source), tuple(folder_trees.TASKS))
    assert len(list((tmp_path / "records/folder").iterdir())) == 2


def test_a_file_saved_unchanged_prepares_nothing_anew(tmp_path):
    source = folder_trees.write(tmp_path / "source")
    load(_config(tmp_path, source), ("depth",))
    (source / "tasks.json").write_text((source / "tasks.json").read_text() + "\n")
    os.utime(source / "tasks.json", (1, 1))
    (source / "tasks.json").write_text((source / "tasks.json").read_text().rstrip())
    load(_config(tmp_path, source), ("depth",))
    assert len(list((tmp_path / "records/folder").iterdir())) == 1


def _former_records(tmp_path, source):
    """Prepares records and gives them the name that earlier versions gave."""
    load(_config(tmp_path, source), ("depth",))
    (directory,) = (tmp_path / "records/folder").iterdir()
    rows = folder.read_manifest(source, folder.read_targets(source))
    paths = [path for row in rows for path in (row.image, *row.labels.values()) if not isinstance(path, int)]
    named = [(os.path.relpath(path, source), path) for path in (source / "tasks.json", source / "manifest.csv", *paths)]
    digest = hashlib.sha256()
    for name, path in named:
        digest.update(f"{name} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    return directory.rename(directory.with_name(f"16x24-{digest.hexdigest()[:8]}"))


def test_records_of_earlier_versions_are_read_while_their_source_is_the_same(tmp_path, messages):
    source = folder_trees.write(tmp_path / "source")
    former = _former_records(tmp_path, source)
    load(_config(tmp_path, source), ("depth",))
    assert [path.name for path in (tmp_path / "records/folder").iterdir()] == [former.name]
    assert any("was prepared by an earlier version" in message for message in messages)
    _repair(source / "parts/0.png")
    load(_config(tmp_path, source), ("depth",))
    assert len(list((tmp_path / "records/folder").iterdir())) == 2


def test_look_and_training_say_what_was_noted_of_the_files(tmp_path):
    """Turned images, depths that are no measurements, and masks of 0 and 255; records keep it for later runs."""
    source = folder_trees.write(tmp_path / "source")
    square = np.zeros((16, 16), np.uint8)
    for index in range(6):
        depth = np.full(square.shape, 2000, np.uint16)
        depth[0, :2], depth[1] = 65535, 9000
        cv2.imwrite(str(source / f"depth/{index}.png"), depth)
        cv2.imwrite(str(source / f"parts/{index}.png"), (square + 255) * (np.arange(16) < 4).astype(np.uint8))
        np.save(source / f"normals/{index}.npy", np.tile([0, -1.0, 0], (16, 16, 1)))
        image = PIL.Image.fromarray(np.dstack([square + index * 9] * 3))
        exif = image.getexif()
        exif[0x0112] = 6 if index < 2 else 1
        image.save(source / f"images/{index}.png", exif=exif)
    classes = {"type": "segmentation", "classes": ["background", "thing"]}
    (source / "tasks.json").write_text(json.dumps({**folder_trees.TASKS, "parts": classes}))
    for _ in range(2):
        dataset = load(_config(tmp_path, source, (16, 16)), tuple(folder_trees.TASKS))
        found = statistics.training_warnings(dataset)
        for sentence in (
            "^2 images of train are turned as their EXIF orientation says, and their labels with them",
            "^depth: 4 pixels of 2 depth maps of train are 65535 and were taken as unknown",
            "^depth: 32 pixels of 2 depth maps of train are beyond the range",
            "^parts: the label maps of train hold only 0 and 255, and 255 is ignored by default",
        ):
            assert any(re.search(sentence, warning) for warning in found), (sentence, found)
    assert np.all(dataset.sources["train"][0]["targets"]["parts"][:4] == IGNORE), "turned with its image"
    assert np.all(dataset.sources["train"][0]["targets"]["depth"][:, -2] == 0)


BAD_LINES = {
    "not JSON": ("{", "line 7 is not JSON"),
    "not an object": ("[1]", "line 7 is not a JSON object"),
    "no split": ('{"image": "images/0.png"}', "line 7: split is ''"),
}


@pytest.mark.parametrize(("line", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_bad_lines_of_a_json_manifest(tmp_path, line, message):
    source = folder_trees.write(tmp_path / "source", "manifest.jsonl")
    with (source / "manifest.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=message):
        load(_config(tmp_path, source), tuple(folder_trees.TASKS))


def test_the_source_must_be_set_and_there(tmp_path):
    for source, message in (("", "source_dir is not set"), (tmp_path / "nowhere", "is not a folder")):
        with pytest.raises(UserError, match=message):
            load(_config(tmp_path, source), ("depth",))


def test_nineteen_labels_become_three_classes():
    if not FACES.is_dir():
        pytest.skip("faces_19class is not here")
    other = {"name": "rest", "labels": "other"}
    classes = [{"name": "skin", "labels": [1, 2, 4, 5, 6, 7, 10, 11, 12]}, {"name": "hair", "labels": [13]}, other]
    target = task_file.segmentation_target("segmentation", {"classes": classes})
    image = sorted((FACES / "images").glob("*.jpg"))[0]
    row = folder.Row(image, "train", {"segmentation": FACES / f"masks/{image.stem}.png"})
    example = folder.read_row(row, {"segmentation": target}, (64, 64))
    labels = example["targets"]["segmentation"]
    assert set(np.unique(labels)) == {0, 1, 2}
    assert labels[36, 32] == 0, "the middle of a face is skin"
