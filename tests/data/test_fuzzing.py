"""Damaged files of every kind: each reader gives a result or one clear line, and neither hangs nor crashes."""

import io
import json
import pathlib
import time

import cv2
import jax
import numpy as np
import PIL.Image
import pytest

from lim_jax.data import records, rooms
from lim_jax.data.problems import Problems
from lim_jax.data.sources import files, folder, nyu_layouts, task_file
from lim_jax.errors import UserError
from tests.data import folder_trees

MUTATIONS = 300
SECONDS = 2.0
SIZE = (12, 16)
SHARE = {  # of the mutations; each kind of damage that files suffer
    "bytes": 0.4,
    "cut": 0.2,
    "inserted": 0.15,
    "removed": 0.15,
    "words": 0.1,
}
WORDS = [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"9" * 40, b"\n", b'"', b"\\", b"{[" * 200, b"&a *a", b"../" * 9]


def _mutated(data: bytes, rng: np.random.Generator) -> bytes:
    kind = rng.choice(list(SHARE), p=list(SHARE.values()))
    begin = int(rng.integers(len(data)))
    # Half of the damage is near the start, where headers are.
    begin = begin % 64 if rng.random() < 0.5 else begin
    end = min(begin + int(rng.integers(1, 32)), len(data))
    if kind == "bytes":
        noise = rng.integers(0, 256, int(rng.integers(1, 8)), np.uint8)
        places = (begin + rng.integers(0, 64, len(noise))) % len(data)
        changed = np.frombuffer(data, np.uint8).copy()
        changed[places] = noise
        return changed.tobytes()
    if kind == "cut":
        return data[:begin]
    if kind == "inserted":
        return data[:begin] + rng.bytes(end - begin) + data[begin:]
    if kind == "removed":
        return data[:begin] + data[end:]
    word = WORDS[int(rng.integers(len(WORDS)))]
    return data[:begin] + word + data[begin + len(word) * int(rng.integers(2)) :]


def _survives(path: pathlib.Path, data: bytes, read, mutations: int = MUTATIONS) -> int:
    """Reads many damaged copies of `data` and returns how many were refused."""
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(mutations):
        path.write_bytes(_mutated(data, rng))
        began = time.thread_time()
        try:
            read()
        except UserError as error:
            refused += 1
            assert "\n" not in str(error), trial
        assert time.thread_time() - began < SECONDS, trial
    return refused


def _pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def _encoded(ending: str, image: np.ndarray) -> bytes:
    return cv2.imencode(ending, image)[1].tobytes()


def _with_exif() -> bytes:
    image = PIL.Image.fromarray(_pixels())
    exif = image.getexif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "jpeg", exif=exif)
    return file.getvalue()


def _array(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


READERS = (files.read_labels, files.read_depth, files.read_normals, files.read_binary)


def _read_all(path: pathlib.Path) -> None:
    """Reads a file as everything that it may be called in a manifest."""
    photo = files.Photo(path, np.zeros((*SIZE, 3), np.uint8))
    problems = Problems()
    with problems.gathered():
        files.read_photo(path)
    for read in READERS:
        with problems.gathered():
            read(path, photo)
    problems.raise_any()


IMAGES = {
    "PNG": (".png", lambda: _encoded(".png", _pixels())),
    "16-bit PNG": (".png", lambda: _encoded(".png", _pixels()[..., 0].astype(np.uint16) * 200)),
    "JPEG": (".jpg", lambda: _encoded(".jpg", _pixels())),
    "JPEG with EXIF": (".jpg", _with_exif),
    "TIFF": (".tiff", lambda: _encoded(".tiff", _pixels())),
    "TIFF of floats": (".tiff", lambda: _encoded(".tiff", _pixels()[..., 0].astype(np.float32) / 255)),
    "npy": (".npy", lambda: _array(_pixels().astype(np.float32) / 255)),
}


@pytest.mark.parametrize(("ending", "make"), IMAGES.values(), ids=IMAGES)
def test_damaged_images(tmp_path, ending, make):
    path = tmp_path / f"image{ending}"
    assert _survives(path, make(), lambda: _read_all(path)) > MUTATIONS / 2


TEXTS = {
    "CSV": ("manifest.csv", "manifest.csv"),
    "JSON lines": ("manifest.jsonl", "manifest.jsonl"),
    "JSON": ("manifest.csv", "tasks.json"),
}


@pytest.mark.parametrize(("manifest", "damaged"), TEXTS.values(), ids=TEXTS)
def test_damaged_descriptions(tmp_path, manifest, damaged):
    root = folder_trees.write(tmp_path / "source", manifest)
    path = root / damaged
    assert _survives(path, path.read_bytes(), lambda: folder.read_manifest(root, folder.read_targets(root))) > 0


YAML = """segmentation:
  type: segmentation
  classes:
    - {name: skin, labels: [1, 2, 4], color: [228, 180, 148]}
    - {name: hair, labels: [13], color: [112, 66, 36]}
    - {name: rest, labels: other, color: [214, 220, 228]}
  ignore: [255]
depth: {type: depth, scale: 0.001, range: [0.3, 10]}
normals: {type: normals, axes: [x, z, -y]}
smiling: {type: attribute}
"""


def test_damaged_yaml(tmp_path):
    path = tmp_path / "tasks.yaml"
    assert _survives(path, YAML.encode(), lambda: task_file.read(path)) > 0


def test_a_damaged_list_of_frames(tmp_path):
    path = tmp_path / "nyu_v2_3task.json"
    content = {split: [[f"{part}/{split}.png" for part in "abcd"]] for split in ("train", "val", "test")}
    assert _survives(path, json.dumps(content).encode(), lambda: nyu_layouts.find_layout(tmp_path)) > 0


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return rooms.prepare(str(tmp_path_factory.mktemp("records")), SIZE, (3, 1, 1))


RECORD_FILES = {"*train*array_record*": True, "features.json": True, "dataset_info.json": True, "metadata.json": False}


@pytest.mark.parametrize(("pattern", "needed"), RECORD_FILES.items(), ids=RECORD_FILES)
def test_damaged_records(prepared, pattern, needed):
    """What is read in spite of the damage is what was written."""
    (path,) = prepared.glob(pattern)
    intact = path.read_bytes()

    def read() -> list:
        source = records.RecordSource(prepared, "train", rooms.SPECS)
        return [source[index] for index in range(len(source))]

    written = read()

    def check() -> None:
        for example, expected in zip(read(), written, strict=True):
            jax.tree.map(np.testing.assert_array_equal, example, expected)

    try:
        refused = _survives(path, intact, check, MUTATIONS if "record" in pattern else MUTATIONS // 3)
    finally:
        path.write_bytes(intact)
    assert (refused > 0) == needed
    check()
