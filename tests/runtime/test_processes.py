"""Several processes of one run: who cannot find the others says so, and none is left alone."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from lim_jax.runtime import last_words
from tests.runtime.loopback import free_address, places

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """
import os, sys, time
from lim_jax.errors import UserError
from lim_jax.runtime import processes

try:
    processes.join(start_timeout=3, heartbeat_timeout=5)
except UserError as error:
    print(error)
else:
    print("joined", flush=True)
    time.sleep(99)
"""


def started(**places):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "OMPI", "JAX_"))}
    environment |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2", **places}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, cwd=ROOT, **pipes)


def test_a_process_that_cannot_find_the_others_says_what_to_set():
    shown, errors = started().communicate()
    assert "JAX_COORDINATOR_ADDRESS" in shown, errors
    assert len(shown.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 1])
def test_one_that_never_starts_ends_the_others_with_one_line(place):
    process = started(**places(2, free_address())[place])
    shown, errors = process.communicate(timeout=60)
    assert (shown, errors.encode()) == ("", last_words.NEVER_CAME)
    assert process.returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1])
def test_one_that_dies_takes_the_others_down_with_one_line(dies):
    both = [started(**place) for place in places(2, free_address())]
    for process in both:
        assert process.stdout.readline() == "joined\n"
    both[dies].send_signal(signal.SIGKILL)
    assert both[1 - dies].communicate(timeout=60)[1].encode() == last_words.DIED
    assert both[1 - dies].returncode != 0
    both[dies].communicate()


FATAL = (
    b"F1126 client.h:80] Terminating process because the JAX distributed service detected fatal errors. This\n",
    b"RPC: /xla.coordination.CoordinationService/%s\n",
    b"*** Check failure stack trace: ***\n",
)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((b"one\n", b"two\n"), (b"one\n", b"two\n")),
        ((b"one\n", *FATAL), (b"one\n", last_words.DIED)),
        ((b"E1126 coordination_service_agent.cc:289] Polled an error\n", *FATAL), (last_words.DIED,)),
        ((FATAL[0], FATAL[1] % b"RegisterTask"), (last_words.NEVER_CAME,)),
        ((), ()),
    ],
)
def test_last_words_are_shortened(lines, expected):
    assert tuple(last_words.shortened(lines)) == expected
