"""Compares runs that removed zero groups while training with runs that did not: results, size, and speed.

python scripts/compare_shrinking.py --without=runs/whole0,runs/whole1,runs/whole2 \
    --shrinking=runs/shrinking0,runs/shrinking1,runs/shrinking2 --output=shrinking.png

Prints, per variant, mean ± standard deviation (of a sample) over the runs of every metric of the test split, of the
zero groups, the parameters and the seconds. Draws the seconds of each epoch's steps, and those of the training up to
it with everything that was compiled: the median of the runs, and a band from the fastest to the slowest.

Seconds are comparable only between runs on the same machine that were alone on it.
"""

import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

from lim_jax.figures import style
from lim_jax.runtime.tables import aligned
from lim_jax.training import checkpoints

_WITHOUT = flags.DEFINE_list("without", None, "Workdirs of runs without config.sparsity.compact_every_epochs.")
_SHRINKING = flags.DEFINE_list("shrinking", None, "Workdirs of runs with it, of the same seeds.")
_OUTPUT = flags.DEFINE_string("output", "shrinking.png", "The figure.")
flags.mark_flags_as_required(["without", "shrinking"])

_COLORS = {"without": style.BLUE, "shrinking": style.VERMILION}
_LAST_EPOCHS = 5

Run = tuple[dict[str, Any], list[dict[str, Any]]]  # the content of results.json, and the history


def load(workdir: pathlib.Path) -> Run:
    """Returns the results and the history of a finished run."""
    history = checkpoints.latest_meta(workdir)["history"]
    return json.loads((workdir / "results.json").read_text()), history


def step_seconds(history: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Returns the seconds of each epoch's training steps, without compiling."""
    return np.array([record["seconds"] - record["compile_seconds"]["training"] for record in history])


def training_seconds(history: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Returns the seconds of all training steps up to each epoch, with everything that was compiled."""
    return np.cumsum([record["seconds"] + record["compile_seconds"]["evaluation"] for record in history])


def numbers(run: Run) -> dict[str, float]:
    """Returns what is compared of a run, by name."""
    results, history = run
    test = {
        f"test {task} {metric}": value
        for task, metrics in results["test"].items()
        for metric, value in metrics.items()
        if value is not None
    }
    return test | {
        "validation loss, lowest": min(
            record["total"]["validation"] for record in history if record["total"].get("validation") is not None
        ),
        "zero groups, %": results["sparsity"]["group_percent"],
        "parameters": float(results["parameters"]),
        "seconds of an epoch's steps, first": float(step_seconds(history)[0]),
        f"seconds of an epoch's steps, median of the last {_LAST_EPOCHS}": float(
            np.median(step_seconds(history)[-_LAST_EPOCHS:])
        ),
        "seconds compiling": float(sum(sum(record["compile_seconds"].values()) for record in history)),
        "seconds of training and compiling": float(training_seconds(history)[-1]),
    }


def table(variants: Mapping[str, Sequence[Run]]) -> str:
    """Returns aligned text: a row per number, mean ± standard deviation per variant."""
    columns = {name: [numbers(run) for run in runs] for name, runs in variants.items()}
    rows = [("", *(f"{name} ({len(runs)} runs)" for name, runs in columns.items()))]
    for key in next(iter(columns.values()))[0]:
        rows.append((key, *(_mean_and_deviation([run[key] for run in runs]) for runs in columns.values())))
    return aligned(rows)


def _mean_and_deviation(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.fmean(values):.4g} ± {deviation:.2g}"


def figure(variants: Mapping[str, Sequence[Run]]) -> Figure:
    """Draws the seconds of each epoch and of the training up to it."""
    drawn = Figure(figsize=(style.WIDTH, 2.6), layout="constrained")
    panels = (
        ("seconds per epoch, training steps", step_seconds),
        ("seconds so far, compiling included", training_seconds),
    )
    for axes, (label, measure) in zip(drawn.subplots(1, 2), panels, strict=True):
        for name, runs in variants.items():
            lines = [measure(history) for _, history in runs]
            length = min(map(len, lines))
            values, epochs = np.array([line[:length] for line in lines]), np.arange(1, length + 1)
            axes.fill_between(
                epochs, values.min(axis=0), values.max(axis=0), color=_COLORS[name], alpha=0.2, linewidth=0
            )
            axes.plot(epochs, np.median(values, axis=0), color=_COLORS[name], label=name)
        axes.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        axes.margins(x=0.02)
    drawn.legend(*drawn.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return drawn


def main(argv: Sequence[str]) -> None:
    """Prints the table and writes the figure."""
    del argv
    variants = {
        name: [load(pathlib.Path(workdir)) for workdir in workdirs]
        for name, workdirs in (("without", _WITHOUT.value), ("shrinking", _SHRINKING.value))
    }
    print(table(variants))
    with style.context():
        figure(variants).savefig(_OUTPUT.value)
    print(f"figure: {_OUTPUT.value}")


if __name__ == "__main__":
    app.run(main)
