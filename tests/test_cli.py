"""What ends a verb: a full disk is one line and exit code 2; a bug of ours keeps its traceback."""

import pytest

from lim_jax import cli


@pytest.fixture(autouse=True)
def _logging_as_it_is(monkeypatch):
    """Starting the command line's logging would take lim_jax's messages away from the tests that read them."""
    monkeypatch.setattr(cli, "_start_logging", lambda: None)


def test_a_full_disk_is_one_line_whatever_the_library_says(capsys):
    def main(argv):
        raise RuntimeError("events.out; No space left on device\n\tFailed to flush 11 events")

    with pytest.raises(SystemExit) as stop:
        cli._exit_clearly(main, ["verb"])
    assert stop.value.code == cli.EXIT_USER_ERROR
    assert capsys.readouterr().err == "error: the disk is full: free some space and run the same command again\n"


def test_other_errors_keep_their_traceback():
    def main(argv):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        cli._exit_clearly(main, ["verb"])
