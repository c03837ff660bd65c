"""Files of every kind that is read, how they are read, and how they are damaged.

For `tests/test_fuzzing.py` and `scripts/survival.py`.
"""

import io
import json
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import cv2
import jax
import numpy as np
import PIL.Image

from lim_jax import config as config_lib
from lim_jax.data import records, rooms
from lim_jax.data.problems import Problems
from lim_jax.data.sources import files, folder, nyu_layouts, task_file
from lim_jax.errors import UserError
from lim_jax.training import checkpoints, stored, workdir
from tests.data import folder_trees
from tests.training import saved

SECONDS = 2.0
_SIZE = (12, 16)
_SHARE = {  # of the mutations; each kind of damage that files suffer
    "bytes": 0.4,
    "cut": 0.2,
    "inserted": 0.15,
    "removed": 0.15,
    "words": 0.1,
}
_WORDS = [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"9" * 40, b"\n", b'"', b"\\", b"{[" * 200, b"&a *a", b"../" * 9]

Read = Callable[[], object]


class File(NamedTuple):
    """A kind of file.

    Attributes:
      make: writes an intact one, and what belongs to it, to a folder; returns its path and what reads it.
      refused: damaged ones are refused in more than this share; None = nobody needs it, and none is.
    """

    make: Callable[[pathlib.Path], tuple[pathlib.Path, Read]]
    refused: float | None = 0.0


def survives(path: pathlib.Path, read: Read, mutations: int, rng: np.random.Generator) -> float:
    """Reads damaged copies of a file, then gives it back; returns the share that was refused.

    Raises:
      AssertionError: a copy was refused in more than one line, or took too long.
      Exception: what else reading raises.
    """
    intact = path.read_bytes()
    refused = 0
    try:
        for trial in range(mutations):
            path.write_bytes(_mutated(intact, rng))
            began = time.thread_time()
            try:
                read()
            except UserError as error:
                refused += 1
                assert "\n" not in str(error), trial
            assert time.thread_time() - began < SECONDS, trial
    finally:
        path.write_bytes(intact)
    return refused / mutations


def _mutated(data: bytes, rng: np.random.Generator) -> bytes:
    kind = rng.choice(list(_SHARE), p=list(_SHARE.values()))
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
    word = _WORDS[int(rng.integers(len(_WORDS)))]
    return data[:begin] + word + data[begin + len(word) * int(rng.integers(2)) :]


def _pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (*_SIZE, 3)).astype(np.uint8)


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


_READERS = (files.read_labels, files.read_depth, files.read_normals, files.read_binary)


def _read_all(path: pathlib.Path) -> None:
    """Reads a file as everything that it may be called in a manifest."""
    photo = files.Photo(path, np.zeros((*_SIZE, 3), np.uint8))
    problems = Problems()
    with problems.gathered():
        files.read_photo(path)
    for read in _READERS:
        with problems.gathered():
            read(path, photo)
    problems.raise_any()


def _image(ending: str, content: Callable[[], bytes]) -> File:
    def make(place: pathlib.Path) -> tuple[pathlib.Path, Read]:
        path = place / f"image{ending}"
        path.write_bytes(content())
        return path, lambda: _read_all(path)

    return File(make, refused=0.5)


def _description(manifest: str, damaged: str) -> File:
    def make(place: pathlib.Path) -> tuple[pathlib.Path, Read]:
        root = folder_trees.write(place / "source", manifest)
        return root / damaged, lambda: folder.read_manifest(root, folder.read_targets(root))

    return File(make)


_YAML = """segmentation:
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


def _yaml(place: pathlib.Path) -> tuple[pathlib.Path, Read]:
    path = place / "tasks.yaml"
    path.write_text(_YAML)
    return path, lambda: task_file.read(path)


def _list_of_frames(place: pathlib.Path) -> tuple[pathlib.Path, Read]:
    path = place / "nyu_v2_3task.json"
    content = {split: [[f"{part}/{split}.png" for part in "abcd"]] for split in ("train", "val", "test")}
    path.write_text(json.dumps(content))
    return path, lambda: nyu_layouts.find_layout(place)


def _records(pattern: str) -> Callable[[pathlib.Path], tuple[pathlib.Path, Read]]:
    """What is read in spite of the damage must be what was written."""

    def make(place: pathlib.Path) -> tuple[pathlib.Path, Read]:
        prepared = rooms.prepare(str(place), _SIZE, (3, 1, 1))

        def read() -> list:
            source = records.RecordSource(prepared, "train", rooms.SPECS)
            return [source[index] for index in range(len(source))]

        written = read()

        def check() -> None:
            for example, expected in zip(read(), written, strict=True):
                jax.tree.map(np.testing.assert_array_equal, example, expected)

        (path,) = prepared.glob(pattern)
        return path, check

    return make


def _config(place: pathlib.Path) -> tuple[pathlib.Path, Read]:
    config_lib.save(saved.config(), place)
    return place / "config.json", lambda: workdir.safe_config(place)


def _meta(place: pathlib.Path) -> tuple[pathlib.Path, Read]:
    """Without digests, as an older version, or a stranger, writes it."""
    saved.save(place, {4: 0.5}, saved.small_state)
    (path,) = place.glob("checkpoints/4/meta/metadata")
    content = json.loads(path.read_text())
    del content["digests"]
    path.write_text(json.dumps(content))

    def read() -> None:
        checkpoints.latest_meta(place)
        _, problems = stored.first_usable(stored.all_of(place), lambda each: (each.losses(), each.network()))
        if problems:
            raise UserError(stored.in_words(problems))

    return path, read


FILES = {
    "PNG": _image(".png", lambda: _encoded(".png", _pixels())),
    "16-bit PNG": _image(".png", lambda: _encoded(".png", _pixels()[..., 0].astype(np.uint16) * 200)),
    "JPEG": _image(".jpg", lambda: _encoded(".jpg", _pixels())),
    "JPEG with EXIF": _image(".jpg", _with_exif),
    "TIFF": _image(".tiff", lambda: _encoded(".tiff", _pixels())),
    "TIFF of floats": _image(".tiff", lambda: _encoded(".tiff", _pixels()[..., 0].astype(np.float32) / 255)),
    "npy": _image(".npy", lambda: _array(_pixels().astype(np.float32) / 255)),
    "CSV": _description("manifest.csv", "manifest.csv"),
    "JSON lines": _description("manifest.jsonl", "manifest.jsonl"),
    "JSON": _description("manifest.csv", "tasks.json"),
    "YAML": File(_yaml),
    "list of frames": File(_list_of_frames),
    "records": File(_records("*train*array_record*")),
    "features of records": File(_records("features.json")),
    "description of records": File(_records("dataset_info.json")),
    "metadata of records": File(_records("metadata.json"), refused=None),
    "config.json": File(_config),
    "meta of a checkpoint": File(_meta),
}
