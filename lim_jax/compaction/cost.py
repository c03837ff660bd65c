"""What a network costs: parameters and multiply-accumulates per layer, counted; latency, measured.

MACs are those of the usual convention: every output cell times every tap times the channels read, whether or not a tap
falls on the padding. Matrix products and convolutions count; normalisation, ReLU, pooling and gathers do not.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from lim_jax.models.layers import Conv, ConvNorm

_WARM_UP = 2


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """One convolution or dense layer, for one image.

    Attributes:
      inputs: channels that it reads.
      outputs: channels that it emits.
      parameters: number of its parameters, normalisation included.
      macs: number of its multiply-accumulates.
    """

    inputs: int
    outputs: int
    parameters: int
    macs: int


def layer_costs(model: nn.Module, image_size: tuple[int, int]) -> dict[str, LayerCost]:
    """Returns the cost of each layer of a model for one image of `(height, width)`, by path; computes nothing."""
    found: dict[str, tuple[int, int, int]] = {}

    def record(call: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: nn.module.InterceptorContext):
        result = call(*args, **kwargs)
        module = context.module
        if context.method_name == "__call__" and isinstance(module, Conv | ConvNorm | nn.Dense):
            found["/".join(map(str, module.path))] = _channels_and_macs(module, args[0].shape, result.shape)
        return result

    images = jax.ShapeDtypeStruct((1, *image_size, 3), np.float32)
    with nn.intercept_methods(record):
        variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images)
    sizes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables.get("params", {}))
    }
    return {
        name: LayerCost(inputs, outputs, _below(name, sizes), macs) for name, (inputs, outputs, macs) in found.items()
    }


def total(costs: Mapping[str, LayerCost], prefix: str = "") -> LayerCost:
    """Returns the sums of parameters and MACs over the layers whose path starts with `prefix`; channels are 0."""
    chosen = [cost for name, cost in costs.items() if name.startswith(prefix)]
    return LayerCost(0, 0, sum(cost.parameters for cost in chosen), sum(cost.macs for cost in chosen))


def latencies(calls: Mapping[str, Callable[[], Any]], repeats: int, *, min_seconds: float = 0.0) -> dict[str, float]:
    """Measures how long calls take, warm: the median in milliseconds over rounds of all of them.

    Calls alternate, so that whatever else happens on the machine hits all of them alike. In its turn each is made once
    more before it is timed: the calls between have filled the caches with their own arrays.

    Args:
      calls: by name; each returns arrays, whose computation is waited for.
      repeats: number of rounds, at least.
      min_seconds: rounds go on until they took that long together: short calls need more of them.
    """
    for _ in range(_WARM_UP):
        for call in calls.values():
            jax.block_until_ready(call())
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    spent, rounds = 0.0, 0
    while rounds < repeats or spent < min_seconds:
        for name, call in calls.items():
            jax.block_until_ready(call())
            started = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - started)
            spent += seconds[name][-1]
        rounds += 1
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def _channels_and_macs(
    layer: Conv | ConvNorm | nn.Dense, shape: tuple[int, ...], result: tuple[int, ...]
) -> tuple[int, int, int]:
    """Returns the channels that a layer reads and emits, and its MACs, given shapes with a batch of one."""
    if isinstance(layer, nn.Dense):
        return shape[-1], layer.features, shape[-1] * layer.features
    read = shape[-1] if layer.inputs is None else len(layer.inputs)
    cells = result[1] * result[2]
    return read, layer.features, cells * layer.kernel_size**2 * (read + layer.constant) * layer.features


def _below(name: str, sizes: Mapping[str, int]) -> int:
    return sum(size for path, size in sizes.items() if path.startswith(f"{name}/"))
