"""Removing zero channels physically: what nobody reads, how it is cut out, and what is saved by that.

compacted = compact(model, variables)
logits = compacted.model.apply(compacted.variables, images)
"""

from lim_jax.compaction import summary
from lim_jax.compaction.cost import LayerCost, latencies, layer_costs, total
from lim_jax.compaction.graph import Graph, build
from lim_jax.compaction.liveness import Liveness, analyze
from lim_jax.compaction.surgery import Compacted, Cut, compact, fold_batch_norm, remove_unread, take

__all__ = [
    "Compacted",
    "Cut",
    "Graph",
    "LayerCost",
    "Liveness",
    "analyze",
    "build",
    "compact",
    "fold_batch_norm",
    "latencies",
    "layer_costs",
    "remove_unread",
    "summary",
    "take",
    "total",
]
