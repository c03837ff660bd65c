"""Several processes that train one network together: how they find each other, and that none is left alone."""

import logging
import os
import pathlib
import subprocess
import sys

import jax

from lim_jax.errors import UserError
from lim_jax.runtime import last_words

START_TIMEOUT = 45  # seconds that the first process waits for the last one
HEARTBEAT_TIMEOUT = 40  # seconds without a sign of life after which a process counts as dead

_COLLECTIVES = ("gloo", "nccl", "collective", "coordination", "socket closed", "connection")


def join(start_timeout: int = START_TIMEOUT, heartbeat_timeout: int = HEARTBEAT_TIMEOUT) -> None:
    """Makes this process one of several of the same run; its place comes from the environment or the cluster.

    From then on it ends, with one line, when another one has ended before its time.

    Args:
      start_timeout: seconds to wait for the others.
      heartbeat_timeout: seconds without a sign of life after which another one counts as dead.

    Raises:
      UserError: neither environment nor cluster says which place this process has.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from us
    num_processes, process_id = os.environ.get("JAX_NUM_PROCESSES"), os.environ.get("JAX_PROCESS_ID")
    _shorten_last_words()
    try:
        jax.distributed.initialize(
            num_processes=int(num_processes) if num_processes else None,
            process_id=int(process_id) if process_id else None,
            initialization_timeout=start_timeout,
            heartbeat_timeout_seconds=heartbeat_timeout,
        )
    except ValueError as error:
        raise UserError(
            f"cannot join the other processes ({error}): set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
            "JAX_PROCESS_ID, or start through a cluster manager that JAX knows"
        ) from error
    if jax.process_index() > 0:
        logging.getLogger("lim_jax").setLevel(logging.WARNING)  # one process speaks for all


def advice(error: BaseException) -> str | None:
    """Returns a line for the user if `error` means that another process of the run has ended, else None."""
    text = str(error).lower()
    if not _is_joined() or not isinstance(error, jax.errors.JaxRuntimeError):
        return None
    return last_words.DIED.decode().strip() if any(word in text for word in _COLLECTIVES) else None


def _is_joined() -> bool:
    return jax.distributed.is_initialized() and jax.process_count() > 1


def _shorten_last_words() -> None:
    """Sends standard error through `last_words`."""
    command = [sys.executable, "-S", "-E", str(pathlib.Path(last_words.__file__))]
    reader = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    assert reader.stdin is not None
    sys.stderr.flush()
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
