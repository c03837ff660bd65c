"""Which parameters of our networks form groups: the backbone's input channels, and what reads its features."""

import re
from typing import Any

import jax

from lim_jax.errors import UserError
from lim_jax.sparsity import INPUT_CHANNELS, GroupAxis

PyTree = Any

SCOPES = ("backbone", "backbone_and_heads")

# The convolutions of the heads that read the backbone's features: DeepLab's pyramid, the classifier's only one.
_READS_FEATURES = re.compile(r"heads_[^/]+/(aspp_[^/]+|conv)/kernel$")


def backbone_groups(params: PyTree, scope: str = "backbone") -> PyTree:
    """Returns the groups of a `lim_jax.models` network: input channels of every convolution of the backbone.

    Args:
      params: the network's parameters, `{"backbone": ..., "heads_<task>": ...}`; 4-D leaves named `kernel` are
        convolutions.
      scope: "backbone", or "backbone_and_heads": also one group per output channel of the backbone, across the first
        convolutions of all heads jointly, so that channels that no head needs can leave the network.

    Returns:
      A tree like `params` of an axis, `INPUT_CHANNELS`, where a parameter has groups, and None elsewhere.

    Raises:
      UserError: for an unknown scope, or where there is no backbone.
    """
    if scope not in SCOPES:
        raise UserError(f"sparsity.scope is {scope!r}; choose one of {', '.join(SCOPES)}")

    def axis(path: tuple, leaf: Any) -> int | GroupAxis | None:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not (name.endswith("/kernel") and len(leaf.shape) == 4):
            return None
        if name.startswith("backbone/"):
            return INPUT_CHANNELS
        reads = scope == "backbone_and_heads" and _READS_FEATURES.match(name)
        return GroupAxis(INPUT_CHANNELS, joint="heads") if reads else None

    groups = jax.tree_util.tree_map_with_path(axis, params)
    if INPUT_CHANNELS not in jax.tree.leaves(groups):
        raise UserError("groups: the parameters have no convolution under 'backbone'; give groups explicitly")
    return groups
