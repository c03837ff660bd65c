"""The model card of an exported file: everything that its user must know to feed it and to read its outputs."""

import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from lim_jax import __version__, compaction, models, tasks
from lim_jax.config import Config
from lim_jax.exporting.formats import BATCH, FORMATS, INPUT
from lim_jax.exporting.program import Program
from lim_jax.network import Trained

_NORMALISATION = "(x / 255 - mean) / std, per channel, of x in 0..255"
_CELLS = "cell (i, j) is centred on pixel (8 i, 8 j); predictions are bilinear between cells"

# By kind of task: what a prediction is and its range; what is done to logits to get it.
_PREDICTIONS: Mapping[str, tuple[str, list[float] | None]] = {
    "segmentation": ("index into `classes`, per pixel", None),
    "depth": ("depth of each pixel as a share of the image's largest; not metres", [0.0, 1.0]),
    "normals": ("unit vector per pixel, in the camera's frame: x right, y into the scene, z up", [-1.0, 1.0]),
    "attribute": ("probability that the image has the attribute", [0.0, 1.0]),
}
_LOGITS: Mapping[str, str] = {
    "segmentation": "logits, one per class; upsampled, the largest is the class",
    "depth": "logits; the sigmoid, upsampled, is the depth as a share of the image's largest",
    "normals": "logits of x right, y into the scene, z up; the tanh, upsampled, over its length is the unit vector",
    "attribute": "logits; the sigmoid is the probability that the image has the attribute",
}


def describe(
    name: str, content: bytes, program: Program, trained: Trained, settings: Config, workdir: pathlib.Path
) -> dict[str, Any]:
    """Returns the card, JSON-serialisable.

    Args:
      name: of the format.
      content: of the file.
      program: that was exported.
      trained: the network that it was made from.
      settings: the configuration of its run.
      workdir: of its run.
    """
    cost = compaction.total(compaction.layer_costs(program.network.model, program.image_size))
    return {
        "format": {"name": name, **FORMATS[name].details},
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "input": _input(program),
        "outputs": _outputs(program),
        "inside": {"normalisation": program.normalises, "postprocessing": program.predicts},
        "network": {"parameters": cost.parameters, "macs_per_image": cost.macs, "dtype": "float32"},
        "training": _training(trained, settings, workdir),
        "versions": {
            "lim_jax": __version__,
            **{package: importlib.metadata.version(package) for package in ("jax", *FORMATS[name].packages)},
        },
    }


def _input(program: Program) -> dict[str, Any]:
    given = program.input(1)
    return {
        "name": INPUT,
        "shape": [BATCH, *given.shape[1:]],
        "dtype": str(given.dtype),
        "channels": ["red", "green", "blue"],
        "range": [0, 255] if program.normalises else "normalised",
        "normalisation": {
            "formula": _NORMALISATION,
            "mean": [round(float(value), 6) for value in models.IMAGE_MEAN],
            "std": [round(float(value), 6) for value in models.IMAGE_STD],
            "inside": program.normalises,
        },
    }


def _outputs(program: Program) -> dict[str, Any]:
    return {
        name: {
            "kind": task.spec.kind,
            "shape": [BATCH, *program.outputs[name].shape[1:]],
            "dtype": str(program.outputs[name].dtype),
            **_meaning(task, program.predicts),
        }
        for name, task in program.network.tasks.items()
    }


def _meaning(task: tasks.Task, predicts: bool) -> dict[str, Any]:
    kind = task.spec.kind
    meaning: dict[str, Any] = {"meaning": _LOGITS[kind]}
    if predicts:
        text, limits = _PREDICTIONS[kind]
        meaning = {"meaning": text, "range": limits or [0, task.num_outputs - 1]}
    elif kind != "attribute":
        meaning["cells"] = _CELLS
    if isinstance(task, tasks.SegmentationTask):
        meaning |= {
            "classes": list(task.spec.class_names),
            "colors": ["#" + bytes(color).hex() for color in task.colors],
        }
    if isinstance(task, tasks.AttributeTask):
        meaning["yes_above_probability"] = task.threshold
    return meaning


def _training(trained: Trained, settings: Config, workdir: pathlib.Path) -> dict[str, Any]:
    results = workdir / "results.json"
    return {
        "step": trained.step,
        "epoch": trained.epoch,
        "dataset": settings.dataset.name,
        "image_size": list(settings.dataset.image_size),
        "dtype": trained.network.model.backbone.dtype,
        "test": json.loads(results.read_text()).get("test") if results.is_file() else None,
    }
