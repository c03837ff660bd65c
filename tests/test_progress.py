"""Throughput and time left, on a clock that the test moves."""

import pytest

from lim_jax.progress import SECONDS_BETWEEN_LINES, Progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (151, "2 min 31 s"), (12034, "3 h 20 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_the_first_step_and_its_compilation_do_not_count():
    now = [0.0]
    progress = Progress(last_step=102, batch_size=8, clock=lambda: now[0])
    now[0] = 100.0  # compiling
    assert progress.finished(1)
    assert progress.line() == "measuring speed"
    now[0] = 101.0
    assert not progress.finished(2)
    assert progress.line() == "8 images/s, 1 min 40 s left"
    now[0] = 101.0 + SECONDS_BETWEEN_LINES
    assert progress.finished(3)
