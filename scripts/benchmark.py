"""Measurements, one subcommand each; every line on standard output is a JSON object (docs/performance.md).

    python scripts/benchmark.py step      [--rounds=5] [--batch_size=4] [--image_size=128] [--dtype=float32] ...
    python scripts/benchmark.py inference [--rounds=5] ...
    python scripts/benchmark.py optimizer [--rounds=5] ...
    python scripts/benchmark.py startup   [--rounds=1] ...
    python scripts/benchmark.py roofline  [--batch_size=16] [--image_size=256] ...
    python scripts/benchmark.py scaling   [--batch_sizes=1,2,4,8,16,32] [--image_sizes=64,128,256,512] [--plot=FILE] ...
    python scripts/benchmark.py table     [--rounds=3] --torch-reference=DIR
    python scripts/benchmark.py input     [--batch_size=16] [--image_size=256] [--workers=0,1,2] [--steps=0] ...
    python scripts/benchmark.py compact   [--live=0.6,0.35,0.25,0.3] [--round_to=1] ...

`step`, `inference` and `optimizer` compare, for a network of three dense tasks: lim_jax, the same network in plain
Flax (`optax.adamw` for the optimizer), and with `--torch-reference=DIR` the paper's public code from a checkout of
it, where torch is installed. Each contender has a process of its own; they take turns.

`startup` times `lim_jax.main` from its start to its first training step, with an empty and a filled compilation cache.

`roofline` counts the operations and bytes of a training step, and the time that an A100 needs for them at least.

`scaling` times growing batches and images, and draws a figure of that.

`table` does the comparisons and `startup` and ends with a Markdown table of the ratios beside their targets.

`input` reads rendered rooms: one example after another, then training batches per number of worker processes. With
`--steps=N` it also takes N real training steps and tells what share of the time they waited for data.

`compact` removes groups that are zero at random, as many per stage as given, and measures what that saves.
"""

import argparse
import functools
import importlib

from benchmarks import comparison
from benchmarks.job import add_sizes, job_from


def main() -> None:
    """Parses the command line and runs one measurement."""
    arguments = _parser().parse_args()
    arguments.run(arguments)


def _compare(what: str, arguments: argparse.Namespace) -> None:
    comparison.compare(job_from(arguments, what), arguments.rounds)


def _module(name: str, arguments: argparse.Namespace) -> None:
    """Runs a subcommand's module, imported only now: most of them import JAX."""
    importlib.import_module(f"benchmarks.{name}").run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")

    def command(name: str, text: str, rounds: int = 5) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text)
        made.add_argument("--rounds", type=int, default=rounds, help="how often each contender runs")
        made.set_defaults(run=functools.partial(_module, name))
        return made

    for what, text in (
        ("step", "training steps"),
        ("inference", "forward passes"),
        ("optimizer", "updates of all parameters"),
    ):
        made = command(what, text)
        _add_comparison(made)
        made.set_defaults(run=functools.partial(_compare, what))
    add_sizes(command("startup", "from the command to the first training step", rounds=1))
    add_sizes(command("roofline", "what a training step costs on paper"), batch_size=16, image_size=256)
    made = command("scaling", "time and memory of growing batches and images", rounds=3)
    add_sizes(made, image_size=64)
    made.add_argument("--batch_sizes", default="1,2,4,8,16,32", help="of images of --image_size")
    made.add_argument("--image_sizes", default="64,128,256,512", help="of one image each")
    made.add_argument("--plot", default="", help="where to draw the figure")
    made.add_argument("--lines", default="", help="draw this output of an earlier run, and measure nothing")
    _add_comparison(command("table", "everything that has a target", rounds=3))
    made = command("input", "reading training examples")
    add_sizes(made, batch_size=16, image_size=256)
    made.add_argument("--workers", default="0,1,2", help="numbers of worker processes, with commas")
    made.add_argument("--steps", type=int, default=0, help="training steps to take, 0 = none")
    made.add_argument("--data_dir", default=None, help="where the records are kept")
    made = command("compact", "what removing zero groups saves")
    made.add_argument("--backbone", default="resnet50d")
    made.add_argument("--batch_size", type=int, default=4)
    made.add_argument("--image_size", type=int, default=128)
    made.add_argument("--live", default="0.6,0.35,0.25,0.3", help="share of the groups that stay, per stage")
    made.add_argument("--round_to", type=int, default=1, help="as of lim_jax.compact")
    return parser


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    add_sizes(parser)
    parser.add_argument("--torch-reference", default="", help="a checkout of the paper's public code")


if __name__ == "__main__":
    main()
