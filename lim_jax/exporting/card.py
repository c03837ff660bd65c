"""The model card of an exported file: everything that its user must know to feed it and to read its outputs."""

import hashlib
import importlib.metadata
import json
import pathlib
from typing import Any

from lim_jax import __version__, compaction, models
from lim_jax.config import Config
from lim_jax.exporting.formats import BATCH, FORMATS, INPUT
from lim_jax.exporting.program import Program
from lim_jax.network import Trained

_NORMALISATION = "(x / 255 - mean) / std, per channel, of x in 0..255"


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


def is_card(path: pathlib.Path) -> bool:
    """Returns whether a file is what `describe` returns, as JSON."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"format", "sha256", "outputs"} <= content.keys()


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
            **task.export_notes(program.predicts),
        }
        for name, task in program.network.tasks.items()
    }


def _training(trained: Trained, settings: Config, workdir: pathlib.Path) -> dict[str, Any]:
    return {
        "step": trained.step,
        "epoch": trained.epoch,
        "dataset": settings.dataset.name,
        "image_size": list(settings.dataset.image_size),
        "dtype": trained.network.model.backbone.dtype,
        "test": _test_results(workdir),
    }


def _test_results(workdir: pathlib.Path) -> Any:
    """Returns what `results.json` says of the test split; None if it is not there, or is no such file."""
    try:
        return json.loads((workdir / "results.json").read_text())["test"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
