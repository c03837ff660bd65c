"""The real training loop where labels are missing: in examples, in batches, and for whole splits."""

import csv
import json
import math
import pathlib

import cv2
import jax
import numpy as np
import pytest

from lim_jax.training import checkpoints, loop
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow

SIZE = (32, 40)
SPLITS = ("train",) * 12 + ("validation",) * 4 + ("test",) * 4
# Which images have a label: some of training's segmentations and none in test, no answers in validation, and depth in
# test alone.
LABELLED = {
    "segmentation": lambda index, split: split != "test" and index % 3 == 0,
    "depth": lambda index, split: split == "test",
    "smiling": lambda index, split: split != "validation" and index % 4 < 2,
}


def _write(root: pathlib.Path) -> pathlib.Path:
    rng = np.random.default_rng(0)
    rows = []
    for index, split in enumerate(SPLITS):
        image = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        bright = image[..., 0] > 127
        files = {
            "image": (f"{index}.png", image),
            "segmentation": (f"{index}_labels.png", bright.astype(np.uint8)),
            "depth": (f"{index}_depth.npy", 1 + bright.astype(np.float32)),
        }
        for name, array in files.values():
            np.save(root / name, array) if name.endswith(".npy") else cv2.imwrite(str(root / name), array)
        row = {"image": files["image"][0], "split": split}
        for task, labelled in LABELLED.items():
            value = "yes" if index % 2 else "no"
            row[task] = (value if task == "smiling" else files[task][0]) if labelled(index, split) else ""
        rows.append(row)
    with (root / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    classes = {"type": "segmentation", "classes": ["dark", "bright"]}
    kinds = {"segmentation": classes, "depth": {"type": "depth"}, "smiling": {"type": "attribute"}}
    (root / "tasks.json").write_text(json.dumps(kinds))
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on such a folder, with augmentation: its workdir and its results."""
    root = tmp_path_factory.mktemp("missing")
    (root / "source").mkdir()
    config = tiny_config(root / "records")
    config.tasks = tuple(LABELLED)
    config.dataset.name = "folder"
    config.dataset.source_dir = str(_write(root / "source"))
    config.augmentation.horizontal_flip = True
    config.augmentation.max_scale = 1.3
    config.augmentation.color_jitter = 0.2
    config.batch_size = 2  # so that many batches lack a task
    config.early_stopping_patience = 2
    return root / "run", loop.train_and_evaluate(config, root / "run")


def test_metrics_are_there_where_labels_are(run):
    _, results = run
    for split, without in (("test", {"segmentation"}), ("validation", {"smiling", "depth"})):
        for task, metrics in results[split].items():
            assert (metrics["loss"] is None) == (task in without), (split, task)
            assert all(value is None or math.isfinite(value) for value in metrics.values())
    assert results["test_constant"]["smiling"]["accuracy"] is not None


def test_weights_stay_finite(run):
    trained = checkpoints.load_network(run[0], checkpoints.LATEST).variables["params"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained))


def test_a_task_without_training_labels_has_no_part_in_the_loss(run):
    events = _history(run[0])
    assert all(record["train"]["depth"]["loss"] is None for record in events)
    assert all(record["train"][task]["loss"] > 0 for record in events for task in ("segmentation", "smiling"))
    assert all(math.isfinite(record["total"]["validation"]) for record in events)


def test_figures_are_drawn(run):
    assert len(list((run[0] / "report").glob("*.png"))) >= 4


def _history(workdir):
    """The history that the latest checkpoint holds."""
    latest = max((workdir / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    return json.loads((latest / "meta/metadata").read_text())["history"]
