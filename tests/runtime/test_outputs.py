"""Folders to write to are made, or what is wrong with them is one line."""

import tempfile

import pytest

from lim_jax.errors import UserError
from lim_jax.runtime import outputs


def test_a_folder_is_made_and_stays_empty(tmp_path):
    for _ in range(2):
        outputs.made(tmp_path / "a" / "b")
        assert not list((tmp_path / "a" / "b").iterdir())


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_what_is_no_folder(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file.*: give another --output"):
        outputs.made(tmp_path / place)


def test_a_folder_that_nothing_may_be_written_to(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"Permission denied"):
        outputs.made(tmp_path)
