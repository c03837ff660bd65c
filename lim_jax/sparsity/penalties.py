"""Penalties: what each asks of a group, as objects that an optimizer can be given.

A penalty turns learning rate and strength into the thresholds of its proximal operator. The strength is the paper's
λ: for the penalties on groups it is multiplied by the square root of the number of elements of a group (paper, eq.
3), so that one strength serves layers of any size.
"""

import dataclasses
import math
from typing import Protocol

import jax

from lim_jax.errors import UserError
from lim_jax.sparsity import proximal
from lim_jax.sparsity.proximal import Block

Scalar = jax.Array | float


class Penalty(Protocol):
    """Anything with a proximal step on a block of groups."""

    def prox(self, block: Block, learning_rate: Scalar, strength: Scalar) -> list[jax.Array]:
        """Returns the arrays of `block` after the proximal step."""
        ...


@dataclasses.dataclass(frozen=True)
class GroupLasso:
    """`λ Σ_g sqrt(n_g) ‖w_g‖₂`: whole groups become zero, the others shrink (paper, eq. 3)."""

    def prox(self, block: Block, learning_rate: Scalar, strength: Scalar) -> list[jax.Array]:
        """Returns the arrays of `block` after the proximal step."""
        return proximal.group_lasso(block, learning_rate * strength * math.sqrt(block.penalized_size))


@dataclasses.dataclass(frozen=True)
class GroupMCP:
    """The group minimax concave penalty: like the group lasso for small groups, but large ones do not shrink.

    Attributes:
      gamma: where it becomes flat: at a norm of `gamma · λ sqrt(n)`. In the metric of Adam the problem is convex while
        `gamma > learning rate / d` for all entries d of the metric.
    """

    gamma: Scalar = 3000.0

    def prox(self, block: Block, learning_rate: Scalar, strength: Scalar) -> list[jax.Array]:
        """Returns the arrays of `block` after the proximal step."""
        return proximal.group_mcp(block, learning_rate, strength * math.sqrt(block.penalized_size), self.gamma)


@dataclasses.dataclass(frozen=True)
class L1:
    """`λ ‖w‖₁`: single weights become zero, wherever they are (paper, table 3)."""

    def prox(self, block: Block, learning_rate: Scalar, strength: Scalar) -> list[jax.Array]:
        """Returns the arrays of `block` after the proximal step."""
        metrics = block.metrics or [None] * len(block.arrays)
        return [proximal.prox_l1(u, learning_rate * strength, d) for u, d in zip(block.arrays, metrics, strict=True)]


@dataclasses.dataclass(frozen=True)
class SparseGroupLasso:
    """`λ ((1 - r) Σ_g sqrt(n_g) ‖w_g‖₂ + r ‖w‖₁)`: zero groups, and zeros inside the groups that stay (Simon et al.
    2013).

    Attributes:
      l1_ratio: r in [0, 1].
    """

    l1_ratio: Scalar = 0.5

    def prox(self, block: Block, learning_rate: Scalar, strength: Scalar) -> list[jax.Array]:
        """Returns the arrays of `block` after the proximal step."""
        scale = learning_rate * strength
        group = scale * (1 - self.l1_ratio) * math.sqrt(block.penalized_size)
        return proximal.sparse_group_lasso(block, group, scale * self.l1_ratio)


PENALTIES: dict[str, Penalty | None] = {
    "group_lasso": GroupLasso(),
    "group_mcp": GroupMCP(),
    "sparse_group_lasso": SparseGroupLasso(),
    "l1": L1(),
    "none": None,
}


def get(penalty: str | Penalty | None) -> Penalty | None:
    """Returns the penalty of that name with its default settings, or the penalty itself; None means no penalty.

    Raises:
      UserError: for an unknown name.
    """
    if not isinstance(penalty, str):
        return penalty
    if penalty not in PENALTIES:
        raise UserError(f"sparsity.penalty is {penalty!r}; choose one of {', '.join(PENALTIES)}")
    return PENALTIES[penalty]
