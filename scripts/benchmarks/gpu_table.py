"""Everything that has a goal on a GPU in one run, the most important first, ending with Markdown.

Each row of the plan is a command of `scripts/benchmark.py` in a process of its own, with the seconds after which it
is ended and those without which it does not begin. What it prints is appended to `lines.jsonl` in `--output`, of which
`table.md` is made at the end; programs are kept in `cache` there. `--skip=N` goes on after the first N rows, for
another sitting.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

from benchmarks import markdown, supervised, worker

_SIZES = ("--backbone=resnet50d", "--batch_size=16", "--image_size=256")
_TINY = ("--backbone=resnet18d", "--width_multiplier=0.05", "--head_channels=8", "--batch_size=2", "--image_size=32")
_BF16, _F32 = "--dtype=bfloat16", "--dtype=float32"


def run(arguments: argparse.Namespace) -> None:
    """Runs the plan until the deadline and prints the Markdown of what was measured."""
    directory = pathlib.Path(arguments.output)
    directory.mkdir(parents=True, exist_ok=True)
    deadline = supervised.Deadline.after(arguments.minutes)
    kept = directory / "lines.jsonl"
    for most, needs, *command in plan(arguments)[arguments.skip :]:
        limits = supervised.Deadline(min(deadline.at, supervised.Deadline.after(most / 60).at))
        task = _task(command, needs, limits, directory)
        for _ in supervised.run([task], deadline, str(kept)):
            pass
    table = markdown.render([json.loads(line) for line in kept.read_text().splitlines()])
    (directory / "table.md").write_text(table + "\n")
    print("\n" + table)


def plan(arguments: argparse.Namespace) -> list[tuple]:
    """Returns (seconds that it may take, seconds left to begin, subcommand, *options), the most important first."""
    sizes = _TINY if arguments.tiny else _SIZES
    steps = (*sizes, f"--steps={2 if arguments.tiny else 20}", f"--repeats={1 if arguments.tiny else 5}")
    backbone = [option for option in steps if option.split("=")[0] not in ("--width_multiplier", "--head_channels")]
    backbone = [option for option in backbone if not option.startswith("--batch_size")]
    layers = [option for option in steps if option.split("=")[0] not in ("--backbone", "--head_channels")]
    paper = f"--torch-reference={arguments.torch_reference}"
    rows = [
        (420, 30, "step", *steps, _BF16, "--contenders=lim_jax", "--profile"),
        (60, 20, "step", *steps, _BF16, "--contenders=torch_modern", "--profile"),
        (120, 30, "optimizer", *steps, "--contenders=lim_jax", "--profile"),
        (40, 20, "optimizer", *steps, "--contenders=optax"),
        (120, 30, "step", *steps, _BF16, "--contenders=flax", "--profile"),
        (120, 30, "step", *steps, _F32, "--contenders=lim_jax", "--profile"),
        (
            100,
            30,
            "compact",
            *backbone,
            "--batch_size=1,16",
            "--dtype=bfloat16,float32",
            "--round_to=1,8,16",
            "--profile",
        ),
        (90, 20, "convolutions", *layers, _BF16),
        (90, 30, "epoch", *sizes, _BF16, f"--images={5 if arguments.tiny else 795}", "--epochs=2"),
        (40, 20, "start", *sizes, _BF16, "--starts=1"),
        (40, 20, "step", *steps, _F32, "--contenders=torch_modern"),
        (120, 30, "step", *steps, _F32, "--contenders=flax"),
        (120, 40, "step", *steps, _BF16, "--contenders=lim_jax_reference"),
        (120, 40, "step", *steps, _BF16, "--contenders=lim_jax_cpu"),
        (90, 20, "convolutions", *layers, _F32),
    ]
    if arguments.torch_reference:
        slow = ("--steps=2", "--repeats=3")  # more than a second each
        rows.append((60, 40, "step", *sizes, *slow, _F32, "--contenders=paper_shared,paper", paper))
    return rows


def _task(
    command: Sequence[str], needs: float, limits: supervised.Deadline, directory: pathlib.Path
) -> supervised.Task:
    what, *options = command
    script = str(pathlib.Path(__file__).parents[1] / "benchmark.py")
    limit = [f"--minutes={limits.minutes_left}", f"--cache={directory / 'cache'}", "--needs=1"]
    name = {"what": what, "options": " ".join(options)}
    return supervised.Task(name, [sys.executable, script, what, *options, *limit], needs, worker.environment())
