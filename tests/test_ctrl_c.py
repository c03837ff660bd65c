"""Ctrl-C in verbs, while they start and while they compile: one line at once, exit code 130."""

import os
import pathlib
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from lim_jax import config as config_lib
from lim_jax import data
from tests import untrained
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]
RUN = """
import runpy, sys, time
{told}
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
MOMENTS = {
    "starts": """
def tell(event, arguments):
    if event == "import" and arguments[0] == "jax":
        print("now", file=sys.stderr, flush=True)

sys.addaudithook(tell)
""",
    # The event comes before a compiler starts that returns to Python, and its handlers, when it is done.
    "compiles": """
import jax.monitoring

def tell(event, **details):
    if event == "/jax/compilation_cache/compile_requests_use_cache":
        print("now", file=sys.stderr, flush=True)

jax.monitoring.register_event_listener(tell)
""",
}


@pytest.fixture(scope="module")
def flags(data_dir, tmp_path_factory):
    """The flags of each verb for the smallest network, whose weights nobody trained."""
    config = tiny_config(data_dir)
    config.tasks, config.model.width_multiplier = ("depth",), 1 / 64
    config = config_lib.checked(config)
    trained = untrained.make(config, data.load(config.dataset, config.tasks).specs)
    folder = untrained.save(tmp_path_factory.mktemp("verbs"), config, trained)
    cv2.imwrite(str(folder / "a.png"), np.zeros((32, 40, 3), np.uint8))
    return {
        "predict": [f"--workdir={folder}", f"--images={folder / 'a.png'}", f"--output={folder / 'predicted'}"],
        "compact": [f"--workdir={folder}", f"--output={folder / 'compact'}"],
        "export": [f"--workdir={folder}", f"--output={folder / 'network'}"],
        "evaluate": [f"--workdir={folder}"],
    }


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("verb", ["predict", "compact", "export", "evaluate"])
def test_ctrl_c_costs_one_line(flags, verb, moment, tmp_path):
    command = [sys.executable, "-c", RUN.format(told=MOMENTS[moment]), f"lim_jax.{verb}", *flags[verb]]
    empty_cache = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=empty_cache, stderr=subprocess.PIPE, text=True)
    while process.stderr.readline() not in ("now\n", ""):
        pass
    process.send_signal(signal.SIGINT)
    shown = [line for line in process.communicate(timeout=60)[1].splitlines() if line != "now"]
    assert process.returncode == 130, shown
    assert [line for line in shown if not line[0].isdigit()] == ["interrupted"]  # beside what has the time of day
