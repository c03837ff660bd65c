"""Steps whose loss or gradients are not finite: noticed where they are computed, skipped, counted, and named.

The compiled step decides by itself (`finite`); the loop reads what it found together with the losses, one step behind
the device, and stops when too many come in a row (`too_many`). Bad steps change nothing but
the number of steps, and whoever resumes among them counts anew.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.config import Config

PyTree = Any

FINITE = "finite"  # among the sums of a step
DEFAULT_LIMIT = 10
_SHOWN = 3


def finite(gradients: PyTree, batch_stats: PyTree, sums: PyTree) -> jax.Array:
    """Returns whether a step may be taken, bool (1 + leaves of `gradients`,): all of its parts must be True.

    The first entry is for the loss and the batch statistics, the others are for the gradients, finite if their
    squares are, which Adam keeps.
    """
    total, _ = sums["total"]
    others = jnp.isfinite(jnp.stack([total, *(jnp.sum(leaf) for leaf in jax.tree.leaves(batch_stats))]))
    of_gradients = [jnp.all(jnp.isfinite(_squares(leaf))) for leaf in jax.tree.leaves(gradients)]
    return jnp.stack([jnp.all(others), *of_gradients])


def _squares(array: jax.Array) -> jax.Array:
    """Returns the sum of squares for each place of the last axis, which compilers add up several at a time."""
    return jnp.sum(jnp.square(array), tuple(range(array.ndim - 1)))


def is_bad(sums: PyTree) -> bool:
    """Whether a step, given its sums on the host, was skipped because something was not finite."""
    return not np.all(sums[FINITE])


def in_a_row(before: int, sums: PyTree) -> int:
    """Returns how many bad steps in a row there are by now, after `before` of them."""
    return before + 1 if is_bad(sums) else 0


def too_many(number: int, step: int, sums: PyTree, learned: PyTree, config: Config) -> str | None:
    """Returns what to say of bad steps if there are `config.max_bad_steps` in a row, else None.

    Args:
      number: of bad steps in a row.
      step: the number of the last one, counted from 1.
      sums: what it gave, on the host.
      learned: anything with the structure of `TrainState.learned`.
      config: of the run.
    """
    if number < config.get("max_bad_steps", DEFAULT_LIMIT):
        return None
    return f"{number} steps in a row, the last of them step {step}, were not finite ({_what(sums, learned)})"


def _what(sums: PyTree, learned: PyTree) -> str:
    """Returns `loss of depth; gradients of backbone/stem1, heads_depth/logits and 12 more layers`."""
    tasks = [task for task, (loss, _) in sums["losses"].items() if not np.isfinite(loss)]
    paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(learned)]
    of_gradients = sums[FINITE][1:]
    layers = list(
        dict.fromkeys(path.rpartition("/")[0] for path, ok in zip(paths, of_gradients, strict=True) if not ok)
    )
    parts = [f"loss of {', '.join(tasks)}"] if tasks else []
    parts += [f"gradients of {_few(layers)}"] if layers else []
    return "; ".join(parts) or "the total loss or the batch statistics"


def _few(names: Sequence[str]) -> str:
    left = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {left} more layers" if left > 0 else "")
