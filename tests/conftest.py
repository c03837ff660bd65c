"""Eight simulated devices for every test, set before JAX is imported anywhere; one compilation cache for all."""

import atexit
import os
import pathlib
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

from tests import compiler

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {compiler.QUICK}"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
# A shell's background jobs ignore Ctrl-C, and so would the processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The workers of one test run, and the processes that they start, share what they compile.
if "XDG_CACHE_HOME" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="lim_jax_tests_")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)


from lim_jax.runtime import compilation  # after what JAX reads when it is imported


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """One folder for prepared records, common to all workers of a test run."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "records"


@pytest.fixture(scope="module", autouse=True)
def released_programs() -> Iterator[None]:
    """What a module has compiled is freed with it: a worker that keeps all of it comes to the system's limit."""
    with compilation.released_afterwards():
        yield
