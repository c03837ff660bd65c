"""The folder of a run: held while it is trained in, opened again to use what was trained."""

import contextlib
import logging
import pathlib
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from lim_jax import config as config_lib
from lim_jax.config import Config, files
from lim_jax.errors import UserError
from lim_jax.network import Trained
from lim_jax.runtime import startup
from lim_jax.training import checkpoints, lock

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def held(workdir: pathlib.Path, config: Config) -> Iterator[None]:
    """Makes the workdir, if needed, and holds it for this run alone; of several processes the first one does.

    Raises:
      UserError: it cannot be written, another run holds it, or has begun one with another configuration there.
    """
    with contextlib.ExitStack() as stack:
        problem = None
        if jax.process_index() == 0:
            try:
                workdir.mkdir(parents=True, exist_ok=True)
                stack.enter_context(lock.Lock(workdir))
                config_lib.refuse_changes(config, workdir)  # again: a run may have come and gone since
            except UserError as error:
                problem = error
            except OSError as error:
                problem = UserError(f"cannot write to the workdir {workdir} ({error.strerror}): give another --workdir")
        if jax.process_count() > 1 and not multihost_utils.broadcast_one_to_all(np.bool_(problem is None)):
            problem = problem or UserError(f"the first process cannot use the workdir {workdir}: it says why")
        if problem is not None:
            raise problem
        yield


def keep_config(workdir: pathlib.Path, config: Config) -> None:
    """Writes the `config.json` of a run that has begun, or goes on."""
    if jax.process_index() > 0:
        return
    if files.holds_run(workdir):
        before = config_lib.load(workdir).learning_rate
        if before != config.learning_rate:
            logger.info("from here on config.learning_rate is %g; it was %g", config.learning_rate, before)
    config_lib.save(config, workdir)


def open_trained(workdir: pathlib.Path) -> tuple[Config, Trained]:
    """Prepares this process, before it uses a device, to run the best network of a workdir.

    Args:
      workdir: of a training run or of a compact network.

    Returns:
      What `safe_config` returns, and the network.

    Raises:
      UserError: there is no run, or it has no checkpoint yet.
    """
    config = safe_config(workdir)
    startup.prepare(config.compilation_cache_dir, config.get("matmul_precision", "default"))  # older runs have none
    return config, checkpoints.load_network(workdir)


def safe_config(workdir: pathlib.Path) -> Config:
    """Returns the configuration of a run that somebody else may have trained.

    It does not say where compiled programs are written and read: that is in the user's own cache.
    """
    return config_lib.with_value(config_lib.load(workdir), "compilation_cache_dir", "auto")


def with_records(config: Config, data_dir: str | None) -> Config:
    """Returns the configuration of a run with a place for prepared records that it may read, and the user can trust.

    Args:
      config: of the run.
      data_dir: where the records are or shall be prepared, as the user says; None: where training had them. There they
        are only read, unless that was the user's own folder for them.

    Raises:
      UserError: they are not there.
    """
    if data_dir is not None:
        return config_lib.with_value(config, "dataset.data_dir", data_dir)
    theirs, name = config.dataset.data_dir, config.dataset.name
    if theirs and not (pathlib.Path(theirs).expanduser() / name).is_dir():
        raise UserError(
            f"{theirs}, where training had its records, has no folder {name}: add --data_dir=DIR, where they are or "
            "shall be prepared"
        )
    return config
