"""Plots how runs with a target reached their group sparsity, and prints the table that belongs to it.

    python -m lim_jax.main --config=rooms --config.sparsity.target=0.5 --workdir=runs/target50
    python scripts/plot_targets.py runs/target30 runs/target50 --output=docs/images/targets.png

Above: group sparsity over the epochs, with the target dotted. Below: the strength λ, where it is not 0, on a
logarithmic axis. The history comes from the latest checkpoint of each workdir, test metrics from its `results.json`.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from lim_jax import config as config_lib
from lim_jax.errors import UserError
from lim_jax.figures import style
from lim_jax.training import checkpoints

# With a line style each for print in grey.
_STYLES = (
    (style.BLUE, "-"),
    (style.VERMILION, "--"),
    (style.GREEN, "-."),
    (style.PURPLE, (0, (4, 1, 1, 1, 1, 1))),
)
_PUBLISHED = {"segmentation": "iou", "depth": "mae", "normals": "cosine_similarity"}
_SETTLED = 0.2  # the share of the epochs, at the end, over which the range of sparsity is given


def read(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns `{"target", "history", "results"}` of a run; `results` is empty while it is not finished.

    Raises:
      UserError: the workdir holds no run with a target, or none that finished an epoch.
    """
    if not (workdir / "config.json").exists():
        raise UserError(f"{workdir} is no workdir: it has no config.json")
    config = config_lib.load(workdir)
    if not config.sparsity.target > 0:
        raise UserError(f"{workdir} was trained without a target: give runs with --config.sparsity.target")
    history = checkpoints.latest_meta(workdir)["history"]
    if not history:
        raise UserError(f"{workdir} has not finished an epoch yet")
    results = workdir / "results.json"
    found = json.loads(results.read_text()) if results.exists() else {}
    return {"target": float(config.sparsity.target), "history": history, "results": found}


def draw(runs: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws group sparsity and strength over the epochs, a line per run."""
    figure = Figure(figsize=(4.5, 4.2), dpi=200, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for run, (color, dashes) in zip(runs, _STYLES, strict=False):
        epochs = [record["epoch"] for record in run["history"]]
        reached = [record["sparsity"]["group_percent"] for record in run["history"]]
        label = f"target {100 * run['target']:.0f} %: {reached[-1]:.1f} %"
        upper.axhline(100 * run["target"], color=color, linewidth=0.8, linestyle=":")
        upper.plot(epochs, reached, color=color, linestyle=dashes, label=label)
        strengths = [record["strength"] or float("nan") for record in run["history"]]
        lower.semilogy(epochs, strengths, color=color, linestyle=dashes)
    upper.set(ylabel="groups that are zero, %", ylim=(-2, 102))
    lower.set(xlabel="epoch", ylabel="strength λ")
    style.whole_epochs(lower, max(run["history"][-1]["epoch"] for run in runs))
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(linewidth=0.4, color="#DDDDDD")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Returns a Markdown table: sparsity at the end and its range over the last fifth of the epochs, λ, metrics."""
    tasks = [task for task in _PUBLISHED if any(task in run["results"].get("test", {}) for run in runs)]
    heads = [
        "target",
        "at the end",
        "last fifth",
        "first λ above 0",
        "last λ",
        *(f"{t} {_PUBLISHED[t]}" for t in tasks),
    ]
    rows = [heads, ["---"] * len(heads)]
    for run in runs:
        history = run["history"]
        settled = history[-max(round(_SETTLED * len(history)), 1) :]
        percents = [record["sparsity"]["group_percent"] for record in settled]
        strengths = [record["strength"] for record in history if record["strength"] > 0] or [0.0]
        test = run["results"].get("test", {})
        rows.append(
            [
                f"{100 * run['target']:.0f} %",
                f"{percents[-1]:.1f} %",
                f"{min(percents):.1f}-{max(percents):.1f} %",
                f"{strengths[0]:.1e}",
                f"{strengths[-1]:.1e}",
                *(f"{test[t][_PUBLISHED[t]]:.3f}" if t in test else "-" for t in tasks),
            ]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdirs", nargs="+", type=pathlib.Path)
    parser.add_argument("--output", required=True, type=pathlib.Path, help="the PNG file to write")
    arguments = parser.parse_args()
    try:
        if len(arguments.workdirs) > len(_STYLES):
            raise UserError(f"at most {len(_STYLES)} workdirs fit one figure")
        runs = sorted((read(workdir) for workdir in arguments.workdirs), key=lambda run: run["target"])
        with matplotlib.rc_context({"font.size": 8}):
            draw(runs).savefig(arguments.output, format="png")
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"cannot write {arguments.output}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    print(table(runs))


if __name__ == "__main__":
    main()
