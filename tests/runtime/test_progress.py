"""Throughput and time left, on a clock that the test moves."""

import pytest

from lim_jax.runtime.progress import SECONDS_BETWEEN_LINES, Progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (151, "2 min 31 s"), (12034, "3 h 20 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_compilation_and_breaks_do_not_count_as_training():
    now = [0.0]

    def wait(seconds):
        now[0] += seconds

    progress = Progress(num_epochs=3, steps_per_epoch=4, batch_size=8, clock=lambda: now[0])
    wait(100)  # compiling
    assert progress.step_done(1)
    assert progress.line() == "measuring speed"
    wait(1)
    assert not progress.step_done(2)
    assert progress.line() == "8 images/s, 10 s left"
    wait(1)
    progress.step_done(3)
    wait(1)
    progress.step_done(4)
    progress.begin_break()
    wait(25)
    progress.end_break(compiling=20)
    assert progress.line() == "8 images/s, 18 s left at most"  # 8 steps of 1 s, 2 breaks of 5 s
    wait(SECONDS_BETWEEN_LINES)
    assert progress.step_done(5)
    assert progress.line() == "1.78 images/s, 42 s left at most"  # 7 steps of (3 + 15) / 4 s, 2 breaks


def test_epochs_of_one_step_are_measured():
    now = [0.0]
    progress = Progress(num_epochs=3, steps_per_epoch=1, batch_size=8, clock=lambda: now[0])
    for step in (1, 2):
        now[0] += 2
        progress.step_done(step)
        progress.begin_break()
        now[0] += 1
        progress.end_break()
    assert progress.line() == "4 images/s, 3 s left"


def test_a_new_step_function_is_measured_anew():
    now = [0.0]
    progress = Progress(num_epochs=1, steps_per_epoch=9, batch_size=8, clock=lambda: now[0])
    for step, seconds in enumerate((50, 4, 4), start=1):
        now[0] += seconds
        progress.step_done(step)
    assert progress.line() == "2 images/s, 24 s left"
    progress.restart()
    for step, seconds in enumerate((50, 1, 1), start=4):  # the first one compiles
        now[0] += seconds
        progress.step_done(step)
    assert progress.line() == "8 images/s, 3 s left"
