"""Says how a run is doing: throughput and time left, one line per epoch and at least every few seconds."""

import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Measures steps as they finish; the first one, which compiles, counts neither as work nor as time."""

    def __init__(self, last_step: int, batch_size: int, clock: Callable[[], float] = time.monotonic):
        self._last_step = last_step
        self._batch_size = batch_size
        self._clock = clock
        self._begin: tuple[int, float] | None = None
        self._now = (0, 0.0)
        self._last_line = clock()

    def finished(self, step: int) -> bool:
        """Notes that `step` steps are done; returns whether it is time for a line."""
        self._now = (step, self._clock())
        self._begin = self._begin or self._now
        return self._now[1] - self._last_line >= SECONDS_BETWEEN_LINES

    def line(self) -> str:
        """Returns `152 images/s, 2 min 31 s left` (empty before there is anything to measure)."""
        self._last_line = self._clock()
        if self._begin is None or self._now[0] <= self._begin[0]:
            return "measuring speed"
        steps_per_second = (self._now[0] - self._begin[0]) / max(self._now[1] - self._begin[1], 1e-9)
        left = (self._last_step - self._now[0]) / steps_per_second
        return f"{steps_per_second * self._batch_size:.3g} images/s, {duration(left)} left"


def duration(seconds: float) -> str:
    """Returns `45 s`, `2 min 31 s` or `3 h 20 min`."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
