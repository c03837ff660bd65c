"""Networks that come with lim_jax: they open, see something, are small, and nothing is written beside them."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import lim_jax
from lim_jax import shipped
from lim_jax.data import rooms
from lim_jax.errors import UserError

MOST_BYTES = 3e6
SIZE = (64, 64)


def tree(folder):
    """Returns what is in a folder, with the time of its last change."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("name", shipped.names())
def test_a_network_is_small_and_says_nothing_of_the_machine_that_made_it(name):
    folder = shipped.workdir(f"shipped:{name}")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    texts = [path for path in files if path.suffix in (".json", ".txt")]
    assert texts and not [path for path in texts if re.search(r"(^|[\s\"'])/\w+/", path.read_text())]


@pytest.mark.slow
def test_rooms_sees_rooms_and_leaves_no_trace():
    """On rooms that it was not trained on; the best prediction that ignores the image has 0.26, 0.15 and 0.55."""
    folder = shipped.workdir("shipped:rooms")
    before = tree(folder)
    examples = [rooms.example("test", index, SIZE) for index in range(24)]
    predictions = lim_jax.Predictor.from_workdir("shipped:rooms")([example["image"] for example in examples])

    def compare(task, judge):
        pairs = [(p[task], e["targets"][task]) for p, e in zip(predictions, examples, strict=True)]
        return float(np.mean([judge(predicted, target) for predicted, target in pairs]))

    assert compare("segmentation", lambda a, b: np.mean((a == b)[b < 255])) > 0.8
    assert compare("depth", lambda a, b: np.mean(np.abs(a - b / np.nanmax(b))[np.isfinite(b) & (b > 0)])) < 0.08
    assert compare("normals", lambda a, b: np.mean(np.sum(a * b, -1)[np.any(b != 0, -1)])) > 0.88
    assert tree(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "--workdir=shipped:room", "--output=out", "--images=x.png"), "did you mean shipped:rooms"),
        (("export", "--workdir=shipped:x", "--output=out"), "did you mean shipped:rooms"),
        (("compact", "--workdir=shipped:rooms"), "into which nothing is written"),
        (("evaluate", "--workdir=shipped:rooms"), "into which nothing is written"),
        (("report", "--workdir=shipped:rooms"), "into which nothing is written"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path):
    command = [sys.executable, "-m", "lim_jax", *arguments]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 2 and message in ran.stderr and ran.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["runs/rooms", pathlib.Path("runs/rooms")])
def test_other_workdirs_are_what_they_are(given):
    assert shipped.workdir(given, written=True) == pathlib.Path("runs/rooms")


@pytest.mark.parametrize("given", ["shipped:Rooms!", "shipped:", "shipped:../rooms", "shipped:rooms/checkpoints"])
def test_only_names_are_found(given):
    with pytest.raises(UserError, match="did you mean shipped:rooms"):
        shipped.workdir(given)
