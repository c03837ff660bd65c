"""What a data set holds, what looks wrong with it, and the verb that shows it."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from lim_jax.data import Dataset, statistics
from lim_jax.data.specs import TargetSpec
from tests.data import folder_trees

ROOT = pathlib.Path(__file__).parents[2]
SIZE = (4, 6)
SPECS = {
    "segmentation": TargetSpec("segmentation", "segmentation", ("sky", "sea", "sand")),
    "depth": TargetSpec("depth", "depth"),
    "normals": TargetSpec("normals", "normals"),
    "smiling": TargetSpec("smiling", "attribute"),
}


def _example(labelled=True, classes=(0, 1), depth=2.0, normal=(0.0, -0.8, 0.6), smiling=1):
    targets = {name: spec.missing(SIZE) for name, spec in SPECS.items()}
    if labelled:
        targets["segmentation"][:2], targets["segmentation"][2] = classes
        targets["depth"][:, :3] = depth
        targets["normals"][1:] = normal
        targets["smiling"] = np.array(smiling, np.int8)
    return {"image": np.zeros((*SIZE, 3), np.uint8), "targets": targets}


def _both(**changes):
    return [_example(**changes), _example(**{**changes, "smiling": 0}), _example(labelled=False)]


def test_numbers():
    numbers = statistics.describe(_both(), SPECS)
    assert all(task["examples"] == 3 and task["labelled"] == 2 for task in numbers.values())
    assert numbers["segmentation"]["classes"] == {"sky": 2 / 3, "sea": 1 / 3, "sand": 0.0}
    assert numbers["segmentation"]["invalid"] == 0.25
    assert numbers["depth"] == {"examples": 3, "labelled": 2, "invalid": 0.5, "depth": [2.0, 2.0, 2.0]}
    np.testing.assert_allclose(numbers["normals"]["mean_normal"], (0, -0.8, 0.6), rtol=1e-6)
    assert (numbers["normals"]["away"], numbers["normals"]["invalid"]) == (0, 0.25)
    assert numbers["smiling"]["positive"] == 0.5
    assert json.loads(json.dumps(numbers)) == numbers
    assert statistics.describe(_both(), SPECS, limit=1)["depth"]["examples"] == 1


CASES = {
    "all is well": ({}, {}, ["1 class.*never occur.*: sand$"]),
    "a class is missing where it is needed": ({}, {"classes": (2, 0)}, ["sand; of them sand occur in validation or"]),
    "millimetres": ({"depth": 2000.0}, {}, ["depth: the median depth in train is 2000.*millimetres"]),
    "y points down": ({"normal": (0.0, -0.8, -0.6)}, {}, ["normals: more normals in train point down than up"]),
    "the axes of a camera": ({"normal": (0.0, 0.6, -0.8)}, {}, ["normals: 100 % of the normals in train point away"]),
    "nothing labelled": ({"labelled": False}, {}, ["depth: no label among the 3 examples of train.*cannot be learned"]),
    "no figures": ({}, {"labelled": False}, ["smiling: no label among the 3 examples of test.*no figures"]),
    "one answer": ({"smiling": 0}, {}, ["smiling: all 2 examples of train looked at say no"]),
}


@pytest.mark.parametrize(("train", "test", "messages"), CASES.values(), ids=CASES)
def test_warnings(train, test, messages):
    sources = {"train": _both(**train), "validation": _both(), "test": _both(**test)}
    found = statistics.training_warnings(Dataset("some", SPECS, sources))
    for message in messages:
        assert any(re.search(message, sentence) for sentence in found), found
    if not train and not test:
        assert len(found) == 1
    assert not any("\n" in sentence for sentence in found)


def test_the_verb_writes_numbers_and_a_picture(tmp_path):
    source = folder_trees.write(tmp_path / "source")
    flags = ["--config=configs/common.py", "--config.dataset.name=folder", f"--config.dataset.source_dir={source}"]
    flags += [f"--config.dataset.data_dir={tmp_path}", "--config.tasks=parts,depth,normals,smiling"]
    flags += ["--config.dataset.image_size=16,24", f"--output={tmp_path / 'look'}"]
    command = [sys.executable, "-m", "lim_jax.data", *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "train: 3 examples\n  parts: 3 labelled; 6.2 % of their pixels invalid; " in done.stdout
    assert "smiling: all 1 examples of validation looked at say no" in done.stdout
    content = json.loads((tmp_path / "look/data.json").read_text())
    assert content["splits"]["train"]["depth"]["labelled"] == 2
    assert (tmp_path / "look/examples.png").stat().st_size > 5000
