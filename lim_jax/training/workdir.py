"""The folder of a run: made for training, opened again to use what was trained."""

import pathlib

import jax

from lim_jax import config as config_lib
from lim_jax.config import Config
from lim_jax.errors import UserError
from lim_jax.network import Trained
from lim_jax.runtime import startup
from lim_jax.training import checkpoints


def make(workdir: pathlib.Path, config: Config) -> None:
    """Makes the workdir and its `config.json`; raises `UserError` if it cannot be written."""
    if jax.process_index() == 0:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            config_lib.save(config, workdir)
        except OSError as error:
            raise UserError(
                f"cannot write to the workdir {workdir} ({error.strerror}): give another --workdir"
            ) from error


def open_trained(workdir: pathlib.Path, data_dir: str | None = None) -> tuple[Config, Trained]:
    """Prepares this process, before it uses a device, to run the best network of a workdir.

    Args:
      workdir: of a training run or of a compact network.
      data_dir: where the prepared records are, if not where training had them.

    Returns:
      The configuration of the run, and the network.

    Raises:
      UserError: there is no run, or it has no checkpoint yet.
    """
    config = config_lib.load(workdir)
    if data_dir is not None:
        config = config_lib.with_value(config, "dataset.data_dir", data_dir)
    startup.prepare(config.compilation_cache_dir)
    return config, checkpoints.load_network(workdir)
