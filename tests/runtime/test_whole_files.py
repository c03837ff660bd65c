"""A small file is there whole, or what was there before is."""

import os
import pathlib

import pytest

from lim_jax.runtime import whole_files


def test_a_file_is_replaced(tmp_path):
    for content in ({"a": 1}, {"b": [1, 2]}):
        whole_files.write_json(tmp_path / "file.json", content)
    assert (tmp_path / "file.json").read_text() == '{\n  "b": [\n    1,\n    2\n  ]\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_a_table_has_all_columns(tmp_path):
    whole_files.write_csv(tmp_path / "file.csv", [{"a": 1, "b": "x,y"}, {"c": 0.5, "a": 2}])
    assert (tmp_path / "file.csv").read_text() == 'a,b,c\n1,"x,y",\n2,,0.5\n'
    whole_files.write_csv(tmp_path / "file.csv", [])
    assert (tmp_path / "file.csv").read_text() == "\n"


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_what_fails_leaves_the_file_before(tmp_path, monkeypatch, function):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def fail(*arguments, **named):
        raise OSError("no space left")

    monkeypatch.setattr(os if function == "fsync" else pathlib.Path, function, fail)
    with pytest.raises(OSError, match="no space"):
        whole_files.write_text(path, "after")
    monkeypatch.undo()
    assert path.read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("room", ["compact.py", "evaluate.py", "export.py", "config/files.py", "training"])
def test_who_writes_to_a_workdir_writes_whole_files(room):
    """No other way to write a text file is used there."""
    place = pathlib.Path(__file__).parents[2] / "lim_jax" / room
    for source in place.rglob("*.py") if place.is_dir() else [place]:
        text = source.read_text()
        assert ".write_text(" not in text.replace("whole_files.write_text(", ""), source
        assert "json.dump(" not in text, source
