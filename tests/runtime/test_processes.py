"""Several processes of one run: who cannot find the others says so."""

import os
import subprocess
import sys

PROGRAM = """
from lim_jax.errors import UserError
from lim_jax.runtime import processes

try:
    processes.join()
except UserError as error:
    print(error)
"""


def test_a_process_that_cannot_find_the_others_says_what_to_set():
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "OMPI", "JAX_"))}
    result = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert "JAX_COORDINATOR_ADDRESS" in result.stdout, result.stderr
    assert len(result.stdout.splitlines()) == 1
