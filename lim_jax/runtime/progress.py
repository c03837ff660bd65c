"""Says how a run is doing: throughput and time left, one line per epoch and at least every few seconds."""

import contextlib
import logging
import statistics
import sys
import time
from collections.abc import Callable, Iterator

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Measures steps, and apart from them the evaluation and saving between epochs.

    The first step counts neither as work nor as time: it includes compilation.
    """

    def __init__(
        self, num_epochs: int, steps_per_epoch: int, batch_size: int, clock: Callable[[], float] = time.monotonic
    ):
        self._last_step = num_epochs * steps_per_epoch
        self._steps_per_epoch = steps_per_epoch
        self._batch_size = batch_size
        self._clock = clock
        self._step = 0
        self._stepped_at: float | None = None  # when the step under way began; None: it is not measured
        self._steps_measured, self._seconds_measured = 0, 0.0
        self._break_started = clock()
        self._breaks: list[float] = []
        self._last_line = clock()

    def step_done(self, step: int) -> bool:
        """Notes that `step` steps are done; returns whether it is time for a line (it is after the first)."""
        now, first = self._clock(), self._stepped_at is None
        if self._stepped_at is not None:
            self._steps_measured += 1
            self._seconds_measured += now - self._stepped_at
        self._step, self._stepped_at = step, now
        return first or now - self._last_line >= SECONDS_BETWEEN_LINES

    def restart(self) -> None:
        """Notes that the step function is a new one: it will be compiled, and steps take another time than before."""
        self._stepped_at = None
        self._steps_measured, self._seconds_measured = 0, 0.0

    def begin_break(self) -> float:
        """Notes that an epoch's steps are over, and returns when; until `end_break` it is evaluated and saved."""
        self._break_started = self._clock()
        return self._break_started

    def end_break(self, compiling: float = 0.0) -> None:
        """Notes that the evaluation and saving of an epoch are over, which compiled for that many seconds."""
        self._stepped_at = self._clock()
        self._breaks.append(max(self._stepped_at - self._break_started - compiling, 0.0))

    def line(self) -> str:
        """Returns `152 images/s, 2 min 31 s left`; "at most" where only the first break is known, a long one."""
        self._last_line = self._clock()
        if not self._steps_measured:
            return "measuring speed"
        seconds = self._seconds_measured / self._steps_measured
        steps_left = self._last_step - self._step
        breaks_left = -(-steps_left // self._steps_per_epoch)
        breaks = self._breaks[1:] or self._breaks or [0.0]  # the first one imports, too
        left = duration(steps_left * seconds + breaks_left * statistics.fmean(breaks))
        bound = " at most" if breaks_left and len(self._breaks) == 1 else ""
        return f"{self._batch_size / max(seconds, 1e-9):.3g} images/s, {left} left{bound}"


@contextlib.contextmanager
def counted(total: int, what: str, logger: logging.Logger, bar: bool) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many of `total` things are done.

    It moves a bar where standard error is a terminal and `bar` is asked for; elsewhere it logs a line now and then.
    """
    if bar and sys.stderr is not None and sys.stderr.isatty():
        import tqdm

        with tqdm.tqdm(total=total, unit=f" {what}", file=sys.stderr) as shown:

            def move(done: int) -> None:
                shown.update(done - shown.n)

            yield move
        return
    speed = Progress(1, total, 1)

    def note(done: int) -> None:
        if speed.step_done(done):
            logger.info("%d of %d %s, %s", done, total, what, speed.line())

    yield note


def duration(seconds: float) -> str:
    """Returns `45 s`, `2 min 31 s` or `3 h 20 min`."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
