"""How much of a backbone's work zero groups take away, as a computation that can run inside a training step."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.compaction import graph as graph_lib
from lim_jax.compaction.cost import layer_costs
from lim_jax.compaction.graph import Convolution
from lim_jax.models import MultiTaskModel

PyTree = Any
HEADS = "heads"  # the layer of the groups that the heads share, if they have any


def removed_macs(
    model: MultiTaskModel, params: PyTree, image_size: tuple[int, int], dense_macs: int
) -> Callable[[Mapping[str, jax.Array]], jax.Array]:
    """Returns a function from zero groups to the share of the backbone's MACs that a compact network would not need.

    As in `liveness`, a channel is live if a live channel is computed from it; constants are not looked for.

    Args:
      model: the network, which may have shrunk.
      params: its parameters; only names matter.
      image_size: height and width.
      dense_macs: of the backbone before it shrank.

    Returns:
      A function of `{layer: bool (groups,)}` as `lim_jax.sparsity.zero_groups` returns it; its result is a float32
      scalar, and it can be jitted.
    """
    graph, costs = graph_lib.build(model, params), layer_costs(model, image_size)

    def removed(zero: Mapping[str, jax.Array]) -> jax.Array:
        live = {tensor.name: jnp.zeros(tensor.width, bool) for tensor in graph.tensors}

        def number_read(conv: Convolution, groups: str, is_live: Any) -> jax.Array:
            places = np.arange(len(live[conv.source])) if conv.inputs is None else np.array(conv.inputs, int)
            reads = ~zero[groups] & is_live if groups in zero else jnp.broadcast_to(is_live, places.shape)
            live[conv.source] = live[conv.source].at[places].max(reads)
            return jnp.sum(reads)

        for conv in graph.heads:
            number_read(conv, HEADS if conv.source == graph.tensors[-1].name else conv.path, True)
        left = jnp.zeros((), jnp.float32)
        for tensor in reversed(graph.tensors):
            emitted = live[tensor.name]
            for conv in tensor.convolutions:
                read, cost = number_read(conv, conv.path, jnp.any(emitted)), costs.get(conv.path)
                if cost is not None and cost.inputs and cost.outputs:
                    macs_of_a_pair = cost.macs / (cost.inputs * cost.outputs)
                    left += macs_of_a_pair * read * jnp.sum(emitted)
            if tensor.identity is not None:
                carried = live[tensor.identity]
                live[tensor.identity] = carried.at[: tensor.width].max(emitted[: len(carried)])
        return 1.0 - left / dense_macs

    return removed
