"""What a data set holds, what looks wrong with it, and the verb that shows it."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from lim_jax.data import Dataset, statistics
from lim_jax.data.sources import files
from lim_jax.data.specs import TargetSpec
from lim_jax.tasks.interpolation import OUTPUT_STRIDE
from tests.data import folder_trees

ROOT = pathlib.Path(__file__).parents[2]
SIZE = (8, 12)
SPECS = {
    "segmentation": TargetSpec("segmentation", "segmentation", ("sky", "sea", "sand")),
    "depth": TargetSpec("depth", "depth"),
    "normals": TargetSpec("normals", "normals"),
    "smiling": TargetSpec("smiling", "attribute"),
}


def _example(labelled=True, classes=(0, 1), depth=2.0, normal=(0.0, -0.8, 0.6), smiling=1):
    targets = {name: spec.missing(SIZE) for name, spec in SPECS.items()}
    if labelled:
        targets["segmentation"][:6, :8], targets["segmentation"][:6, 8:] = classes
        targets["depth"][:, :6] = depth
        targets["normals"][:6] = normal
        targets["smiling"] = np.array(smiling, np.int8)
    return {"image": np.zeros((*SIZE, 3), np.uint8), "targets": targets}


def _both(**changes):
    return [_example(**changes), _example(**{**changes, "smiling": 0}), _example(labelled=False)]


def test_numbers():
    numbers = statistics.describe(_both(), SPECS)
    assert all(task["examples"] == 3 and task["labelled"] == 2 for task in numbers.values())
    assert numbers["segmentation"]["classes"] == {"sky": 2 / 3, "sea": 1 / 3, "sand": 0.0}
    assert numbers["segmentation"]["invalid"] == 0.25
    assert numbers["segmentation"]["seen_classes"] == {"sky": 2, "sea": 2, "sand": 0}
    depth = {"invalid": 0.5, "depth": [2.0, 2.0, 2.0], "seen": 2, "far": 0}
    assert numbers["depth"] == {"examples": 3, "labelled": 2, **depth}
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


def _sparse(name, value, offset=4):
    """Examples that are labelled on every 8th row and column alone."""
    examples = _both()
    for example in examples:
        target = example["targets"][name]
        target[...] = SPECS[name].missing(SIZE)
        target[offset::8, offset::8] = value
    return examples


def _small_class(examples):
    examples[0]["targets"]["segmentation"][3, 3] = 2
    return examples


def _far_pixel(examples):
    examples[0]["targets"]["depth"][5, 5] = 60
    return examples


def _one_class(examples):
    for example in examples[:2]:
        example["targets"]["segmentation"][:] = 1
    examples[0]["targets"]["segmentation"][0, 0] = 0
    return examples


LARGEST = {"depth": {files.LARGEST_BYTE: {"examples": 2, "pixels": 5}}}
NEGATIVE = {"depth": {"negative": {"examples": 1, "pixels": 3}}}
KINDS = {
    "depth between the cells": (_sparse("depth", 2.0), {}, "^depth: no cell of the loss sees a label in train"),
    "normals between the cells": (_sparse("normals", (0, -1, 0)), {}, "^normals: no cell of the loss sees a label"),
    "labels between the cells": (_sparse("segmentation", 1), {}, "^segmentation: no cell of the loss sees a label"),
    "a class between the cells": (
        _small_class(_both()),
        {},
        "^segmentation: no cell of the loss sees sand in train: it looks at every 8th pixel",
    ),
    "a pixel far behind the others": (_far_pixel(_both()), {}, "^depth: in 1 of 2 examples of train .* 3 times as far"),
    "one class": (_one_class(_both()), {}, "^segmentation: 99.5 % of the labelled pixels in train are 'sea'"),
    "one answer in a hundred": (
        [_example(smiling=int(index > 0)) for index in range(100)],
        {},
        "^smiling: 99.0 % of the examples of train looked at say yes",
    ),
    "depth at its type's largest": (
        _both(),
        LARGEST,
        "^depth: 5 pixels of 2 depth maps of train have the largest depth",
    ),
    "depth that is no depth": (
        _both(),
        NEGATIVE,
        "^depth: 3 pixels of 1 depth maps of train are negative and were taken",
    ),
}


class _Noted(list):
    """A split of which something was noted."""

    noted: dict


@pytest.mark.parametrize(("train", "noted", "message"), KINDS.values(), ids=KINDS)
def test_what_training_cannot_see_is_said(train, noted, message):
    split = _Noted(train)
    split.noted = noted
    usual = statistics.training_warnings(_dataset(_both()))
    found = [sentence for sentence in statistics.training_warnings(_dataset(split)) if sentence not in usual]
    assert any(re.search(message, sentence) for sentence in found), found
    assert not any(re.search(message, sentence) for sentence in usual)
    assert not any("\n" in sentence for sentence in found)


def _dataset(train):
    return Dataset("some", SPECS, {"train": train, "validation": _both(), "test": _both()})


def test_cells_are_those_of_the_losses():
    assert statistics.CELL == OUTPUT_STRIDE


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
