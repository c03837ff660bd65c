"""Ctrl-C, SIGTERM and SIGUSR1, which Slurm can send before the time is up: answered at once, whatever is going on.

Python calls a signal's handler in the main thread, between two of its own instructions: not before XLA has compiled
what it is compiling. So a thread waits for signals as well, and may end the process without the main thread.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))

_SECONDS_TO_FLUSH = 1.0
_SECONDS_BETWEEN_LOOKS = 1.0


class Answered:
    """While it is entered, signals are answered; the handlers from before come back at its end.

    Signals are handled in the main thread alone; entered in another one, it changes nothing.
    """

    def __init__(self, answer: Callable[[int], object], note: Callable[[int], object] = lambda number: None):
        """Makes it.

        Args:
          answer: called with the signal's number in a thread, at once.
          note: called in the main thread, as soon as Python gets to it.
        """
        self._answer, self._note = answer, note
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        threading.Thread(target=self._listen, args=(receiver,), name="signals", daemon=True).start()

    def __exit__(self, *exception) -> None:
        if not self._previous:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        self._sender.close()  # ends the thread

    def _handle(self, number: int, frame: Any) -> None:
        del frame
        self._note(number)

    def _listen(self, receiver: socket.socket) -> None:
        with receiver:
            while numbers := receiver.recv(1):
                if numbers[0] in SIGNALS:
                    self._answer(numbers[0])


def leave(number: int, line: str = "interrupted") -> NoReturn:
    """Says a line and ends the process because of a signal, from any thread, with the exit code of shells for it."""
    leave_with(128 + number, line)


def leave_with(code: int, line: str) -> NoReturn:
    """Says a line and ends the process from any thread, without what Python does at its end."""
    say(line)
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(_SECONDS_TO_FLUSH)
    os._exit(code)


def say(line: str) -> None:
    """Writes a line to standard error from any thread, even if the main thread stands in the middle of writing."""
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def end_with_parent(*ignored: int) -> None:
    """Makes this worker process end when the process that started it does, and leave signals to that one.

    Ctrl-C and SIGUSR1 reach all processes of a terminal or a job. (SIGTERM still ends a worker: it is how its parent
    does it.) The arguments are what grain passes.
    """
    del ignored
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_after, args=(os.getppid(),), daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
