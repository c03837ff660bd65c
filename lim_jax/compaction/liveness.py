"""Which channels of which tensor anybody reads, and which are the same everywhere whatever the image is.

Two walks over the graph, on the weights alone. Forwards: a channel is *constant* when every kernel that makes it is
zero on all channels that vary, and what the constant ones contribute does not depend on the place either (next to a
border, a 3×3 convolution sees zeros instead of a constant). Readers of a constant channel take its value into their
bias. Backwards: a channel is *live* when it varies and some live channel is computed from it: a non-zero group of a
convolution, or the identity path.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from lim_jax.compaction import graph as graph_lib
from lim_jax.compaction.graph import Convolution, Graph, Tensor, Weights

PyTree = Any
IDENTITY = "identity"


@dataclasses.dataclass(frozen=True)
class Channels:
    """What is known of the channels of one tensor.

    Attributes:
      constant_values: float64 (C,): the value of each channel that is the same at all places of all images, else NaN.
      live: bool (C,).
      readers: for each reader, bool (C,): the channels that it reads. The identity path is `IDENTITY`.
    """

    constant_values: np.ndarray
    live: np.ndarray
    readers: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Liveness:
    """The graph of a network and what is known of its tensors and convolutions.

    Attributes:
      graph: the network.
      weights: the arrays of each convolution, by path.
      channels: by the name of the tensor.
    """

    graph: Graph
    weights: Mapping[str, Weights]
    channels: Mapping[str, Channels]


def analyze(graph: Graph, variables: Mapping[str, PyTree]) -> Liveness:
    """Finds constant and live channels.

    Args:
      graph: of the network.
      variables: `{"params", "batch_stats"}`, arrays on the host.
    """
    widths = {tensor.name: tensor.width for tensor in graph.tensors}
    weights = {conv.path: graph_lib.weights_of(conv, widths[conv.source], variables) for conv in graph.convolutions}
    constant_values: dict[str, np.ndarray] = {}
    for tensor in graph.tensors:
        constant_values[tensor.name] = _constant_values(tensor, weights, constant_values)
    return Liveness(graph, weights, _backwards(graph, weights, constant_values))


def analyze_groups(graph: Graph, variables: Mapping[str, PyTree], zero: Mapping[str, np.ndarray]) -> Liveness:
    """Finds live channels from zero groups alone: what holds while the network is trained on.

    Weights change, so which of them are zero says nothing but for the groups that are to stay zero, and no channel is
    taken as constant: it varies again with the bias that it is made of.

    Args:
      graph: of the network.
      variables: `{"params", "batch_stats"}`, arrays on the host; only shapes matter.
      zero: by the path of a convolution, bool (number of channels that it reads,): which of them it shall never read
        again; a convolution that is missing reads all.
    """
    widths = {tensor.name: tensor.width for tensor in graph.tensors}
    weights = {}
    for conv in graph.convolutions:
        found = graph_lib.weights_of(conv, widths[conv.source], variables)
        reads = ~zero.get(conv.path, np.zeros(found.kernel.shape[2], bool))
        kernel = np.broadcast_to(reads[:, None], (1, 1, len(reads), len(found.shift)))
        weights[conv.path] = Weights(kernel, np.zeros((1, 1, len(found.shift))), found.scale, found.shift)
    varying = {tensor.name: np.full(tensor.width, np.nan) for tensor in graph.tensors}
    return Liveness(graph, weights, _backwards(graph, weights, varying))


def products_of_constants(conv: Convolution, weights: Weights, source: np.ndarray) -> np.ndarray:
    """Returns (k, k, features): what each tap adds for the source's constant channels, float64.

    Args:
      conv: the convolution.
      weights: its arrays.
      source: the constants of the tensor that it reads, NaN where it varies.
    """
    values = np.nan_to_num(read(conv, source))
    return np.einsum("c,hwco->hwo", values, weights.kernel) + weights.border_kernel


def is_even(taps: np.ndarray) -> np.ndarray:
    """Returns, for taps (k, k, features) on a channel of ones, whether each result is the same at the borders."""
    centre = taps.shape[0] // 2
    around = taps.copy()
    around[centre, centre] = 0
    return ~np.any(around, axis=(0, 1))


def read(conv: Convolution, source: np.ndarray) -> np.ndarray:
    """Returns the entries of an array over the source's channels that the convolution is connected to."""
    return source if conv.inputs is None else source[list(conv.inputs)]


def _constant_values(
    tensor: Tensor, weights: Mapping[str, Weights], constant_values: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Returns the constants of a tensor, given those of the tensors before it."""
    if not tensor.convolutions:
        return np.full(tensor.width, np.nan)
    total = np.zeros(tensor.width)
    for conv in tensor.convolutions:
        total = total + _constant_output(conv, weights[conv.path], constant_values[conv.source])
    if tensor.identity is not None and len(constant_values[tensor.identity]):
        total = total + constant_values[tensor.identity][: tensor.width]
    return np.maximum(total, 0)


def _constant_output(conv: Convolution, weights: Weights, source: np.ndarray) -> np.ndarray:
    taps = products_of_constants(conv, weights, source)
    varying = np.isnan(read(conv, source))
    moves = np.any(weights.kernel[:, :, varying], axis=(0, 1, 2))
    centre = taps.shape[0] // 2
    values = taps[centre, centre] * weights.scale + weights.shift
    return np.where(moves | ~is_even(taps), np.nan, values)


def _backwards(
    graph: Graph, weights: Mapping[str, Weights], constant_values: Mapping[str, np.ndarray]
) -> dict[str, Channels]:
    """Returns what is known of each tensor, walking from the heads to the image."""
    readers: dict[str, dict[str, np.ndarray]] = {tensor.name: {} for tensor in graph.tensors}

    def add(source: str, reader: str, read_by: np.ndarray) -> None:
        varying = read_by & np.isnan(constant_values[source])
        readers[source][reader] = readers[source].get(reader, False) | varying

    for conv in graph.heads:
        add(conv.source, conv.reader, _reads(conv, weights[conv.path].kernel, len(constant_values[conv.source])))
    channels = {}
    for tensor in reversed(graph.tensors):
        live = np.any([np.zeros(tensor.width, bool), *readers[tensor.name].values()], axis=0)
        channels[tensor.name] = Channels(constant_values[tensor.name], live, readers[tensor.name])
        for conv in tensor.convolutions:
            kernel = weights[conv.path].kernel[..., live]
            add(conv.source, conv.reader, _reads(conv, kernel, len(constant_values[conv.source])))
        if tensor.identity is not None and len(constant_values[tensor.identity]):
            carried = np.zeros(len(constant_values[tensor.identity]), bool)
            carried[: tensor.width] = live
            add(tensor.identity, IDENTITY, carried)
    return channels


def _reads(conv: Convolution, kernel: np.ndarray, width: int) -> np.ndarray:
    """Returns, bool (width,), the channels of its source for which a convolution has a group that is not zero."""
    found = np.zeros(width, bool)
    found[slice(None) if conv.inputs is None else list(conv.inputs)] = np.any(kernel, axis=(0, 1, 3))
    return found
