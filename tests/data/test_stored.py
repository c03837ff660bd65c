"""The prepared records on a disk: listed with what is wrong with them, and removed when asked."""

import fcntl
import pathlib
import re
import subprocess
import sys

import ml_collections
import pytest

from lim_jax.data import load, rooms, stored
from lim_jax.errors import UserError
from tests.data import folder_trees


@pytest.fixture
def root(tmp_path):
    """A data_dir with records in every state; "folder" was prepared, its source changed, and it was prepared again."""
    source = folder_trees.write(tmp_path / "source")
    root = tmp_path / "records"
    fields = {"name": "folder", "data_dir": str(root), "source_dir": str(source), "image_size": (16, 24)}
    for _ in range(2):
        load(ml_collections.ConfigDict(fields), ("depth",))
        (source / "manifest.csv").write_text((source / "manifest.csv").read_text().replace("not a task", "changed"))
    rooms.prepare(str(root), (16, 16), (1, 1, 1))
    damaged = rooms.prepare(str(root), (16, 24), (1, 1, 1))
    next(damaged.glob("*validation*array_record*")).write_bytes(b"")
    (root / "nyu/16x24-12345678/1.0.0").mkdir(parents=True)
    (root / "nyu/16x24-87654321/incomplete.ABC_2.0.0").mkdir(parents=True)
    return root


STATES = [
    ("folder/16x24-........", "its source has changed since"),
    ("folder/16x24-........", ""),
    ("nyu/16x24-12345678", "of version 1.0.0, which is not read any more"),
    ("nyu/16x24-87654321", "incomplete"),
    ("rooms/16x16-1-1-1", ""),
    ("rooms/16x24-1-1-1", "damaged"),
]


def test_records_are_listed_and_old_ones_removed(root):
    found = sorted(stored.find(str(root)), key=lambda item: (item.name.split("-")[0], item.state == "", item.name))
    assert [item.state for item in found if item.name.startswith("folder")] == [STATES[0][1], ""]
    assert {(item.name, item.state) for item in found[2:]} == set(STATES[2:])
    assert found[0].source == str(root.parent / "source")
    text = stored.report(str(root))
    assert len(text.splitlines()) == 1 + 6 + 1
    assert re.search(r"rooms/16x24-1-1-1 +\d\.\d MB +20\d\d-\d\d-\d\d \d\d:\d\d +\(damaged\)", text)
    assert "removed 4" in stored.report(str(root), stored.OLD)
    assert [item.state for item in stored.find(str(root))] == ["", ""]
    assert "removed 0" in stored.report(str(root), stored.OLD)


def test_the_verb_removes_without_being_asked_for_the_list(root):
    verb = [
        sys.executable,
        "-m",
        "lim_jax",
        "look",
        "--config=rooms",
        f"--config.dataset.data_dir={root}",
        "--remove=old",
    ]
    done = subprocess.run(verb, cwd=pathlib.Path(__file__).parents[2], capture_output=True, text=True)
    assert "removed 4" in done.stdout, done.stderr


def test_records_are_removed_by_name(root):
    assert "removed 1" in stored.report(str(root), "rooms/16x16-1-1-1")
    assert not (root / "rooms/16x16-1-1-1").exists()
    for name in ("../source", "rooms", "rooms/16x16-1-1-1"):
        with pytest.raises(UserError, match=r"there are no records .*give 'old', or one of .*rooms/16x24-1-1-1"):
            stored.report(str(root), name)
    assert (root.parent / "source").exists()


def test_what_is_being_prepared_stays(root):
    with (root / "nyu/16x24-87654321/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "(in use)" in stored.report(str(root), stored.OLD)
        with pytest.raises(UserError, match="is being prepared: wait"):
            stored.report(str(root), "nyu/16x24-87654321")
    assert "removed 1" in stored.report(str(root), stored.OLD)


def test_a_folder_without_records(tmp_path):
    assert stored.report(str(tmp_path / "none")) == f"prepared records in {tmp_path / 'none'}: 0.0 MB"
