"""Records: what is written is what is read, whole or not at all, and without TensorFlow."""

import dataclasses
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from lim_jax.data import preparation, records
from lim_jax.data.rooms import dataset as rooms
from lim_jax.data.specs import TargetSpec
from lim_jax.errors import UserError

SPECS = {
    "segmentation": TargetSpec("segmentation", "segmentation", ("a", "b", "c")),
    "depth": TargetSpec("depth", "depth"),
    "normals": TargetSpec("normals", "normals"),
    "smiling": TargetSpec("smiling", "attribute"),
}
SIZE = (10, 14)


def _example(index):
    rng = np.random.default_rng(index)
    normals = rng.normal(size=(*SIZE, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[0] = 0
    targets = {
        "segmentation": rng.choice([0, 1, 2, 255], SIZE).astype(np.uint8),
        "depth": rng.choice([0, 1.25, 3.7], SIZE).astype(np.float32),
        "normals": normals.astype(np.float32),
        "smiling": np.array(index % 3 - 1, np.int8),
    }
    return {"image": rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8), "targets": targets}


@dataclasses.dataclass
class _Config(tfds.core.BuilderConfig):
    fail_at: int = 1000


class Everything(preparation.RecordsBuilder, skip_registration=True):
    """Targets of all kinds."""

    specs = SPECS
    image_size = SIZE

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split, 5) for split in ("train", "test")}

    def _generate_examples(self, split, size):
        return self.keyed(split, map(self._make, range(size)), size)

    def _make(self, index):
        if index == self.builder_config.fail_at:
            raise UserError("the disk is full of cats: adopt one")
        return _example(index)


def _prepare(root, **config):
    return preparation.prepare(Everything, _Config(name="all", **config), str(root))


def test_targets_of_all_kinds_come_back(tmp_path):
    source = records.RecordSource(_prepare(tmp_path), "train", SPECS)
    assert len(source) == 5
    for index in range(5):  # in the order in which they were made
        read, made = source[index], _example(index)
        np.testing.assert_array_equal(read["image"], made["image"])
        for name, target in made["targets"].items():
            assert read["targets"][name].dtype == target.dtype
            if name == "normals":
                np.testing.assert_allclose(read["targets"][name], target, atol=1e-3)
                length = np.linalg.norm(read["targets"][name], axis=-1)
                np.testing.assert_allclose(length[1:], 1, atol=1e-4)
                assert np.all(length[0] == 0)
            else:
                np.testing.assert_array_equal(read["targets"][name], target)


def test_only_chosen_targets_are_returned_and_sources_pickle(tmp_path):
    source = records.RecordSource(_prepare(tmp_path), "test", {"depth": SPECS["depth"]})
    assert set(source[0]["targets"]) == {"depth"}
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[3]["image"], source[3]["image"])


def test_a_failed_preparation_leaves_nothing_and_can_be_repeated(tmp_path):
    with pytest.raises(UserError, match=r"^the disk is full of cats: adopt one$"):
        _prepare(tmp_path, fail_at=3)
    assert [path.name for path in (tmp_path / "everything/all").glob("*") if path.is_dir()] == []
    assert len(records.RecordSource(_prepare(tmp_path), "train", SPECS)) == 5


def test_what_a_killed_preparation_leaves_is_removed(tmp_path):
    leftover = tmp_path / "everything/all/incomplete.ABC_1.0.0"
    leftover.mkdir(parents=True)
    (leftover / "part").write_text("x")
    directory = _prepare(tmp_path)
    assert not leftover.exists()
    assert {path.name for path in directory.parent.glob("*")} == {str(records.VERSION), "lock"}


def test_records_are_written_once_and_say_where(tmp_path, messages):
    directory = _prepare(tmp_path)
    assert messages[0] == f"Preparing everything in {directory} (once)"
    assert messages[-1].startswith("Prepared everything in ")
    assert len(messages) == 2, "TFDS is silent"
    before = {path: path.stat().st_mtime_ns for path in directory.glob("*")}
    messages.clear()
    assert _prepare(tmp_path) == directory
    assert not messages
    assert {path: path.stat().st_mtime_ns for path in directory.glob("*")} == before


def test_progress_is_logged(tmp_path, messages, monkeypatch):
    monkeypatch.setattr(preparation, "PROGRESS_SECONDS", 0.0)
    _prepare(tmp_path)
    assert any("everything, train: 2 of 5" in message for message in messages)


def test_a_data_dir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")  # no folder; permissions do not stop root, who may run this
    with pytest.raises(UserError, match=r"cannot write .*Not a directory.*dataset\.data_dir"):
        _prepare(tmp_path / "file")


def test_processes_that_start_together_prepare_once(tmp_path):
    program = (
        "import logging, sys; from lim_jax.data.rooms import dataset as rooms;"
        "logging.basicConfig(level='INFO', force=True);"
        "rooms.prepare(sys.argv[1], (16, 16), (20, 1, 1)); assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    root = pathlib.Path(__file__).parents[2]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=root) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sum("Preparing rooms" in output for output in outputs) == 1
    directory = tmp_path / "rooms/16x16-20-1-1" / str(records.VERSION)
    assert len(records.RecordSource(directory, "train", rooms.SPECS)) == 20
