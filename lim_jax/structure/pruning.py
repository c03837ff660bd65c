"""Pruning by importance: the baseline without a group lasso.

    pruned = prune(fn, params, *inputs, macs=0.5, importance="magnitude")
    small = compact(fn, pruned, *inputs)

Channels leave with all their slices, the least important ones first, until the rest is within a budget.
"""

import functools
import re
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.errors import UserError
from lim_jax.sparsity.groups import leaves_by_path
from lim_jax.structure.compaction import CompactFunction, of_values
from lim_jax.structure.cost import macs as macs_of
from lim_jax.structure.cuts import take
from lim_jax.structure.tracing import ChannelGroup, trace

PyTree = Any
Leaves = dict[str, np.ndarray]

_SCALES = ("scale", "weight")  # what Flax, Haiku and Equinox call the scale of a normalisation
_STEPS = 256  # numbers of channels that are told apart where a budget is sought
_LATENCY_STEPS = 32  # each is compiled
_REPEATS = 15


def prune(
    fn: Callable[..., Any],
    params: PyTree,
    *inputs: Any,
    share: float | None = None,
    macs: float | None = None,
    parameters: float | None = None,
    latency: float | None = None,
    importance: str = "magnitude",
    global_: bool = True,
    gradients: PyTree | None = None,
    exclude: Sequence[str] = (),
    seed: int = 0,
) -> PyTree:
    """Makes the least important channels zero, in all parameters that they are in.

    Of channels that only leave together, one at least stays.

    Args:
      fn: `fn(params, *inputs)`, traceable by JAX.
      params: a tree of arrays.
      *inputs: examples of the other arguments; for `latency`, arrays.
      share: of the removable channels that leave; or instead of it one of
      macs, parameters, latency: what the compact function may have, as a share of the whole one's; latency is measured.
      importance: "magnitude", the norm of a channel's slices; "taylor", how much the loss would change without them to
        first order; "batch_norm_scale", its scale in a normalisation; "random". All but the last relative to the mean
        of the channels that leave at the same places.
      global_: whether channels of all places compete, or the same share leaves at each.
      gradients: a tree like `params`, of the loss; for "taylor".
      exclude: regular expressions; channels that are in a parameter whose path one of them is found in stay.
      seed: for "random".

    Returns:
      The parameters with zeros; `compact` takes them out, and so does `shrink`, to train on.

    Raises:
      UserError: for an unknown importance, one that cannot be told, or not exactly one budget.
    """
    budgets = {"share": share, "macs": macs, "parameters": parameters, "latency": latency}
    given = [(name, value) for name, value in budgets.items() if value is not None]
    if len(given) != 1 or not 0 < given[0][1] < 1:
        raise UserError(f"give one of {', '.join(budgets)}, between 0 and 1, not {dict(given)}")
    ((budget, wanted),) = given
    leaves = {path: np.asarray(leaf) for path, leaf in leaves_by_path(params).items()}
    groups = [
        group
        for group in trace(fn, params, *inputs).channels
        if not any(re.search(pattern, member.path) for pattern in exclude for member in group.members)
    ]
    scored = _scored(groups, leaves, importance, gradients, seed)
    order = _order(scored, global_)

    def pruned(number: int) -> PyTree:
        return jax.tree.unflatten(jax.tree.structure(params), list(_without(leaves, order[:number]).values()))

    if budget == "share":
        return pruned(min(round(wanted * sum(group.size for group, _ in scored)), len(order)))
    cost = functools.partial(_COSTS[budget], fn, inputs=inputs)
    whole = cost(params)
    steps = min(len(order), _LATENCY_STEPS if budget == "latency" else _STEPS)
    return pruned(_fewest(lambda number: cost(pruned(number)) <= wanted * whole, len(order), steps))


def _scored(
    groups: Sequence[ChannelGroup], leaves: Leaves, importance: str, gradients: PyTree | None, seed: int
) -> list[tuple[ChannelGroup, np.ndarray]]:
    """Returns the groups whose channels' importance can be told, and that."""
    rng = np.random.default_rng(seed)
    if importance == "random":
        return [(group, rng.random(group.size)) for group in groups]
    if importance == "magnitude":
        values = {path: np.square(leaf) for path, leaf in leaves.items() if leaf.ndim > 1}
    elif importance == "batch_norm_scale":
        values = {
            path: np.abs(leaf) for path, leaf in leaves.items() if leaf.ndim == 1 and path.split("/")[-1] in _SCALES
        }
    elif importance == "taylor" and gradients is not None:
        slopes = leaves_by_path(gradients)
        values = {path: leaf * np.asarray(slopes[path]) for path, leaf in leaves.items() if path in slopes}
    else:
        raise UserError(
            f"importance={importance!r}: choose magnitude, batch_norm_scale, random, or taylor with gradients"
        )
    scored = []
    for group in groups:
        members = [member for member in group.members if member.path in values]
        if members:
            total = sum(np.abs([_sum(values[m.path], m.axis, chosen) for chosen in m.indices]) for m in members)
            scored.append((group, total / max(float(np.mean(total)), 1e-30)))
    if not scored:
        raise UserError(f"importance={importance!r} says nothing of any channel that may leave")
    return scored


def _sum(values: np.ndarray, axis: int, chosen: Sequence[int]) -> float:
    return float(np.take(values, chosen, axis).sum())


def _order(scored: Sequence[tuple[ChannelGroup, np.ndarray]], global_: bool) -> list[tuple[ChannelGroup, int]]:
    """Returns the channels in the order in which they leave, without the last one of each group."""
    ranked = []
    for place, (group, scores) in enumerate(scored):
        least = np.argsort(scores, kind="stable")[:-1]
        ranks = scores[least] if global_ else np.arange(1, len(least) + 1) / group.size
        ranked += [(rank, place, int(channel)) for rank, channel in zip(ranks.tolist(), least, strict=True)]
    return [(scored[place][0], channel) for _, place, channel in sorted(ranked)]


def _without(leaves: Leaves, channels: Sequence[tuple[ChannelGroup, int]]) -> Leaves:
    """Returns parameters in which channels are zero."""
    gone: dict[tuple[str, int], list[int]] = {}
    for group, channel in channels:
        for member in group.members:
            gone.setdefault((member.path, member.axis), []).extend(member.indices[channel])
    result = dict(leaves)
    for (path, axis), indices in gone.items():
        result[path] = result[path].copy()
        result[path][(slice(None),) * axis + (indices,)] = 0
    return result


def _fewest(fits: Callable[[int], bool], largest: int, steps: int) -> int:
    """Returns about the smallest number for which something holds, told in so many steps; else the largest."""
    low, high = 0, steps
    while low < high:
        middle = (low + high) // 2
        if fits(middle * largest // steps):
            high = middle
        else:
            low = middle + 1
    return low * largest // max(steps, 1)


def _compacted(fn: Callable[..., Any], params: PyTree, inputs: Sequence[Any]) -> tuple[CompactFunction, PyTree]:
    smaller = of_values(fn, params)
    return smaller, jax.tree.map(jnp.asarray, take(params, smaller.decide(*inputs)))


def _macs(fn: Callable[..., Any], params: PyTree, *, inputs: Sequence[Any]) -> float:
    smaller, left = _compacted(fn, params, inputs)
    return macs_of(smaller, left, *inputs)


def _parameters(fn: Callable[..., Any], params: PyTree, *, inputs: Sequence[Any]) -> float:
    _, left = _compacted(fn, params, inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(left))


def _latency(fn: Callable[..., Any], params: PyTree, *, inputs: Sequence[Any]) -> float:
    """Returns the median of some measurements, in seconds."""
    smaller, left = _compacted(fn, params, inputs)
    run = jax.jit(smaller)
    jax.block_until_ready(run(left, *inputs))
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        jax.block_until_ready(run(left, *inputs))
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


_COSTS: dict[str, Callable[..., float]] = {"macs": _macs, "parameters": _parameters, "latency": _latency}
