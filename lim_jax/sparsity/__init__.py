"""Group sparsity for any optax optimizer: exactly zero channels while training, in two lines.

Rules that are searched in the paths of parameters say which of them have groups, and along which axis:

    groups = [(r"Conv_\\d+/kernel", INPUT_CHANNELS)]
    tx = proximal_adam(learning_rate=1e-3, strength=1e-4, groups=groups)
"""

from lim_jax.sparsity.groups import (
    COLUMNS,
    INPUT_CHANNELS,
    OUTPUT_CHANNELS,
    ROWS,
    WHOLE_LEAF,
    GroupAxis,
    LayerSize,
    Sizes,
    layer_sizes,
    match_groups,
)
from lim_jax.sparsity.optimizer import METRICS, ProximalState, current_strength, proximal, proximal_adam
from lim_jax.sparsity.penalties import L1, PENALTIES, GroupLasso, GroupMCP, SparseGroupLasso
from lim_jax.sparsity.proximal import prox_group_lasso, prox_group_mcp, prox_l1, prox_sparse_group_lasso
from lim_jax.sparsity.strength import TargetSparsity, warm_up
from lim_jax.sparsity.summary import (
    LayerSparsity,
    SparsitySummary,
    count_zero_groups,
    group_norms,
    pattern_changes,
    sparsity_summary,
    zero_groups,
)

__all__ = [
    "COLUMNS",
    "INPUT_CHANNELS",
    "L1",
    "METRICS",
    "OUTPUT_CHANNELS",
    "PENALTIES",
    "ROWS",
    "WHOLE_LEAF",
    "GroupAxis",
    "GroupLasso",
    "GroupMCP",
    "LayerSize",
    "LayerSparsity",
    "ProximalState",
    "Sizes",
    "SparseGroupLasso",
    "SparsitySummary",
    "TargetSparsity",
    "count_zero_groups",
    "current_strength",
    "group_norms",
    "layer_sizes",
    "match_groups",
    "pattern_changes",
    "prox_group_lasso",
    "prox_group_mcp",
    "prox_l1",
    "prox_sparse_group_lasso",
    "proximal",
    "proximal_adam",
    "sparsity_summary",
    "warm_up",
    "zero_groups",
]
