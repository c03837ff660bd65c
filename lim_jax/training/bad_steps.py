"""Steps whose loss or gradients are not finite: noticed where they are computed, skipped, counted, and named.

The compiled step decides by itself (`finite`); the loop reads what it found together with the losses, one step behind
the device, and stops when too many come in a row (`too_many`). Bad steps change nothing but the number of steps, and
whoever resumes among them counts anew.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.config import Config

PyTree = Any

FINITE = "finite"  # among the sums of a step
_SHOWN = 3


def finite(gradients: PyTree, batch_stats: PyTree, sums: PyTree) -> jax.Array:
    """Returns whether a step may be taken, bool (1 + leaves of `gradients`,): all of its parts must be True.

    The first entry is for the loss and the batch statistics, the others are for the gradients, finite if their
    squares are, which Adam keeps.
    """
    total, _ = sums["total"]
    statistics = [leaf.ravel() for leaf in jax.tree.leaves(batch_stats)]
    others = jnp.all(jnp.isfinite(jnp.concatenate([total[None], *statistics])))
    return jnp.concatenate([others[None], _all_finite([_squares(leaf) for leaf in jax.tree.leaves(gradients)])])


def _all_finite(vectors: Sequence[jax.Array]) -> jax.Array:
    """Returns for each vector whether all of it is finite, bool (vectors,).

    Those of equal lengths are looked at together: a GPU takes longer to start a sum than for the sum of a vector.
    """
    places: dict[int, list[int]] = {}
    for place, vector in enumerate(vectors):
        places.setdefault(vector.size, []).append(place)
    found = [jnp.all(jnp.isfinite(jnp.stack([vectors[place] for place in equal])), 1) for equal in places.values()]
    order = np.argsort(np.concatenate(list(places.values())))
    return jnp.concatenate(found)[order]


def _squares(array: jax.Array) -> jax.Array:
    """Returns the vector of the sums of squares for each place of the last axis: compilers add up several at a time."""
    squares = jnp.square(jnp.atleast_1d(array))
    return jnp.sum(squares, tuple(range(array.ndim - 1))) if array.ndim > 1 else squares


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
    if number < config.max_bad_steps:
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
