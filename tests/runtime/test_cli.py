"""What ends a verb: a full disk is one line and exit code 2; a bug of ours keeps its traceback."""

import contextlib
import errno
import logging
import os
import sys
import types
import warnings

import pytest

from lim_jax.errors import UserError
from lim_jax.runtime import cli


class _ToStandardError(logging.Handler):
    def emit(self, record):
        print(self.format(record), file=sys.stderr)


@pytest.fixture(autouse=True)
def _process_as_it_is(monkeypatch):
    """What the command line changes for its process would take messages away from other tests."""
    monkeypatch.setattr(cli, "_start_logging", lambda: None)
    monkeypatch.setattr(logging.root, "handlers", [_ToStandardError()])
    monkeypatch.setattr(warnings, "showwarning", lambda message, *where: print(f"warning: {message}", file=sys.stderr))
    monkeypatch.setattr(sys, "unraisablehook", lambda args: print(f"unraisable: {args.exc_value}", file=sys.stderr))
    logger = logging.getLogger("lim_jax")
    before = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(before)


def complain(error):
    """As Orbax logs an error of a thread, TensorStore an array that was still being written, and JAX its cache."""
    try:
        raise error
    except OSError:
        logging.getLogger("library").exception("could not save")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"could not cache: {error}", stacklevel=1)
    sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError("Event loop is closed")))


def system_error(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.ENOSPC, "the disk is full: free some space and run the same command again"),
        (errno.EDQUOT, "the disk quota is used up: free some space and run the same command again"),
        (errno.EFBIG, "a file would get larger than is allowed: raise `ulimit -f` and run the same command again"),
    ],
)
def test_a_full_disk_is_one_line_whatever_libraries_say(capsys, number, line):
    def main(argv):
        complain(system_error(number))
        raise RuntimeError(f"events.out; {os.strerror(number)}\n\tFailed to flush 11 events")

    with pytest.raises(SystemExit) as stop:
        cli._exit_clearly(main, ["verb"])
    complain(system_error(number))  # threads may be at work until the process ends
    logging.getLogger("lim_jax").info("compiled")
    assert stop.value.code == cli.EXIT_USER_ERROR
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.parametrize("end", [None, UserError("a mistake"), RuntimeError("a bug"), SystemExit(143)])
def test_a_full_disk_is_not_hidden_if_the_verb_ends_otherwise(capsys, end):
    def main(argv):
        complain(system_error(errno.ENOSPC))
        logging.getLogger("lim_jax").info("compiled")
        assert capsys.readouterr().err == "compiled\n"
        if end is not None:
            raise end

    with contextlib.suppress(SystemExit, RuntimeError):
        cli._exit_clearly(main, ["verb"])
    shown = capsys.readouterr().err
    assert "could not save\nTraceback" in shown
    assert "warning: could not cache: [Errno 28] No space left on device" in shown
    assert "unraisable: Event loop is closed" in shown
    complain(system_error(errno.ENOSPC))
    assert "could not save" in capsys.readouterr().err


def test_what_libraries_say_of_other_errors_is_shown_at_once(capsys):
    def main(argv):
        complain(system_error(errno.EACCES))
        sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError("another one")))
        shown = capsys.readouterr().err
        assert "could not save" in shown
        assert "warning: could not cache" in shown
        assert "unraisable: another one" in shown

    cli._exit_clearly(main, ["verb"])


def test_other_errors_keep_their_traceback():
    def main(argv):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        cli._exit_clearly(main, ["verb"])
