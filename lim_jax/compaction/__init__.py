"""Removing zero channels physically: what nobody reads, how it is cut out, and what is saved by that.

    compacted = compact(model, variables)
    logits = compacted.model.apply(compacted.variables, images)

What the room offers:

    compact(model, variables, round_to)           a network that computes the same without what does not matter
    remove_unread(model, variables, zero)         a network that trains on the same, without the given zero groups
    take(tree, cuts)                              moments or other trees like the parameters, cut as these were
    fold_batch_norm(model, variables)             the same network for inference, batch norms in the convolutions
    build(model, params), analyze(graph, ...)     the graph of tensors, and which of their channels are read or constant
    layer_costs(model, image_size), total(costs)  parameters and MACs; latencies(calls, repeats) measures
    removed_macs(model, params, ...)              the share of MACs that zero groups remove, for use inside a step
    summary.layers, .table, .removed              what compaction changed, as data and as text

It knows our backbones and heads (`lim_jax.models`), and nothing of tasks, data or training.
"""

from lim_jax.compaction import summary
from lim_jax.compaction.budget import removed_macs
from lim_jax.compaction.cost import LayerCost, latencies, layer_costs, total
from lim_jax.compaction.cuts import Cut, take
from lim_jax.compaction.folding import fold_batch_norm
from lim_jax.compaction.graph import Graph, build
from lim_jax.compaction.liveness import Liveness, analyze
from lim_jax.compaction.surgery import Compacted, compact, remove_unread

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
    "removed_macs",
    "summary",
    "take",
    "total",
]
