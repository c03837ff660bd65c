"""The status of a sweep as a table, once or again and again."""

import collections
import sys
import time
from collections.abc import Mapping

from lim_jax.runtime.tables import aligned
from sweeps import records
from sweeps.records import DONE, FAILED, RUNNING, WAITING, State, Sweep

_SECONDS_BETWEEN_LOOKS = 2.0
_LONGEST_LINE = 100


def table(sweep: Sweep, states: Mapping[str, State], jobs: int) -> str:
    """Returns how many runs are done, running, failed and waiting, and what there is to say of each that is not done.

    Args:
      sweep: the sweep.
      states: of its runs, by name.
      jobs: that run at a time; for the time that is left.
    """
    counts = collections.Counter(state.kind for state in states.values())
    words = ", ".join(f"{counts[kind]} {kind}" for kind in (DONE, RUNNING, FAILED, WAITING))
    left = seconds_left(sweep, states, jobs)
    lines = [f"{len(states)} runs: {words}" + (f"; about {duration(left)} left" if left else "")]
    running = [(name, state) for name, state in states.items() if state.kind == RUNNING]
    if running:
        rows = [(f"  {name}", f"epoch {state.epoch}/{sweep.runs[name].num_epochs}") for name, state in running]
        lines.append(aligned(rows))
    for name, state in states.items():
        if state.kind == FAILED:
            lines.append(f"  failed: {name}: {state.last_line[:_LONGEST_LINE]}")
    if counts[FAILED]:
        lines.append("  (what they wrote is in jobs/RUN.log; --retry starts them again)")
    return "\n".join(lines)


def seconds_left(sweep: Sweep, states: Mapping[str, State], jobs: int) -> float | None:
    """Returns an estimate of the seconds until all runs are done, by those that are; None without one or at the end.

    A run counts as much as the mean of the finished ones, less the epochs that it has done.
    """
    finished = [state.seconds for state in states.values() if state.kind == DONE and state.seconds]
    shares = [
        1 - min(state.epoch / sweep.runs[name].num_epochs, 1)
        for name, state in states.items()
        if state.kind in (RUNNING, WAITING)
    ]
    if not finished or not shares:
        return None
    return sum(finished) / len(finished) * max(sum(shares) / jobs, max(shares))


def duration(seconds: float) -> str:
    """Returns a time for people: "40 s", "12 min", "3 h 05 min", "2 d 4 h"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 60 * 24:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // (60 * 24)} d {minutes // 60 % 24} h"


class Live:
    """Shows the status again and again: redrawn in a terminal; elsewhere a new table when a run has ended.

    Call it often; it looks every few seconds.
    """

    def __init__(self, sweep: Sweep, jobs: int):
        self._sweep, self._jobs = sweep, jobs
        self._shown, self._ended, self._looked = "", -1, 0.0

    def __call__(self, now: bool = False) -> Mapping[str, State]:
        """Returns the states; none if it is not time to look yet, unless `now` asks for it."""
        if not now and time.monotonic() - self._looked < _SECONDS_BETWEEN_LOOKS:
            return {}
        self._looked = time.monotonic()
        states = records.states(self._sweep)
        text = table(self._sweep, states, self._jobs)
        ended = sum(state.kind in (DONE, FAILED) for state in states.values())
        if sys.stdout.isatty():
            if self._shown:
                print(f"\033[{self._shown.count(chr(10)) + 1}F\033[J", end="")
            print(text, flush=True)
        elif ended != self._ended:
            print(text, flush=True)
        self._shown, self._ended = text, ended
        return states
