"""Measurements, one subcommand each; every line on standard output is a JSON object (docs/performance.md).

    python scripts/benchmark.py step      [--rounds=5] [--batch_size=4] [--image_size=128] [--dtype=float32] ...
    python scripts/benchmark.py inference [--rounds=5] ...
    python scripts/benchmark.py optimizer [--rounds=5] ...
    python scripts/benchmark.py input     [--batch_size=16] [--image_size=256] [--workers=0,1,2] [--steps=0] ...
    python scripts/benchmark.py compact   [--live=0.6,0.35,0.25,0.3] [--round_to=1] ...

`step`, `inference` and `optimizer` compare, for a network of three dense tasks: lim_jax, the same network in plain
Flax (`optax.adamw` for the optimizer), and with `--torch-reference=DIR` the paper's public code from a checkout of
it, where torch is installed. Each contender has a process of its own; they take turns.

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

    def command(name: str, text: str, **sizes: int) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text)
        made.add_argument("--rounds", type=int, default=5, help="how often each contender runs")
        made.set_defaults(run=functools.partial(_module, name))
        return made

    for what, text in (
        ("step", "training steps"),
        ("inference", "forward passes"),
        ("optimizer", "updates of all parameters"),
    ):
        made = command(what, text)
        add_sizes(made)
        made.add_argument("--torch-reference", default="", help="a checkout of the paper's public code")
        made.set_defaults(run=functools.partial(_compare, what))
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


if __name__ == "__main__":
    main()
