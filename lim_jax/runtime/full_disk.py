"""What a full disk means: one line for the user, and silence of the libraries that would tell it at length.

Orbax and clu write in threads of their own. What fails there is logged at once, with its traceback, and raised in the
main thread at the next occasion; TensorStore adds a traceback for every array that it was still writing. JAX warns of
what it cannot keep in its compilation cache.
"""

import errno
import functools
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EFBIG: "a file would get larger than is allowed: raise `ulimit -f` and run the same command again",
}
_ABANDONED = "Event loop is closed"  # an array is written, or not, after the save has failed because of another one


def advice(error: BaseException | None) -> str | None:
    """Returns a line for the user if `error` means that nothing more can be written, else None.

    Libraries make exceptions of their own of the system's error, but keep its text.
    """
    text = str(error)
    return next((line for number, line in _ADVICE.items() if os.strerror(number) in text), None)


def hold_back_abandoned() -> None:
    """From now on nothing is said of arrays that were being read or written when the work on another one had failed."""
    if getattr(sys.unraisablehook, "func", None) is not _unless_abandoned:
        sys.unraisablehook = functools.partial(_unless_abandoned, sys.unraisablehook)


def _unless_abandoned(otherwise: Callable[[Any], Any], unraisable: Any) -> None:
    if str(unraisable.exc_value) != _ABANDONED:
        otherwise(unraisable)


class HeldBack:
    """What libraries say of a full disk while this is entered: shown at the end, unless a full disk is why it ends.

    Then it goes on being held back, since threads may be at work until the process ends.
    """

    def __init__(self):
        self._held: list[Callable[[], Any]] = []
        self._holds = True
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        for handler in logging.root.handlers:
            handler.addFilter(functools.partial(self._passes, handler))
        self._unraisablehook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self._showwarning, warnings.showwarning = warnings.showwarning, self._warn

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if advice(error) is None:
            self._show()

    def _show(self) -> None:
        with self._lock:
            self._holds = False
        for say in self._held:
            say()

    def _passes(self, handler: logging.Handler, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return advice(error) is None or not self._hold(functools.partial(handler.handle, record))

    def _unraisable(self, unraisable: Any) -> None:
        say = functools.partial(self._unraisablehook, unraisable)
        if str(unraisable.exc_value) != _ABANDONED or not self._hold(say):
            say()

    def _warn(self, message: Any, *details: Any) -> None:
        say = functools.partial(self._showwarning, message, *details)
        if advice(message) is None or not self._hold(say):
            say()

    def _hold(self, say: Callable[[], Any]) -> bool:
        """Keeps what is to be said for later; returns False if it is too late for that."""
        with self._lock:
            if self._holds:
                self._held.append(say)
            return self._holds
