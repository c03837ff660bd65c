"""Manifests as spreadsheets, Windows and strangers write them."""

import os

import pytest

from lim_jax.data.sources import manifest, task_file
from lim_jax.data.specs import TargetSpec
from lim_jax.errors import UserError

TARGETS = {
    "depth": task_file.Target(TargetSpec("depth", "depth")),
    "smiling": task_file.Target(TargetSpec("smiling", "attribute")),
}
PLAIN = """image,split,depth,smiling
images/0.jpg,train,depth/0.npy,yes
images/1.jpg,validation,,no
images/2.jpg,test,depth/2.npy,
"""


def _read(root, text, name="manifest.csv", follow_links=False):
    path = root / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return manifest.read(path, TARGETS, follow_links)


WRITTEN = {
    "plain": PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "spaces and capitals": PLAIN.replace("image,split,depth,smiling", "Image , Split, DEPTH , Smiling"),
    "a mark of the order of bytes": b"\xef\xbb\xbf" + PLAIN.encode(),
    "Excel's Unicode text": PLAIN.replace(",", "\t").encode("utf-16"),
    "Windows' ends of lines": PLAIN.replace("\n", "\r\n"),
    "backslashes": PLAIN.replace("/", "\\"),
    "empty columns": PLAIN.replace("\n", ",,,\n"),
    "empty cells": PLAIN.replace("yes\n", "yes,,\n"),
    "empty rows": PLAIN + "\n,,,\n,,,\n",
    "quotes": PLAIN.replace("images/0.jpg", '"images/0.jpg"'),
    "numbers": PLAIN.replace("yes", "1.0").replace("no\n", "0.0\n"),
    "truth": PLAIN.replace("yes", "TRUE").replace("no\n", "False\n"),
    "splits in capitals": PLAIN.replace("train", "Train").replace("validation", "VAL"),
    "what macOS leaves": PLAIN + "images/._0.jpg,train,,\nimages/.DS_Store,test,,\n",
    "other columns": PLAIN.replace("\n", ",note\n"),
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_all_ways_to_write_a_table_are_read_alike(tmp_path, text):
    rows = _read(tmp_path, text)
    assert rows == [
        manifest.Row(tmp_path / "images/0.jpg", "train", {"depth": tmp_path / "depth/0.npy", "smiling": 1}),
        manifest.Row(tmp_path / "images/1.jpg", "validation", {"smiling": 0}),
        manifest.Row(tmp_path / "images/2.jpg", "test", {"depth": tmp_path / "depth/2.npy"}),
    ]


def test_a_file_may_have_a_backslash_in_its_name(tmp_path):
    (tmp_path / "images\\0.jpg").touch()
    assert _read(tmp_path, PLAIN.replace("/", "\\"))[0].image == tmp_path / "images\\0.jpg"


def _link(root, name, target):
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(target)


OUTSIDE = {
    "dots": ("images/../../secret.jpg", lambda root: None),
    "an absolute path": ("/etc/hostname", lambda root: None),
    "a link": ("images/0.jpg", lambda root: _link(root, "images/0.jpg", "/etc/hostname")),
    "a link to a folder": ("images/0.jpg", lambda root: _link(root, "images", "/etc")),
    "a link and dots": ("deep/../0.jpg", lambda root: _link(root, "deep", "/usr/lib")),
    "Windows' dots": ("images\\..\\..\\secret.jpg", lambda root: None),
}


@pytest.mark.parametrize(("image", "arrange"), OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize("old", ["images/0.jpg", "depth/0.npy"])
def test_a_manifest_does_not_leave_its_folder_unless_it_may(tmp_path, image, arrange, old):
    root = tmp_path / "source"
    root.mkdir()
    arrange(root)
    text = PLAIN.replace(old, image)
    with pytest.raises(UserError, match=r"line 2 names .* outside of .*dataset\.follow_links=True") as caught:
        _read(root, text)
    assert "\n" not in str(caught.value)
    assert len(_read(root, text, follow_links=True)) == 3


def test_links_inside_of_the_folder_are_fine(tmp_path):
    (tmp_path / "pictures").mkdir()
    _link(tmp_path, "images", "pictures")
    linked = tmp_path.with_name("linked")
    linked.symlink_to(tmp_path)
    assert len(_read(linked, PLAIN.replace("images/1", "./images/../images/1"))) == 3
    os.remove(linked)


WRONG = {
    "an image under two names": (PLAIN + "./images/../images/0.jpg,test,,\n", "in train and in test .once as "),
    "a cell too many": (PLAIN.replace("yes\n", "yes,maybe\n"), "line 2: not as many cells"),
    "a column twice": (PLAIN.replace("smiling", "depth"), "has two columns 'depth'"),
    "image twice": (PLAIN.replace("split", "image"), "has two columns 'image'"),
    "control characters": (PLAIN.replace("images/0", "images/\x07"), r"line 2 names the file 'images/\\x07.jpg'"),
    "nothing": ("", "has no column 'image'"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        _read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_all_wrong_rows_are_listed(tmp_path):
    text = PLAIN + "".join(f"images/{number}.jpg,tomorrow,,\n" for number in range(3, 26))
    with pytest.raises(UserError, match=r"^23 things are wrong: \(1\) .*line 5: .*\(10\) .*line 14: .*; and 13 more$"):
        _read(tmp_path, text)


NESTED = {
    "a list": ('{"image": ["a"], "split": "train"}', "'image' is no single value"),
    "deep": ('{"image": ' + "[" * 100000 + "]" * 100000 + "}", "is not JSON"),
}


@pytest.mark.parametrize(("line", "message"), NESTED.values(), ids=NESTED)
def test_values_of_json_that_are_no_cells(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        _read(tmp_path, line, "manifest.jsonl")
