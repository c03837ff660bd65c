"""The script that harms runs judges them: what is as it should be passes, what is not fails."""

import pathlib
import subprocess
import sys

import pytest
from trials import runs

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_a_trial_of_each_cheap_kind(tmp_path):
    command = [sys.executable, "scripts/survival.py", "--kinds=kill,fuzz", "--trials=1", "--seed=1"]
    run = subprocess.run([*command, f"--folder={tmp_path}"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = [line.split(" | ") for line in run.stdout.splitlines() if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == ["| kill", "| fuzz"]
    assert [row[2:4] for row in rows] == [["1", "0"]] * 2


def test_other_weights_are_a_failure():
    one = {"results": {"epochs": 4}, "step": 12, "weights": {"conv": "1b2c3d4e"}}
    assert runs.differing(one, one) == ""
    assert runs.differing({**one, "weights": {"conv": "1b2c3d4f"}, "step": 9}, one) == "other step, weights"


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ("", "epoch 1/4: loss\nepoch 4/4: loss", 0),
        ("epoch 1/4: loss\nepoch 2/4: loss", "epoch 3/4: loss\nepoch 4/4: loss", 0),
        ("epoch 1/4: loss\nepoch 2/4: loss", "epoch 2/4: loss\nepoch 4/4: loss", 1),
        ("epoch 1/4: loss\nepoch 4/4: loss", "results on the test split", 0),
    ],
)
def test_epochs_that_are_trained_again_are_lost(before, after, lost):
    assert runs.epochs_lost(before, after) == lost
