"""When a run that was asked to stop does so."""

import os
import signal

import numpy as np
import pytest

from lim_jax.runtime import signals
from lim_jax.training.interruption import ASKED, Interruption

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
    assert interruption.attached(BATCH) is BATCH


def test_several_stop_when_the_sum_says_so_whoever_was_asked(monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    asked, other = Interruption(), Interruption()
    asked.signal_number = int(signal.SIGUSR1)
    batches = [interruption.attached(BATCH)[ASKED] for interruption in (asked, other)]
    assert [batch.tolist() for batch in batches] == [[1] * 4, [0] * 4]
    for interruption in (asked, other):
        interruption.agree({ASKED: np.float32(0)})  # of a step before
        assert not interruption.agreed
        interruption.agree({ASKED: np.sum(batches)})
        assert interruption.agreed
    assert (asked.exit_code, other.exit_code) == (128 + signal.SIGUSR1, 128 + signal.SIGTERM)
