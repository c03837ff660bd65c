"""What a contender is asked to run, and in which sizes; what is printed about a measurement."""

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

# Outputs per task, in the paper's order; its code has an output for NYU-v2's unlabelled pixels, too.
OUTPUTS = {"segmentation": 41, "normals": 3, "depth": 1}

# Standard deviations of the random parameters and gradients that an optimizer is measured with.
PARAMETER_SIZE, GRADIENT_SIZE = 0.02, 1e-3


@dataclasses.dataclass(frozen=True)
class Job:
    """One thing to measure: a network of three dense tasks, on a batch of random images.

    Attributes:
      what: "step" (a training step), "gradients" (a step without its optimizer), "inference" (a forward pass) or
        "optimizer" (an update of all parameters).
      contender: whose code runs.
      backbone, width_multiplier, head_channels: the network's size, as in a configuration.
      batch_size: images.
      image_size: height and width in pixels.
      dtype: of the computation.
      strength: the strength λ of the group lasso.
      loss_weighting: as in a configuration; with ":features" after it, `rep_grad`.
      torch_reference: checkout of the paper's public code, for the contenders that run it.
    """

    what: str
    contender: str = ""
    backbone: str = "resnet50d"
    width_multiplier: float = 1.0
    head_channels: int = 256
    batch_size: int = 4
    image_size: int = 128
    dtype: str = "float32"
    strength: float = 1e-5
    loss_weighting: str = "uncertainty"
    torch_reference: str = ""

    def sizes(self) -> dict[str, Any]:
        """Returns what a figure depends on, for its JSON line."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "torch_reference"}


def add_sizes(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Adds the options of a `Job`'s sizes to a command; `defaults` are other defaults than the job's."""
    for field in dataclasses.fields(Job)[2:-1]:
        default = defaults.get(field.name, field.default)
        parser.add_argument(f"--{field.name}", type=type(default), default=default)


def job_from(arguments: argparse.Namespace, what: str) -> Job:
    """Returns the job that the options of a command describe."""
    given = vars(arguments)
    names = [field.name for field in dataclasses.fields(Job)[2:]]
    return Job(what, **{name: given[name] for name in names if name in given})


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Returns the median of measured times and between what they vary."""
    return {
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "rounds": len(seconds),
    }


def report(fields: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Prints one JSON line, numbers with four digits, to `file` or standard output."""
    print(json.dumps({key: _rounded(value) for key, value in fields.items()}), file=file or sys.stdout, flush=True)


def keep(fields: Mapping[str, Any], file: str) -> None:
    """Prints one JSON line, and appends it to `file` unless that is empty."""
    report(fields)
    if file:
        with open(file, "a") as kept:
            report(fields, kept)


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
