"""A long run needs no more memory than a short one."""

import os
import pathlib
import re
import statistics
import subprocess
import sys

import pytest

from tests import compiler

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="reads memory where Linux shows it"),
]

ROOT = pathlib.Path(__file__).parents[2]
EPOCHS = 60
CHANGES = {  # a step an epoch: checkpoints are most of what it does
    "tasks": "depth",
    "model.backbone": "resnet18d",
    "model.width_multiplier": 0.5,
    "dataset.split_sizes": "8,8,8",
    "num_epochs": EPOCHS,
    "early_stopping_patience": 0,
    "report_every_epochs": 0,
}


def resident(process):
    """Returns the megabytes of a process that are in memory."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def test_sixty_epochs_need_no_more_memory_than_two(data_dir, tmp_path):
    typed = [f"--config.{key}={value}" for key, value in CHANGES.items()]
    config = f"--config=tests/training/tiny.py:{data_dir}"
    command = [sys.executable, "-m", "lim_jax.main", config, f"--workdir={tmp_path}", *typed]
    environment = os.environ | {"XLA_FLAGS": compiler.QUICK}  # a device, as most have
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        megabytes = [resident(process) for line in process.stderr if re.search(rf" epoch \d+/{EPOCHS}:", line)]
    assert process.returncode == 0
    assert len(megabytes) == EPOCHS
    # A save that is under way holds a copy, now and then: what grows is seen in the middle of several.
    assert statistics.median(megabytes[-10:]) < 1.05 * statistics.median(megabytes[1:4]), megabytes
