"""Signals during training are noted, not obeyed; before and after, they do what they did."""

import os
import signal
import threading

import pytest

from lim_jax.training.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.signal_number is None
        os.kill(os.getpid(), number)
        assert interruption.signal_number == number
    assert signal.getsignal(number) is before


def test_other_threads_leave_signals_alone():
    found = []

    def look():
        with Interruption():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
