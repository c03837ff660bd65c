"""The converter of NYU-v2's official file, on a small file of exactly its structure."""

import subprocess
import sys

import h5py
import ml_collections
import numpy as np
import pytest
import scipy.io

from lim_jax.data import load
from lim_jax.errors import UserError
from scripts import convert_nyu_mat
from tests.data import nyu_trees

TASKS = ("segmentation", "depth", "normals")
TRAIN, TEST = [1, 3, 4], [2, 5]  # counted from 1
FRAMES = 5


def _depth(index):
    """A wall and, lower left, a nearer one; depth is dense, as the in-painted one is."""
    depth = np.full(nyu_trees.SIZE, 2.0 + 0.1 * index, np.float32)
    depth[12:, :16] = 1.5
    return depth


def _write(root, **changes):
    """Writes mat, splits and classes; MATLAB's arrays H×W×3×N arrive in HDF5 as (N, 3, W, H)."""
    root.mkdir(exist_ok=True)
    frames = [nyu_trees.frame(index) for index in range(FRAMES)]
    labels = [np.where(f["classes"] == 255, 0, 2 * f["classes"].astype(int) + 1) for f in frames]  # every second of 80
    raw = [_depth(index) for index in range(FRAMES)]
    for depth in raw:
        depth[:, -3:] = 0
    arrays = {
        "images": np.stack([f["image"] for f in frames], -1),
        "depths": np.stack([_depth(index) for index in range(FRAMES)], -1),
        "rawDepths": np.stack(raw, -1),
        "labels": np.stack(labels, -1).astype(np.uint16),
    } | changes
    with h5py.File(root / "labeled.mat", "w") as file:
        for name, array in arrays.items():
            file[name] = array.T
    scipy.io.savemat(root / "splits.mat", {"trainNdxs": np.uint16([TRAIN]).T, "testNdxs": np.uint16([TEST]).T})
    mapping = np.repeat(np.arange(1, 41, dtype=np.uint8), 2)
    scipy.io.savemat(root / "classes.mat", {"mapClass": mapping[None]})
    return root


def _convert(root):
    return convert_nyu_mat.convert(root / "labeled.mat", root / "splits.mat", root / "classes.mat", root / "out")


def _load(tmp_path, source):
    fields = {"name": "nyu", "data_dir": str(tmp_path / "records"), "source_dir": str(source)}
    return load(ml_collections.ConfigDict({**fields, "image_size": nyu_trees.SIZE}), TASKS)


def test_three_routes_give_the_same_tensors(tmp_path):
    """The official file and both layouts; normals and depth of the official file are its own."""
    assert _convert(_write(tmp_path / "official")) == 5
    indices = {"train": [n - 1 for n in TRAIN], "val": [n - 1 for n in TEST], "test": [n - 1 for n in TEST]}
    routes = [
        _load(tmp_path, tmp_path / "official/out"),
        _load(tmp_path, nyu_trees.write_nyud_mt(tmp_path / "mt", {s: indices[s] for s in ("train", "val")})),
        _load(tmp_path, nyu_trees.write_three_task(tmp_path / "3", {s: indices[s] for s in ("train", "test")})),
    ]
    for split, length in (("train", 3), ("test", 2)):
        for position in range(length):
            examples = [route.sources[split][position] for route in routes]
            for other in examples[1:]:
                np.testing.assert_array_equal(examples[0]["image"], other["image"])
                np.testing.assert_array_equal(examples[0]["targets"]["segmentation"], other["targets"]["segmentation"])
            np.testing.assert_array_equal(*(example["targets"]["depth"] for example in examples[1:]))
            np.testing.assert_allclose(*(example["targets"]["normals"] for example in examples[1:]), atol=0.01)
            targets = examples[0]["targets"]
            np.testing.assert_array_equal(targets["depth"], _depth(indices[split][position]))
            wall = targets["normals"][:8, 4:24]
            np.testing.assert_allclose(wall, np.broadcast_to([0, -1, 0], wall.shape), atol=1e-3)
            assert not np.any(targets["normals"][:, -3:]), "no normals where the sensor measured nothing"


def test_the_command_line(tmp_path):
    root = _write(tmp_path / "official")
    flags = [f"--{name}={root / file}" for name, file in (("splits", "splits.mat"), ("classes", "classes.mat"))]
    command = [sys.executable, convert_nyu_mat.__file__, *flags, f"--output={root / 'out'}"]
    failed = subprocess.run([*command, f"--mat={root / 'none.mat'}"], capture_output=True, text=True)
    assert (
        failed.returncode == 2 and failed.stderr.startswith("error: cannot convert") and failed.stderr.count("\n") == 1
    )
    done = subprocess.run([*command, f"--mat={root / 'labeled.mat'}"], capture_output=True, text=True)
    assert done.returncode == 0 and "5 frames in" in done.stdout, done.stderr


def _text(name):
    return lambda root: (root / name).write_text("no MATLAB file")


MISTAKES = {
    "not HDF5": (_text("labeled.mat"), "cannot convert .*labeled.mat"),
    "splits are not MATLAB": (_text("splits.mat"), "cannot read .*splits.mat as a MATLAB file"),
    "other splits": (lambda root: scipy.io.savemat(root / "splits.mat", {"a": 1}), "no variable 'trainNdxs'"),
    "no depth": (lambda root: _write(root, depths=np.zeros(3)), "no array 'depths' of 3 dimensions"),
    "another shape": (lambda root: _write(root, depths=np.zeros((3, 4, 5))), r"depths has shape \(5, 4, 3\)"),
    "too few frames": (
        lambda root: _write(
            root,
            images=np.zeros((4, 6, 3, 2), np.uint8),
            **{name: np.zeros((4, 6, 2)) for name in ("depths", "rawDepths", "labels")},
        ),
        "lists frame 5, but there are frames 1 to 2",
    ),
    "a new label": (
        lambda root: _write(root, labels=np.full((*nyu_trees.SIZE, FRAMES), 900, np.uint16)),
        "the label 900, which the class mapping lacks",
    ),
    "output exists": (lambda root: (root / "out").mkdir(), "out exists already"),
}


@pytest.mark.parametrize(("spoil", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_end_in_one_line_and_leave_nothing(tmp_path, spoil, message):
    root = _write(tmp_path / "official")
    spoil(root)
    with pytest.raises(UserError, match=message) as caught:
        _convert(root)
    assert "\n" not in str(caught.value)
    assert not (root / "out.partial").exists()


def test_an_interrupted_conversion_starts_cleanly_again(tmp_path):
    root = _write(tmp_path / "official")
    (root / "out.partial/images").mkdir(parents=True)
    (root / "out.partial/images/9999.png").write_text("half")
    _convert(root)
    assert len(list((root / "out/images").iterdir())) == 5
