"""Takes constants out of a network's computation: what constant channels contribute, and batch norms at inference.

What a convolution got from constant channels goes into the mean of its batch norm (or its bias). Where the padding at
the borders shows, it goes into a kernel on a channel of ones instead, the border kernel, which is exact there too.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lim_jax.compaction import graph as graph_lib
from lim_jax.compaction import liveness as liveness_lib
from lim_jax.compaction.cuts import Cut
from lim_jax.compaction.graph import Convolution, Tensor
from lim_jax.compaction.liveness import Liveness
from lim_jax.models import MultiTaskModel
from lim_jax.ops import BATCH_NORM_EPSILON

PyTree = Any


def fold_batch_norm(
    model: MultiTaskModel, variables: Mapping[str, PyTree]
) -> tuple[MultiTaskModel, dict[str, dict[str, Any]]]:
    """Returns the same network with each batch norm folded into its convolution, for inference only.

    Args:
      model: dense or compact.
      variables: its `{"params", "batch_stats"}`.

    Returns:
      The model and its variables; there are no `batch_stats`.
    """
    arrays = graph_lib.to_host(variables)
    heads = {
        task: module.clone(folded=True) if hasattr(module, "folded") else module for task, module in model.heads.items()
    }
    folded = MultiTaskModel(model.backbone.clone(folded=True), heads)
    return folded, {"params": _folded(arrays["params"], arrays.get("batch_stats", {}))}


def _folded(params: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    if "bn" not in params:
        return {
            name: _folded(branch, stats.get(name, {})) if isinstance(branch, Mapping) else branch
            for name, branch in params.items()
        }
    bn, moments = params["bn"], stats["bn"]
    scale = bn["scale"] / np.sqrt(moments["var"] + np.float32(BATCH_NORM_EPSILON))
    kernels = {name: kernel * scale for name, kernel in params.items() if name != "bn"}
    return kernels | {"bias": bn["bias"] - moments["mean"] * scale}


def constant_taps(conv: Convolution, target: Tensor | None, liveness: Liveness) -> np.ndarray:
    """Returns what constant channels add at each tap, (k, k, features); zero for outputs that do not matter."""
    source = liveness.channels[conv.source]
    taps = liveness_lib.products_of_constants(conv, liveness.weights[conv.path], source.constant_values)
    if target is None:
        return taps
    made = liveness.channels[target.name]
    return np.where(made.live | ~np.isnan(made.constant_values), taps, 0)


def fold_constants(
    variables: Mapping[str, PyTree], liveness: Liveness, cuts: Mapping[str, Cut], surviving: Mapping[str, np.ndarray]
) -> None:
    """Puts what constant channels contributed into the biases and border kernels of a compact network, in place.

    Args:
      variables: of the compact network, as `take` returned them.
      liveness: of the network that it was cut from.
      cuts: what is left of each convolution, by path.
      surviving: for each tensor, the channels that stay.
    """
    targets = {conv.path: tensor for tensor in liveness.graph.tensors for conv in tensor.convolutions}
    for conv in liveness.graph.convolutions:
        if not len(cuts[conv.path].columns):
            continue
        params, stats = (graph_lib.branch_of(variables[name], conv.path) for name in ("params", "batch_stats"))
        target = targets.get(conv.path)
        _fold_products(params, stats, conv, target, liveness, cuts[conv.path])
        if target is not None and conv is target.convolutions[0]:
            params["bn"]["bias"] += _lost_identity(target, liveness, surviving)


def _fold_products(
    params: dict[str, Any],
    stats: dict[str, Any],
    conv: Convolution,
    target: Tensor | None,
    liveness: Liveness,
    cut: Cut,
) -> None:
    """Moves the products with constant channels from a convolution's kernel to its border kernel, mean or bias."""
    source = liveness.channels[conv.source].constant_values
    if "kernel" in params:
        params["kernel"][:, :, ~np.isnan(liveness_lib.read(conv, source)[cut.rows])] = 0
    taps = constant_taps(conv, target, liveness)[..., cut.columns]
    centre = taps.shape[0] // 2
    if cut.has_border_kernel:
        params[graph_lib.BORDER_KERNEL][:] = taps[:, :, None]
    elif "bn" in params:
        stats["bn"]["mean"] -= taps[centre, centre].astype(np.float32)
    else:
        params["bias"] += taps[centre, centre].astype(np.float32)


def _lost_identity(tensor: Tensor, liveness: Liveness, surviving: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns what the identity path added to the channels that stay, where nothing is left of it; else zeros."""
    columns = surviving[tensor.name]
    if tensor.identity is None or len(surviving[tensor.identity]) or not len(liveness.channels[tensor.identity].live):
        return np.zeros(len(columns), np.float32)
    return np.nan_to_num(liveness.channels[tensor.identity].constant_values[columns]).astype(np.float32)
