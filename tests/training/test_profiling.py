"""Which steps of a run are recorded."""

import pathlib
import subprocess
import sys

import pytest

from lim_jax.training.profiling import Profile


@pytest.mark.parametrize(
    ("first", "last", "wanted", "recorded"),
    [
        (1, 6, 2, [3, 4]),
        (1, 6, 1, [3]),
        (5, 9, 2, [7, 8]),  # a resumed run's first step waits for the compiler, too
        (1, 4, 10, [3, 4]),  # the run ends before they are all done
        (1, 2, 3, []),
        (1, 6, 0, []),
    ],
)
def test_steps_are_recorded_after_the_first_ones(monkeypatch, caplog, first, last, wanted, recorded):
    traced, folders, open_traces = [], [], []
    monkeypatch.setattr("jax.profiler.start_trace", lambda folder: (folders.append(folder), open_traces.append(1)))
    monkeypatch.setattr("jax.profiler.stop_trace", open_traces.pop)
    with caplog.at_level("INFO", logger="lim_jax"), Profile(pathlib.Path("run"), wanted) as profile:
        for step in range(first, last + 1):
            profile.before(step)
            traced += [step] * len(open_traces)
            profile.after(step, sums={})
    assert (traced, open_traces) == (recorded, [])
    assert folders == [pathlib.Path("run/profile")] * bool(recorded)
    complete = len(recorded) == wanted > 0
    assert [record.getMessage().split(" are")[0] for record in caplog.records] == (
        [f"steps {recorded[0]} to {recorded[-1]}"] if complete else []
    )


WITH_TRACE = """
import pathlib, sys
import jax
from lim_jax.training.profiling import Profile
with Profile(pathlib.Path(sys.argv[1]), 1) as profile:
    for step in range(1, 5):
        profile.before(step)
        profile.after(step, jax.numpy.ones(3) + step)
"""


@pytest.mark.slow
def test_a_trace_is_written(tmp_path):
    """In a process of its own: the profiler stays in a process that has used it."""
    root = pathlib.Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", WITH_TRACE, tmp_path], cwd=root, check=True)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
