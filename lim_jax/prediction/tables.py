"""Predictions for machines: what each file of a picture means, and the answers to whole images as tables."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lim_jax.data.specs import IGNORE
from lim_jax.runtime import whole_files
from lim_jax.tasks.base import Task, image_tasks
from lim_jax.tasks.palette import INVALID_COLOR

_LARGEST = 65535  # of 16 bits

Row = dict[str, Any]


def in_16_bits(values: np.ndarray, unit: float) -> np.ndarray:
    """Returns uint16 (H, W): numbers in a unit (`Task.stored_unit`), what is beyond 16 bits as their end."""
    return np.clip(np.rint(np.asarray(values, np.float64) / unit), 0, _LARGEST).astype(np.uint16)


def palette(task: Task) -> np.ndarray:
    """Returns uint8 (256, 3): the colours of a task's classes, and that of pixels without one."""
    colors = np.full((256, 3), INVALID_COLOR, np.uint8)
    own = task.picture(np.arange(len(task.spec.class_names), dtype=np.uint8)[None])[0]
    colors[: len(own)] = own
    return colors


def card(tasks: Mapping[str, Task], network: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the files of a prediction mean, JSON-serialisable; `network` says where it came from."""
    described = {}
    for name, task in tasks.items():
        notes = task.export_notes(decoded=True)
        if name in image_tasks(tasks):
            notes |= {"file": "predictions.csv, predictions.jsonl"}
        elif task.spec.class_names:
            notes |= {"file": f"<name>_{name}.png", "stored": "class index, with a palette", "no_class": IGNORE}
        elif (unit := task.stored_unit) is not None:
            stored = f"uint16; times {unit:.9g} it is the {task.spec.kind}"
            notes |= {"file": f"<name>_{name}_16bit.png", "stored": stored, "scale": unit}
        else:
            notes |= {"file": f"<name>_{name}.png", "stored": task.picture_meaning}
        described[name] = notes
    return {"network": dict(network), "tasks": described}


def write_card(output: pathlib.Path, tasks: Mapping[str, Task], network: Mapping[str, Any]) -> None:
    """Writes `card` as `card.json`."""
    whole_files.write_json(output / "card.json", card(tasks, network))


def row(tasks: Mapping[str, Task], where: Mapping[str, Any], prediction: Mapping[str, np.ndarray]) -> Row:
    """Returns a row of the tables: `where` it is from, and what each task of whole images says."""
    found: Row = dict(where)
    for name, task in image_tasks(tasks).items():
        found |= task.record(prediction[name])
    return found


def write(output: pathlib.Path, rows: Sequence[Row], name: str = "predictions") -> None:
    """Writes the rows as `<name>.csv` and `<name>.jsonl`."""
    whole_files.write_csv(output / f"{name}.csv", rows)
    whole_files.write_text(output / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
