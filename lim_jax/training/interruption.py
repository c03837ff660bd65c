"""Ctrl-C and SIGTERM during training: asked for by a signal, answered when the step is done."""

import signal
import threading
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While it is entered, Ctrl-C and SIGTERM are only noted; the handlers from before come back at its end.

    Signals are handled in the main thread alone; in others nothing is noted.

    Attributes:
      signal_number: of the last signal; None: there was none.
    """

    def __init__(self):
        self.signal_number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        del frame
        self.signal_number = number
