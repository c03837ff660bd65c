"""Shortens what JAX's distributed service says when it ends a process: a program that `processes.join` starts.

When another process has died, or never came, that service ends this one from C++ with a page of text, past all of
Python. So standard error goes through this program, which passes on every line but those. It imports nothing of
lim_jax: it has to start at once.
"""

import signal
import sys
from collections.abc import Iterable, Iterator

DIED = b"error: another process of this run has ended, so this one does: start all of them again to go on\n"
NEVER_CAME = b"error: not all processes of this run came: look at what the others say, then start all of them again\n"

_END = b"JAX distributed service detected fatal errors"
_SIGNS = (_END, b"coordination_service", b"preemption_sync_manager")  # the latter come some lines before
_NOT_STARTED = b"RegisterTask"


def shortened(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the lines up to the service's last words, and one line for these if they end the process."""
    last_words = b""
    for line in lines:
        if last_words or any(sign in line for sign in _SIGNS):
            last_words += line
        else:
            yield line
    if _END in last_words:
        yield NEVER_CAME if _NOT_STARTED in last_words else DIED


def main() -> None:
    """Copies standard input to standard error until it ends."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    for line in shortened(sys.stdin.buffer):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()


if __name__ == "__main__":
    main()
