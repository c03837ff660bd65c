"""A run that is asked to stop by Ctrl-C, SIGTERM or SIGUSR1: when it does, and that all of its processes do.

Between the first step and the last checkpoint a signal is noted, acknowledged at once, and answered when the step is
done; a second one ends the process. Before and after there is nothing to save: the first one ends it.

Of several processes the signal may reach one alone, or reach them a step apart. If they stopped at different steps,
those that go on would wait for the others for ever. So each batch carries whether its process was asked, the step adds
that up with the losses, and everybody reads the same sum after the same step. So it is with checkpoints by the clock.
"""

import signal
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from lim_jax.runtime import signals

# In a batch and in the sums of its step, of several processes.
ASKED = "asked_to_stop"
DUE = "due_for_a_checkpoint"


class Interruption:
    """While it is entered, signals are noted; the handlers from before come back at its end.

    Attributes:
      signal_number: of the last signal that this process got; None: there was none.
      agreed: whether all processes stop after the step that was started last.
      saves: whether all processes save a checkpoint after the step that was started last.
      has_work: whether there may be something to save; until then a signal ends the process.
    """

    def __init__(self):
        self.signal_number: int | None = None
        self.agreed = False
        self.saves = False
        self.has_work = False
        self._is_due = False
        self._times = 0
        self._answered = signals.Answered(self._answer, self._note)

    def __enter__(self) -> "Interruption":
        self._answered.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        self._answered.__exit__()

    def attached(self, batch: dict[str, Any], is_due: bool) -> dict[str, Any]:
        """Returns the batch, of several processes with what this one would have all of them do.

        Args:
          batch: of this process.
          is_due: whether it is time for a checkpoint; of several processes, the first one's clock counts.
        """
        if jax.process_count() == 1:
            self._is_due = is_due
            return batch
        wishes = {ASKED: self.signal_number is not None, DUE: is_due and jax.process_index() == 0}
        examples = len(batch["image"])
        return {**batch, **{name: np.full(examples, wish, np.float32) for name, wish in wishes.items()}}

    def agree(self, sums: Any) -> None:
        """Takes what the last step but one says, by its sums on the host; of one process, what it was asked itself."""
        self.agreed = self.agreed or (sums[ASKED] > 0 if ASKED in sums else self.signal_number is not None)
        self.saves = bool(sums[DUE] > 0) if DUE in sums else self._is_due

    def agree_now(self) -> None:
        """Asks all processes; each must be at the same place."""
        asked = np.array(self.agreed or self.signal_number is not None)
        self.agreed = bool(np.any(multihost_utils.process_allgather(asked) if jax.process_count() > 1 else asked))

    @property
    def exit_code(self) -> int:
        """As shells have it; that of SIGTERM where another process was asked."""
        return 128 + (self.signal_number or int(signal.SIGTERM))

    def _note(self, number: int) -> None:
        self.signal_number = number

    def _answer(self, number: int) -> None:
        """In a thread of its own."""
        self._times += 1
        if not self.has_work:
            signals.leave(number, "interrupted: the same command goes on")
        if self._times > 1:
            signals.leave(number, "interrupted: the same command goes on from the last checkpoint")
        signals.say("finishing this step, then saving; again to stop now")
