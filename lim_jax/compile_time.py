"""How long this process has been compiling: tracing, lowering, XLA, and reading the compilation cache.

JAX reports the duration of each of these when it ends. They nest, since a compiled function may call another one while
it is traced; time within another duration counts once.
"""

import time
from typing import Any

import jax

_PREFIX = "/jax/core/compile/"
_spans: list[tuple[float, float]] = []  # (begin, end), by the end; none lies in another


def seconds() -> float:
    """Returns the seconds spent compiling since this module was imported."""
    return sum(end - begin for begin, end in _spans)


def _add(event: str, duration_secs: float, **_: Any) -> None:
    if not event.startswith(_PREFIX):
        return
    end = time.monotonic()
    begin = end - duration_secs
    while _spans and _spans[-1][0] >= begin:
        _spans.pop()
    _spans.append((begin, end))


jax.monitoring.register_event_duration_secs_listener(_add)
