"""What lim_jax asks of the C library: that a step on a CPU does not get its memory again page by page."""

import platform
import subprocess
import sys

import jax
import pytest

from lim_jax.errors import UserError
from lim_jax.runtime import devices

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


@pytest.mark.parametrize(
    ("there", "wanted", "batch_size", "number"),
    [(4, 0, 16, 4), (4, 0, 6, 3), (4, 2, 16, 2), (1, 2, 16, 1), (4, 0, 7, 1), (4, 8, 8, 4)],
)
def test_a_run_is_evaluated_with_the_devices_that_there_are(there, wanted, batch_size, number, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: list(range(there)))
    assert devices.fitting(wanted, batch_size) == list(range(number))


def test_several_processes_use_all_of_their_devices(monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: list(range(4)))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert devices.chosen(0, 16) == devices.chosen(4, 16) == [0, 1, 2, 3]
    with pytest.raises(UserError, match="each of several processes uses all of its 4 devices: leave it at 0"):
        devices.chosen(2, 16)
