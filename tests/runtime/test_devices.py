"""What lim_jax asks of the C library: that a step on a CPU does not get its memory again page by page."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import jax, jax.numpy as jnp
from lim_jax.runtime import memory

if {keep}:
    memory.keep_freed_memory()

@jax.jit
def step(x):  # two products with 67 MB between them
    return jnp.sum((x @ x.T) @ x)

x = jnp.ones((4096, 16))
faults = []
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(x).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_a_step_does_not_get_its_temporary_memory_page_by_page():
    faults = [
        int(subprocess.run([sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, check=True).stdout)
        for keep in (True, False)
    ]
    assert faults[0] < 100
    assert faults[1] > 1000  # otherwise the setting is not needed any more
