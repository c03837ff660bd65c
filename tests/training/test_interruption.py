"""When a run that was asked to stop does so."""

import os
import signal

import numpy as np
import pytest

from lim_jax.runtime import signals
from lim_jax.training.interruption import ASKED, DUE, Interruption

BATCH = {"image": np.zeros((4, 2, 2, 3), np.uint8)}


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_one_process_stops_after_the_step_in_which_it_was_asked(number):
    with Interruption() as interruption:
        interruption.has_work = True
        interruption.agree({})
        assert not interruption.agreed
        os.kill(os.getpid(), number)
        assert interruption.signal_number == number
        interruption.agree({})
    assert interruption.agreed
    assert interruption.exit_code == 128 + number
    assert interruption.attached(BATCH, False) is BATCH


def test_several_stop_when_the_sum_says_so_whoever_was_asked(monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    asked, other = Interruption(), Interruption()
    asked.signal_number = int(signal.SIGUSR1)
    batches = [interruption.attached(BATCH, False)[ASKED] for interruption in (asked, other)]
    assert [batch.tolist() for batch in batches] == [[1] * 4, [0] * 4]
    for interruption in (asked, other):
        interruption.agree({ASKED: np.float32(0)})  # of a step before
        assert not interruption.agreed
        interruption.agree({ASKED: np.sum(batches)})
        assert interruption.agreed
    assert (asked.exit_code, other.exit_code) == (128 + signal.SIGUSR1, 128 + signal.SIGTERM)


def test_one_process_saves_when_a_checkpoint_is_due():
    interruption = Interruption()
    for is_due in (False, True, False):
        assert interruption.attached(BATCH, is_due) is BATCH
        interruption.agree({})
        assert interruption.saves == is_due


def test_several_save_when_the_first_ones_clock_says_so(monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    for place, is_due, expected in ((0, True, 1), (0, False, 0), (1, True, 0)):
        monkeypatch.setattr("jax.process_index", lambda place=place: place)
        interruption = Interruption()
        assert interruption.attached(BATCH, is_due)[DUE].tolist() == [expected] * 4
        interruption.agree({ASKED: np.float32(0), DUE: np.float32(4)})
        assert interruption.saves and not interruption.agreed
        interruption.agree({ASKED: np.float32(0), DUE: np.float32(0)})
        assert not interruption.saves
