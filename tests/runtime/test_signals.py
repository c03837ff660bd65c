"""Signals are answered at once, in one line, also while the main thread is in the middle of something long."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from lim_jax.runtime import signals

ROOT = pathlib.Path(__file__).parents[2]

# pbkdf2 returns to Python, and to its handlers, as late as XLA's compiler does; both let other threads run meanwhile.
BUSY = """
import hashlib, sys
from lim_jax.runtime import cli
from lim_jax.training.interruption import Interruption

def main(argv):
    print("result", end="")
    with Interruption() as interruption:
        interruption.has_work = {has_work}
        print("busy", file=sys.stderr, flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

cli.run(main, lambda: None)
"""


def start(has_work=False):
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY.format(has_work=has_work)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline() == "busy\n"
    return process


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_ends_the_process_at_once_with_one_line(number):
    process = start()
    process.send_signal(number)
    printed, shown = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert shown.startswith("interrupted") and len(shown.splitlines()) == 1
    assert printed == "result"  # what was printed before is not lost


def test_the_first_one_is_acknowledged_at_once_and_the_second_one_leaves():
    process = start(has_work=True)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "finishing this step, then saving; again to stop now\n"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_signals_are_answered_and_noted_while_it_is_entered(number):
    before = signal.getsignal(number)
    answered, noted = [], []
    outer = signals.Answered(lambda number: answered.append(("outer", number)))
    with outer, signals.Answered(lambda number: answered.append(("inner", number)), noted.append):
        os.kill(os.getpid(), number)
        assert noted == [number]
        while not answered:
            time.sleep(0.01)
    assert answered == [("inner", number)]
    assert signal.getsignal(number) is before


def test_other_threads_leave_signals_alone():
    found = []

    def look():
        with signals.Answered(found.append):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


WORKER = """
import subprocess, sys, time
worker = "from lim_jax.runtime import signals as s; s.end_with_parent(); print(1, flush=True); s.time.sleep(99)"
child = subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(99)
"""


@pytest.mark.skipif(not hasattr(os, "getppid") or os.name != "posix", reason="processes of Unix")
def test_a_worker_ends_with_its_parent_and_leaves_ctrl_c_to_it():
    parent = subprocess.Popen([sys.executable, "-c", WORKER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    os.kill(worker, signal.SIGINT)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while pathlib.Path(f"/proc/{worker}/stat").exists() and _state(worker) != "Z" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert time.monotonic() < deadline


def _state(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
