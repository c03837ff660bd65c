"""How long this process has been compiling: tracing, lowering, XLA, and reading the compilation cache.

JAX reports the duration of each of these when it ends. They overlap, since a compiled function may call another one
while it is traced, and threads may compile at the same time.
"""

import time
from typing import Any

import jax

_PREFIX = "/jax/core/compile/"
_spans: list[tuple[float, float]] = []  # (begin, end) on the monotonic clock, in the order of the ends


def since(start: float) -> float:
    """Returns during how many of the seconds after `start`, a time of `time.monotonic()`, something was compiled."""
    total, covered = 0.0, start
    for begin, end in sorted(_spans):
        total += max(end - max(begin, covered), 0.0)
        covered = max(covered, end)
    return total


def _add(event: str, duration_secs: float, **_: Any) -> None:
    if not event.startswith(_PREFIX):
        return
    end = time.monotonic()
    begin = end - duration_secs
    while _spans and _spans[-1][0] >= begin:  # it lies in this one
        _spans.pop()
    _spans.append((begin, end))


jax.monitoring.register_event_duration_secs_listener(_add)
