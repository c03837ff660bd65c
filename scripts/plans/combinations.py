"""What the plans here are made of: task combinations × settings × seeds."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweeps.rows import strength_text

Overrides = dict[str, Any]

DENSE: Overrides = {"sparsity.target": 0.0, "sparsity.strength": 0.0}


def all_combinations(tasks: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns every non-empty subset of the tasks, small ones first."""
    return [chosen for size in range(1, len(tasks) + 1) for chosen in itertools.combinations(tasks, size)]


def runs(
    combinations: Iterable[tuple[str, ...]], settings: Mapping[str, Mapping[str, Any]], seeds: Iterable[int]
) -> dict[str, Overrides]:
    """Returns a run for each task combination, setting and seed: all of the first seed before any of the second.

    Args:
      combinations: tasks that are trained together.
      settings: what else is overridden, by a word for the runs' names; a `label`, too.
      seeds: one run each.
    """
    return {
        f"{'+'.join(tasks)}_{word}_seed{seed}": {"tasks": tasks, **overrides, "seed": seed}
        for seed, tasks, (word, overrides) in itertools.product(seeds, list(combinations), settings.items())
    }


def strengths(values: Iterable[float]) -> dict[str, Overrides]:
    """Returns a setting for each strength λ; 0 is dense."""
    return {f"lambda{strength_text(value)}" if value else "dense": {"sparsity.strength": value} for value in values}


def targets(values: Iterable[float]) -> dict[str, Overrides]:
    """Returns a setting for each target of group sparsity; 0 is dense."""
    return {f"target{100 * value:g}" if value else "dense": target(value) for value in values}


def target(value: float) -> Overrides:
    """Returns what sets a target of group sparsity; 0 is dense."""
    return {"sparsity.target": value, "sparsity.strength": 0.0}


def going_on(start: str) -> Overrides:
    """Returns what lets a dense run go on from a network of its seed.

    Args:
      start: the beginning of the name of a run of the same sweep, or "starts/" with that of a network that
        `scripts/starts.py` makes.
    """
    return {"init_from": f"{{root}}/{start}_seed{{seed}}", **DENSE}
