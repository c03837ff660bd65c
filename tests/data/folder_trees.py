"""Writes a small folder of one's own images: every kind of task, some of it not labelled."""

import csv
import json
import pathlib
from typing import Any

import cv2
import numpy as np

SIZE = (16, 24)
TASKS: dict[str, Any] = {
    "parts": {
        "type": "segmentation",
        "classes": [
            {"name": "thing", "labels": [1, 300], "color": [250, 0, 0]},
            {"name": "rest", "labels": "other", "color": [0, 0, 250]},
        ],
        "ignore": [9],
    },
    "depth": {"type": "depth", "scale": 0.001, "range": [0.5, 8]},
    "normals": {"type": "normals", "axes": ["x", "z", "-y"]},
    "smiling": {"type": "attribute"},
}
SPLITS = ("train", "train", "train", "train", "validation", "test")


def labels(index: int) -> dict[str, np.ndarray]:
    """Returns the stored labels of image `index`."""
    parts = np.zeros(SIZE, np.uint16)
    parts[:4], parts[4:8], parts[8] = 1, 300, 9
    depth = np.full(SIZE, 1000 + 100 * index, np.uint16)
    depth[0], depth[1] = 0, 9000  # unknown, and beyond the range
    normals = np.zeros((*SIZE, 3), np.float32)
    normals[:] = [0, -1, 0]  # up, where y points down
    normals[:, 0] = 0
    return {"parts": parts, "depth": depth, "normals": normals}


def has(index: int, task: str) -> bool:
    """Whether image `index` is labelled for `task`; image 2 is not labelled at all."""
    return index != 2 and not (task == "depth" and index == 1) and not (task == "normals" and index == 0)


def rows() -> list[dict[str, str]]:
    """Returns the manifest."""
    result = []
    for index, split in enumerate(SPLITS):
        row = {"image": f"images/{index}.png", "split": split, "note": "not a task"}
        for task, path in (("parts", f"{index}.png"), ("depth", f"{index}.png"), ("normals", f"{index}.npy")):
            row[task] = f"{task}/{path}" if has(index, task) else ""
        row["smiling"] = ("no", "yes")[index % 2] if has(index, "smiling") else ""
        result.append(row)
    return result


def write(root: pathlib.Path, manifest: str = "manifest.csv", tasks: str = "tasks.json") -> pathlib.Path:
    """Writes images, labels, manifest and tasks to `root`; image i is filled with i + 1."""
    for folder in ("images", "parts", "depth", "normals"):
        (root / folder).mkdir(parents=True)
    for index in range(len(SPLITS)):
        cv2.imwrite(str(root / f"images/{index}.png"), np.full((*SIZE, 3), index + 1, np.uint8))
        stored = labels(index)
        cv2.imwrite(str(root / f"parts/{index}.png"), stored["parts"])
        cv2.imwrite(str(root / f"depth/{index}.png"), stored["depth"])
        np.save(root / f"normals/{index}.npy", stored["normals"])
    if manifest.endswith(".csv"):
        with (root / manifest).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows()[0])
            writer.writeheader()
            writer.writerows(rows())
    else:
        lines = [{key: value for key, value in row.items() if value} for row in rows()]
        (root / manifest).write_text("\n".join(map(json.dumps, lines)) + "\n")
    (root / tasks).write_text(json.dumps(TASKS, indent=1))
    return root
