"""How often each class is taken for which, and what that says of each class."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.tasks.sums import ratio


def counts(target: jax.Array, answer: jax.Array, classes: int) -> jax.Array:
    """Returns int32 (classes, classes): how often each target (row) got each answer (column).

    Args:
      target: class indices, of any integer type; what is no class, negative or too large, counts nowhere.
      answer: class indices of the same shape.
      classes: their number.
    """
    target = target.astype(jnp.int32)
    pair = jnp.where(target < 0, classes**2, target * classes + answer)  # beyond the end, where it is dropped
    found = jnp.zeros(classes**2, jnp.int32).at[pair.ravel()].add(1, mode="drop")
    return found.reshape(classes, classes)


class PerClass(NamedTuple):
    """What a confusion matrix says of each class; arrays are (classes,).

    Attributes:
      hits: right answers.
      labelled: how often it is the target.
      answered: how often it is the answer.
    """

    hits: np.ndarray
    labelled: np.ndarray
    answered: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """How often it is the target, the answer, or both."""
        return self.labelled + self.answered - self.hits

    def mean(self, numerator: np.ndarray, denominator: np.ndarray) -> float | None:
        """Returns the mean of quotients (classes,) over the classes that occur as a target; None if none does."""
        occurs = self.labelled > 0
        return float(np.mean(numerator[occurs] / denominator[occurs])) if occurs.any() else None


def per_class(matrix: Any) -> PerClass:
    """Returns what a matrix as of `counts` says of each class."""
    matrix = np.asarray(matrix)
    return PerClass(np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0))


def details(names: Sequence[str], matrix: Any, **scores: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """Returns scores of each class by its name, None where undefined, and the matrix; JSON-serialisable.

    Args:
      names: of the classes.
      matrix: as of `counts`.
      **scores: by what they are called, numerators and denominators (classes,).
    """
    found: Mapping[str, Any] = {
        score: dict(zip(names, map(ratio, numerator, denominator), strict=True))
        for score, (numerator, denominator) in scores.items()
    }
    return {**found, "confusion": np.asarray(matrix).astype(int).tolist()}
