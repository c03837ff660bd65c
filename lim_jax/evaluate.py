"""Evaluates a trained network again: `python -m lim_jax.evaluate --workdir=DIR [--split=test]`.

Prints the metrics of the best checkpoint and writes them to `evaluation_<split>.json` in the workdir. The numbers
are those that training wrote to `results.json`.
"""

import json
import pathlib
from collections.abc import Sequence

from absl import flags

from lim_jax.errors import UserError
from lim_jax.runtime import cli

_SPLITS = ("train", "validation", "test")


def define_flags() -> None:
    """Defines the verb's flags; apart from importing, so that verbs can be imported together."""
    flags.DEFINE_string("workdir", None, "The workdir of a training run.")
    flags.DEFINE_enum("split", "test", _SPLITS, "The part of the data set to evaluate on.")
    flags.DEFINE_string("data_dir", None, "Where the prepared records are; default: where training had them.")


def main(argv: Sequence[str]) -> None:
    """Runs the verb on the parsed flags."""
    del argv
    if flags.FLAGS.workdir is None:
        raise UserError("no workdir: add --workdir=DIR, the folder of a training run")
    workdir = pathlib.Path(flags.FLAGS.workdir)
    from lim_jax import data
    from lim_jax.figures import tables
    from lim_jax.prediction import evaluation
    from lim_jax.runtime import devices
    from lim_jax.training.workdir import open_trained

    config, trained = open_trained(workdir, flags.FLAGS.data_dir)
    dataset = data.load(config.dataset, tuple(trained.network.tasks))
    evaluator = evaluation.Evaluator(trained.network, devices.chosen(config.num_devices, config.batch_size))
    measured = evaluator(trained.variables, evaluation.split_batches(dataset, flags.FLAGS.split, config))
    print(tables.metrics(trained.network.tasks, {flags.FLAGS.split: measured}))
    path = workdir / f"evaluation_{flags.FLAGS.split}.json"
    path.write_text(json.dumps(measured, indent=2) + "\n")
    print(f"also in {path}")


if __name__ == "__main__":
    cli.run(main, define_flags)
