"""Measurements, one subcommand each; every line on standard output is a JSON object (docs/performance.md).

    python scripts/benchmark.py step      [--rounds=5] [--batch_size=4] [--image_size=128] [--dtype=float32] ...
    python scripts/benchmark.py inference [--rounds=5] ...
    python scripts/benchmark.py optimizer [--rounds=5] ...
    python scripts/benchmark.py startup   [--rounds=1] ...
    python scripts/benchmark.py roofline  [--batch_size=16] [--image_size=256] ...
    python scripts/benchmark.py scaling   [--batch_sizes=1,2,4,8,16,32] [--image_sizes=64,128,256,512] [--plot=FILE] ...
    python scripts/benchmark.py table     [--rounds=3] --torch-reference=DIR
    python scripts/benchmark.py input     [--batch_size=16] [--image_size=256] [--workers=0,1,2] [--steps=0] ...
    python scripts/benchmark.py balancing [--methods=equal,pcgrad,pcgrad:features,...] [--rounds=5] ...
    python scripts/benchmark.py compact   [--live=0.6,0.35,0.25,0.3] [--round_to=1] ...

and for a GPU, whose time is short: many runs in a row with one wait at the end, one contender after another

    python scripts/benchmark.py step|inference|optimizer --steps=20 [--contenders=lim_jax,torch_modern,flax] [--profile]
    python scripts/benchmark.py start        [--starts=2] --cache=DIR
    python scripts/benchmark.py compact      --steps=20 [--zero_groups=0.7] [--batch_size=1,16] [--round_to=1,8,16] ...
    python scripts/benchmark.py epoch        [--images=795] [--epochs=3] [--place=device,host] ...
    python scripts/benchmark.py convolutions [--steps=20] [--dtype=bfloat16,float32]
    python scripts/benchmark.py gpu_table    [--output=DIR] [--torch-reference=DIR] [--tiny]
    python scripts/benchmark.py markdown     FILE

with `[--cache=DIR] [--minutes=9] [--output=FILE]`: where compiled programs are kept, when to end, and a file for the
lines. Nothing of these imports TensorFlow.

`step`, `inference` and `optimizer` compare, for a network of three dense tasks: lim_jax, the same network in plain
Flax (`optax.adamw` for the optimizer), and with `--torch-reference=DIR` the paper's public code from a checkout of
it, where torch is installed. Each contender has a process of its own; they take turns.

`startup` times `lim_jax.main` from its start to its first training step, with an empty and a filled compilation cache.

`roofline` counts the operations and bytes of a training step, and the time that an A100 needs for them at least.

`scaling` times growing batches and images, and draws a figure of that.

`table` does the comparisons and `startup` and ends with a Markdown table of the ratios beside their targets.

`input` reads rendered rooms: one example after another, then training batches per number of worker processes. With
`--steps=N` it also takes N real training steps and tells what share of the time they waited for data.

`balancing` times training steps under methods of loss balancing, and their ratios to the plain sum of the losses.

`compact` removes groups that are zero at random, as many per stage as given, and measures what that saves.

`torch_modern` is the same network as a PyTorch user trains it today, `lim_jax_reference`, `lim_jax_cpu` and
`lim_jax_gpu` are lim_jax with the operations of one platform.

`start` is a process from its start to the first training step on a random batch, without a data set.

`epoch` trains on random images in memory with the loop of lim_jax.main, and prints what an epoch takes and which share
of it is not training steps.

`convolutions` is a table of the forms of a convolution, per shape.

`gpu_table` measures all of it that has a goal on a GPU, the most important first, and ends with Markdown; `markdown`
makes that of a file of lines, also of a part of them.
"""

import argparse
import functools
import importlib
from collections.abc import Callable

from benchmarks import comparison, epoch, in_a_row
from benchmarks.job import add_sizes, job_from


def main() -> None:
    """Parses the command line and runs one measurement."""
    arguments = _parser().parse_args()
    arguments.run(arguments)


def _compare(what: str, arguments: argparse.Namespace) -> None:
    if arguments.steps:
        in_a_row.run(what, arguments)
    else:
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
        in_a_row.add_options(made)
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
    made = command("balancing", "what methods of loss balancing cost")
    add_sizes(made)
    made.add_argument("--methods", default="", help="with commas; default: all but those that only weigh the losses")
    made = command("compact", "what removing zero groups saves")
    made.add_argument("--backbone", default="resnet50d")
    made.add_argument("--batch_size", default="4", help="with --steps: several, with commas")
    made.add_argument("--image_size", type=int, default=128)
    made.add_argument("--live", default="0.6,0.35,0.25,0.3", help="share of the groups that stay, per stage")
    made.add_argument("--round_to", default="1", help="as of lim_jax.compact; with --steps: several, with commas")
    made.add_argument("--dtype", default="float32", help="with --steps: several, with commas")
    made.add_argument("--zero_groups", type=float, default=0.7, help="with --steps: share per layer, for --live")
    in_a_row.add_options(made)
    _add_gpu_commands(command)
    return parser


def _add_gpu_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("start", "from a process's start to the first training step on a random batch")
    add_sizes(made, batch_size=16, image_size=256)
    made.add_argument("--starts", type=int, default=2)
    in_a_row.add_limits(made)
    made.set_defaults(run=in_a_row.start)
    made = command("epoch", "what of an epoch is not training steps")
    add_sizes(made, batch_size=16, image_size=256)
    epoch.add_options(made)
    made = command("convolutions", "the forms of a convolution")
    made.add_argument("--batch_size", type=int, default=16)
    made.add_argument("--image_size", type=int, default=256)
    made.add_argument("--width_multiplier", type=float, default=1.0)
    made.add_argument("--dtype", default="bfloat16,float32", help="several, with commas")
    in_a_row.add_options(made)
    made.set_defaults(steps=20)
    made = command("gpu_table", "everything that has a goal on a GPU")
    made.add_argument("--output", default="gpu_table", help="directory for the lines, the Markdown, and programs")
    made.add_argument("--minutes", type=float, default=9)
    made.add_argument("--torch-reference", default="", help="a checkout of the paper's public code")
    made.add_argument("--tiny", action="store_true", help="small networks, to try all of it")
    made.add_argument("--skip", type=int, default=0, help="rows of the plan that were measured before")
    command("markdown", "tables of the lines of a GPU").add_argument("file")


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    add_sizes(parser)
    parser.add_argument("--torch-reference", default="", help="a checkout of the paper's public code")


if __name__ == "__main__":
    main()
