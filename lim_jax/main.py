"""Trains and evaluates a network: `python -m lim_jax.main --config=rooms [--workdir=DIR]`.

Any key of the configuration can be overridden: `--config.sparsity.strength=1e-5`. Running the same command
again resumes the run in its workdir, by default `runs/<name of the configuration>`.
"""

import gc
import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from lim_jax import config
from lim_jax.config.reading import default_workdir
from lim_jax.errors import UserError
from lim_jax.runtime import cli


def define_flags() -> None:
    """Defines the verb's flags; apart from importing, so that verbs can be imported together."""
    config.define_flag()
    flags.DEFINE_string("workdir", None, "Where the run lives; default runs/<name of the configuration>.")
    flags.DEFINE_integer(
        "profile",
        0,
        "Record this many steps, after the first ones, in the workdir's folder profile, for xprof or TensorBoard.",
        lower_bound=0,
    )
    flags.DEFINE_bool(
        "distributed",
        False,
        "One of several processes: their addresses come from the cluster (e.g. SLURM) or from JAX_COORDINATOR_ADDRESS, "
        "JAX_NUM_PROCESSES and JAX_PROCESS_ID.",
    )


def main(argv: Sequence[str]) -> None:
    """Runs the verb on the parsed flags."""
    del argv
    if flags.FLAGS["config"].value is None:
        raise UserError("no configuration: add --config=rooms (or nyu, celeba, or the path of a file of yours)")
    config_file = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = pathlib.Path(flags.FLAGS.workdir or default_workdir(config_file))
    gc.disable()  # there is no garbage yet
    from lim_jax.runtime import processes  # after the flags: a mistyped key need not wait for JAX to be imported
    from lim_jax.training import loop

    gc.freeze()  # what was imported stays
    gc.enable()
    if flags.FLAGS.distributed:
        processes.join()
    loop.train_and_evaluate(flags.FLAGS.config, workdir, flags.FLAGS.profile)


if __name__ == "__main__":
    cli.run(main, define_flags)
