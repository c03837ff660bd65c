"""What is reported of the groups of a network: their sparsity, which of them died or revived, their norms.

`groups` is what `state.sparse_groups` returned for the run: these functions are compiled once for it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from lim_jax import sparsity
from lim_jax.config import Config
from lim_jax.sparsity.groups import Groups

PyTree = Any
Zeros = Mapping[str, np.ndarray]

_zero_groups = jax.jit(sparsity.zero_groups, static_argnums=1)
_group_norms = jax.jit(sparsity.group_norms, static_argnums=1)


def zeros(params: PyTree, groups: Groups) -> dict[str, np.ndarray]:
    """Returns, per layer, which groups are zero: a boolean array with one entry per group."""
    return jax.device_get(_zero_groups(params, groups))


def pattern(zeros: Zeros) -> dict[str, str]:
    """Returns which groups are zero, JSON-serialisable: one bit per group, by layer."""
    return {name: np.packbits(zero).tobytes().hex() for name, zero in zeros.items()}


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, int]:
    """Returns how many groups died and revived between two patterns."""
    died, revived = sparsity.pattern_changes(_unpacked(before), _unpacked(after))
    return {"died": died, "revived": revived}


def shares(
    params: PyTree,
    groups: Groups,
    config: Config,
    original: sparsity.Sizes | None,
    removed_macs: Callable[..., Any] | None = None,
) -> dict[str, float]:
    """Returns how sparse a network is, relative to the one that training began with, for the history.

    Args:
      params: its parameters.
      groups: of the run.
      config: of the run; with a target, how far the network is away from it is returned too.
      original: the sizes of its layers before groups were removed, if they were; these count as zero.
      removed_macs: from `compaction.removed_macs`, where the target is one of MACs.
    """
    summary = sparsity.sparsity_summary(params, groups, original)
    result = {"group_percent": summary.group_percent, "parameter_percent": summary.parameter_percent}
    if config.sparsity.target > 0:
        of_parameters = config.sparsity.penalty == "l1"
        reached = summary.zero_parameter_percent if of_parameters else summary.group_percent
        result["off_target"] = abs(reached - 100 * config.sparsity.target)
    if removed_macs is not None:
        result["macs_percent"] = 100 - 100 * float(removed_macs(zeros(params, groups)))
        result["off_target"] = abs(result["macs_percent"] - 100 * config.sparsity.target_macs)
    return result


def norms(params: PyTree, groups: Groups) -> dict[str, np.ndarray]:
    """Returns, per layer, the root mean square of each group, for histograms."""
    found = jax.device_get(_group_norms(params, groups))
    return {f"group_rms/{name}": values.ravel() for name, values in found.items()}


def _unpacked(pattern: Mapping[str, str]) -> dict[str, np.ndarray]:
    return {
        name: np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8)).astype(bool) for name, bits in pattern.items()
    }
