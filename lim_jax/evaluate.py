"""Evaluates a trained network again: `python -m lim_jax.evaluate --workdir=DIR [--split=test | --verify]`.

Prints the metrics of the best checkpoint and writes them to `evaluation_<split>.json` in the workdir. The numbers
are those that training wrote to `results.json`.

`--verify` reads all checkpoints instead, without the data set, and prints which of them are as they were saved; exit
code 1 means that one is not.
"""

import errno
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from lim_jax import shipped
from lim_jax.errors import UserError
from lim_jax.runtime import cli, whole_files

EXIT_UNSOUND = 1
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)  # somebody else's run
_SPLITS = ("train", "validation", "test")


def define_flags() -> None:
    """Defines the verb's flags; apart from importing, so that verbs can be imported together."""
    flags.DEFINE_string("workdir", None, "The workdir of a training run.")
    flags.DEFINE_enum("split", "test", _SPLITS, "The part of the data set to evaluate on.")
    flags.DEFINE_bool("verify", False, "Check all checkpoints instead, and say which are as they were saved.")
    flags.DEFINE_string("data_dir", None, "Where the prepared records are; default: where training had them.")


def main(argv: Sequence[str]) -> None:
    """Runs the verb on the parsed flags."""
    del argv
    workdir = shipped.workdir(cli.required_path("workdir", cli.TRAINED), written=True)
    if flags.FLAGS.verify:
        sys.exit(0 if verify(workdir) else EXIT_UNSOUND)
    from lim_jax import data
    from lim_jax.figures import tables
    from lim_jax.prediction import evaluation
    from lim_jax.runtime import devices
    from lim_jax.training.workdir import open_trained, with_records

    config, trained = open_trained(workdir)
    config = with_records(config, flags.FLAGS.data_dir)
    dataset = data.load(config.dataset, tuple(trained.network.tasks))
    if flags.FLAGS.split not in dataset.sources:
        raise UserError(
            f"the run has no {flags.FLAGS.split} split (config.dataset.validation_share=0): add --split=test"
        )
    evaluator = evaluation.Evaluator(trained.network, devices.fitting(config.num_devices, config.batch_size))
    measured = evaluator(trained.variables, evaluation.split_batches(dataset, flags.FLAGS.split, config))
    print(tables.metrics(trained.network.tasks, {flags.FLAGS.split: measured}))
    path = workdir / f"evaluation_{flags.FLAGS.split}.json"
    try:
        whole_files.write_json(path, measured)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        print(f"not written to {path}, where nothing may be written")
    else:
        print(f"also in {path}")


def verify(workdir: pathlib.Path) -> bool:
    """Prints the state of each checkpoint of a workdir; returns whether all are sound.

    Raises:
      UserError: there is none.
    """
    from lim_jax.runtime import tables
    from lim_jax.training import stored

    checkpoints = stored.all_of(workdir)
    if not checkpoints:
        raise UserError(f"{workdir} has no checkpoints: give the --workdir of a training run")
    rows, sound = [], True
    for checkpoint in reversed(checkpoints):
        try:
            checkpoint.check()
            state = "sound" if checkpoint.has_digests else "readable (saved without digests)"
            state += " (weights alone)" if checkpoint.has_weights_alone else ""
        except stored.UnusableError as problem:
            state, sound = str(problem), False
        rows.append((str(checkpoint.step), state))
    print(tables.aligned([("step", "state"), *rows], left=(1,)))
    return sound


if __name__ == "__main__":
    cli.run(main, define_flags)
