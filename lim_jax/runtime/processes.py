"""Several processes that train one network together."""

import logging
import os

import jax

from lim_jax.errors import UserError


def join() -> None:
    """Makes this process one of several of the same run; its place comes from the environment or the cluster.

    Raises:
      UserError: neither says which place that is.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    num_processes, process_id = os.environ.get("JAX_NUM_PROCESSES"), os.environ.get("JAX_PROCESS_ID")
    try:
        jax.distributed.initialize(
            num_processes=int(num_processes) if num_processes else None,
            process_id=int(process_id) if process_id else None,
        )
    except ValueError as error:
        raise UserError(
            f"cannot join the other processes ({error}): set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
            "JAX_PROCESS_ID, or start through a cluster manager that JAX knows"
        ) from error
    if jax.process_index() > 0:
        logging.getLogger("lim_jax").setLevel(logging.WARNING)  # one process speaks for all
