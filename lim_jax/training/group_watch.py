"""What the training loop reports of the groups: their sparsity, which of them died or revived, their norms."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lim_jax import sparsity
from lim_jax.config import Config
from lim_jax.training.state import sparse_groups

PyTree = Any


class GroupWatch:
    """Follows the groups of a network from epoch to epoch.

    Attributes:
      pattern: which groups were zero when the epoch began, JSON-serialisable: one bit per group, by layer. Kept in
        checkpoints, so that an epoch that was interrupted is reported like any other.
    """

    def __init__(self, config: Config):
        self._groups = sparse_groups(config)
        self._target = config.sparsity.target
        self._of_parameters = config.sparsity.penalty == "l1"
        self._zeros = jax.jit(lambda params: sparsity.zero_groups(params, self._groups))
        self._norms = jax.jit(lambda params: sparsity.group_norms(params, self._groups))
        self.pattern: dict[str, str] = {}

    def begin_epoch(self, params: PyTree) -> None:
        """Remembers which groups are zero now."""
        self.pattern = _packed(self.zeros(params))

    def zeros(self, params: PyTree) -> dict[str, np.ndarray]:
        """Returns, per layer, which groups are zero: a boolean array with one entry per group."""
        return jax.device_get(self._zeros(params))

    def changes(self, zeros: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Returns how many groups died and revived in the epoch at whose end those in `zeros` are zero."""
        died, revived = sparsity.pattern_changes(_unpacked(self.pattern), _unpacked(_packed(zeros)))
        return {"died": died, "revived": revived}

    def record(self, params: PyTree, original: sparsity.Sizes | None) -> dict[str, float]:
        """Returns the history's "sparsity" of an epoch without its changes: relative to the original network.

        Args:
          params: its parameters.
          original: the sizes of its layers before groups were removed, if they were; these count as zero.
        """
        summary = sparsity.sparsity_summary(params, self._groups, original)
        result = {"group_percent": summary.group_percent, "parameter_percent": summary.parameter_percent}
        if self._target > 0:
            reached = summary.zero_parameter_percent if self._of_parameters else summary.group_percent
            result["off_target"] = abs(reached - 100 * self._target)
        return result

    def norms(self, params: PyTree) -> dict[str, np.ndarray]:
        """Returns, per layer, the root mean square of each group, for histograms."""
        found = jax.device_get(self._norms(params))
        return {f"group_rms/{name}": norms.ravel() for name, norms in found.items()}


def _packed(zeros: Mapping[str, np.ndarray]) -> dict[str, str]:
    return {name: np.packbits(zero).tobytes().hex() for name, zero in zeros.items()}


def _unpacked(pattern: Mapping[str, str]) -> dict[str, np.ndarray]:
    return {
        name: np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8)).astype(bool) for name, bits in pattern.items()
    }
