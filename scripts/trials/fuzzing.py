"""Damages files of every kind that is read: a result or one line, in two seconds, and no other exception."""

from typing import Any

import numpy as np

from tests import fuzzing
from trials.runs import Result, Runs

MUTATIONS = 100  # of a file in a trial


def trial(runs: Runs, number: int, rng: np.random.Generator, *others: Any) -> Result:
    """Reads many damaged copies of one file."""
    del others
    name = list(fuzzing.FILES)[number % len(fuzzing.FILES)]
    path, read = fuzzing.FILES[name].make(runs.new(f"fuzz{number}").parent)
    try:
        fuzzing.survives(path, read, MUTATIONS, rng)
    except Exception as error:  # whatever a reader makes of a damaged file is what is looked for
        return Result(name, f"{type(error).__name__}: {str(error)[:200]}")
    return Result(name)
