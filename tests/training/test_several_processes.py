"""Several processes train one network: a signal to one stops all at the same step, and they go on from there."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from lim_jax.training import checkpoints
from tests import compiler
from tests.runtime.loopback import free_address, places

ROOT = pathlib.Path(__file__).parents[2]

pytestmark = pytest.mark.slow


SHRINKING = {  # removes two thirds of its channels after two epochs, and ends after five of eight
    "sparsity.compact_every_epochs": 2,
    "sparsity.patience_epochs": 1,
    "early_stopping_patience": 1,
    "learning_rate": 0.02,
    "num_epochs": 8,  # a signal comes in the middle, however late
}


def start(number, workdir, data_dir, changes, *, devices=1):
    """Starts `number` processes with so many devices each; one alone knows nothing of others."""
    config = f"--config=tests/training/tiny.py:{data_dir}"
    changes = {"tasks": "depth", "model.width_multiplier": 0.05, "num_devices": devices, **changes}
    typed = [f"--config.{key}={value}" for key, value in changes.items()]
    command = [sys.executable, "-m", "lim_jax.main", config, f"--workdir={workdir}", *typed]
    xla = f"{compiler.QUICK} --xla_force_host_platform_device_count={devices}"
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    if number == 1:
        return [subprocess.Popen(command, cwd=ROOT, env=os.environ | {"XLA_FLAGS": xla}, **pipes)]
    return [
        subprocess.Popen([*command, "--distributed"], cwd=ROOT, env=os.environ | place | {"XLA_FLAGS": xla}, **pipes)
        for place in places(number, free_address())
    ]


def finished(running):
    """Waits for processes; returns what each showed."""
    shown = [""] * len(running)

    def read(place):
        shown[place] = running[place].communicate()[1]

    readers = [threading.Thread(target=read, args=(place,)) for place in range(len(running))]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(timeout=600)
    return shown


def read_until(process, word):
    for line in process.stderr:
        if word in line:
            return
    raise AssertionError(f"never said {word}")


def test_four_processes_are_four_devices_up_to_rounding(data_dir, tmp_path):
    """Sums of more than two have another order; a penalty would make other zeros of that."""
    changes = {"num_epochs": 1, "sparsity.strength": 0.0}
    for name, processes, devices in (("processes", 4, 1), ("devices", 1, 4)):
        running = start(processes, tmp_path / name, data_dir, changes, devices=devices)
        shown = finished(running)
        assert [process.returncode for process in running] == [0] * processes, shown
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("processes", "devices")]
    assert results[0]["test"]["depth"] == pytest.approx(results[1]["test"]["depth"], rel=1e-3)


def test_a_signal_to_one_stops_all_and_they_end_as_two_devices_of_one_process(data_dir, tmp_path):
    """To the last bit, while the network shrinks and early stopping waits; `scripts/survival.py` harms four, too."""
    number, asked, changes = 2, 0, SHRINKING
    (whole,) = start(1, tmp_path / "whole", data_dir, changes, devices=number)
    (shown,) = finished([whole])
    assert whole.returncode == 0, shown

    parts = start(number, tmp_path / "parts", data_dir, changes)
    read_until(parts[0], "epoch 1/8")
    parts[asked].send_signal(signal.SIGUSR1)
    shown = finished(parts)
    codes = [128 + signal.SIGTERM] * number
    codes[asked] = 128 + signal.SIGUSR1
    assert [process.returncode for process in parts] == codes, shown
    assert "is saved, the same command goes on from there" in shown[0]
    assert "Traceback" not in "".join(shown)

    again = start(number, tmp_path / "parts", data_dir, changes)
    shown = finished(again)
    assert [process.returncode for process in again] == [0] * number, shown
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "parts")]
    assert results[0] == results[1]
    assert results[0]["epochs"] < 8
    variables = [checkpoints.load_network(tmp_path / name, checkpoints.LATEST).variables for name in ("whole", "parts")]
    jax.tree.map(np.testing.assert_array_equal, *variables)
    assert results[0]["parameters"] < 30_000


@pytest.mark.parametrize("dies", [0, 1])
def test_a_process_that_dies_in_a_step_takes_the_other_down_with_one_line(dies, data_dir, tmp_path):
    running = start(2, tmp_path, data_dir, {"sparsity.target": 0.4, "num_epochs": 8})
    read_until(running[0], "epoch 1, step 1")
    running[dies].kill()
    shown = finished(running)[1 - dies]
    assert "Traceback" not in shown
    assert shown.splitlines()[-1].startswith("error: another process of this run has ended")
    assert running[1 - dies].returncode not in (0, None)
