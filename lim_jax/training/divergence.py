"""What happens when a run's loss or network is no longer finite: it stops, and its last good checkpoint stays.

The workdir then holds `diverged.json`. As long as it does, the run may go on with another learning rate: until a
checkpoint is saved at the step where it diverged, or later. The history says which rate each epoch had.
"""

from collections.abc import Mapping
from typing import Any

import jax

from lim_jax.config import files
from lim_jax.errors import UserError
from lim_jax.runtime import whole_files
from lim_jax.training import stored
from lim_jax.training.run import Run, Standing


class BadStepsError(stored.UnusableError):
    """A checkpoint was saved among steps that were not finite: no learning rate mends it."""


def refuse_bad(meta: Mapping[str, Any]) -> None:
    """Raises `BadStepsError` if a checkpoint, given its `meta`, was saved among steps that were not finite."""
    if meta.get("bad_in_a_row"):
        raise BadStepsError("from when steps were no longer finite")


def stopped(run: Run, standing: Standing, what: str) -> UserError:
    """Notes that a run diverged, once what it is saving is on disk; returns the error that ends it.

    Args:
      run: the run.
      standing: where it stopped.
      what: what was found, such as "the loss is not finite in epoch 3".
    """
    run.checkpointer.wait()
    rate = run.config.learning_rate
    if jax.process_index() == 0:
        note = {"step": int(standing.state.step), "learning_rate": rate, "found": what}
        whole_files.write_json(run.workdir / files.DIVERGED, note)
    good, _ = stored.first_usable(stored.ranked(run.workdir, stored.LATEST), _good_step)
    goes_on = "starts anew" if good is None else f"goes on from step {good}"
    return UserError(
        f"{what}: run the same command with a lower config.learning_rate (now {rate:g}); it {goes_on} in {run.workdir}"
    )


def _good_step(checkpoint: stored.Stored) -> int:
    refuse_bad(checkpoint.meta())
    return checkpoint.step


def is_over(run: Run, standing: Standing) -> None:
    """Forgets that a run diverged, if it did, once a checkpoint is saved where it had, or later."""
    diverged_at = files.diverged_at(run.workdir)
    if diverged_at is not None and standing.state.step >= diverged_at and jax.process_index() == 0:
        (run.workdir / files.DIVERGED).unlink(missing_ok=True)
