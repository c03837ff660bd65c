"""One run at a time in a workdir: the second one says who is there; who died leaves no trace that stops anybody."""

import errno
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from lim_jax.errors import UserError
from lim_jax.training import lock

ROOT = pathlib.Path(__file__).parents[2]
HOLDER = """
import pathlib, sys, time
from lim_jax.training import lock

with lock.Lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def content(workdir):
    return (workdir / lock.FILE).read_text()


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the workdir."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_one_is_refused_and_touches_nothing(tmp_path, holder):
    before = content(tmp_path)
    with pytest.raises(UserError, match=f"in use .process {holder.pid} on {socket.gethostname()}, since 2") as error:
        lock.Lock(tmp_path).__enter__()
    assert "\n" not in str(error.value)
    assert content(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == 1


def test_who_was_killed_stops_nobody(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert json.loads(content(tmp_path))["process"] == holder.pid
    with lock.Lock(tmp_path):
        assert json.loads(content(tmp_path))["process"] == os.getpid()
    assert content(tmp_path) == ""


@pytest.mark.parametrize("left", ["", "{", "[]", "3", '{"host": 3}', "\0\0"])
def test_what_is_left_in_the_file_stops_nobody(tmp_path, left):
    (tmp_path / lock.FILE).write_text(left)
    with lock.Lock(tmp_path, patience_seconds=0.1):
        assert json.loads(content(tmp_path))["process"] == os.getpid()


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("host", ["elsewhere", None])
def test_a_holder_whose_lock_is_not_seen_is_known_by_its_touch(tmp_path, monkeypatch, host, alive):
    """Where locks do not reach other hosts, or are none: the file is free, but says who else has it."""
    path = tmp_path / lock.FILE
    path.write_text(json.dumps({"host": host or socket.gethostname(), "process": 7, "since": "2026-01-01 10:00:00"}))
    if host is None:

        def no_locks(file, operation):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", no_locks)
    ended = threading.Event()

    def touch():
        while alive and not ended.wait(0.1):
            os.utime(path)

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        started = time.monotonic()
        if alive:
            with pytest.raises(UserError, match="process 7 on "):
                lock.Lock(tmp_path, patience_seconds=20).__enter__()
            assert time.monotonic() - started < 15
        else:
            with lock.Lock(tmp_path, patience_seconds=0.3):
                assert time.monotonic() - started >= 0.3
    finally:
        ended.set()
        thread.join()


def test_the_file_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_TOUCH_SECONDS", 0.01)
    with lock.Lock(tmp_path):
        os.utime(tmp_path / lock.FILE, (0, 0))
        end = time.monotonic() + 10
        while (tmp_path / lock.FILE).stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
    assert (tmp_path / lock.FILE).stat().st_mtime > 0
