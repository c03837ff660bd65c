"""Takes out of a network what liveness found to be unread; the rest computes the same.

Along a stage, blocks may emit fewer and fewer channels. They are put in the order in which they stop being needed, so
that what the identity path carries are the first channels of its input: a slice, where any other order would cost a
gather. A block's first convolution usually reads only some of the channels that pass by; it gathers those.

Batch norms stay, so that a compact network can be trained further; `fold_batch_norm` takes them out for inference. In
training mode the compact network computes what the dense one does where running means have settled, as they have after
any training: a batch's own mean takes out a constant just as the shifted running mean does. But what was folded no
longer learns, so while a network is trained `remove_unread` folds nothing.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lim_jax.compaction import folding
from lim_jax.compaction import graph as graph_lib
from lim_jax.compaction import liveness as liveness_lib
from lim_jax.compaction.cuts import Cut, take
from lim_jax.compaction.graph import Convolution, Tensor
from lim_jax.compaction.liveness import Channels, Liveness
from lim_jax.models import MultiTaskModel
from lim_jax.models.resnet import Architecture, BlockSpec, ConvSpec

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Compacted:
    """A network without what nobody read.

    Attributes:
      model: the compact model.
      variables: its `{"params", "batch_stats"}`, numpy arrays.
      cuts: what is left of each convolution, by path.
      surviving: for each tensor, the channels that stay, in their new order.
      liveness: the analysis that decided it.
    """

    model: MultiTaskModel
    variables: dict[str, PyTree]
    cuts: Mapping[str, Cut]
    surviving: Mapping[str, np.ndarray]
    liveness: Liveness


def compact(model: MultiTaskModel, variables: Mapping[str, PyTree], round_to: int = 1) -> Compacted:
    """Removes everything from a network that does not matter for its output (in evaluation mode).

    Args:
      model: the network, with its batch norms.
      variables: `{"params", "batch_stats"}`, on the host or not; the model's branches only.
      round_to: widths that are not 0 are rounded up to a multiple of this, as far as there were channels.

    Returns:
      The compact network, whose outputs on any images equal the given one's up to rounding.
    """
    arrays = graph_lib.to_host(variables)
    liveness = liveness_lib.analyze(graph_lib.build(model, arrays["params"]), arrays)
    surviving = _surviving(liveness, round_to)
    cuts = _cuts(liveness, surviving, round_to)
    compacted = _compacted(model, arrays, cuts, surviving, liveness)
    folding.fold_constants(compacted.variables, liveness, cuts, surviving)
    return compacted


def remove_unread(model: MultiTaskModel, variables: Mapping[str, PyTree], zero: Mapping[str, np.ndarray]) -> Compacted:
    """Removes groups for good, and all channels that are then unread, so that the rest can be trained on.

    What stays computes what it did before, in training mode too, and its gradients are those of the whole network with
    these groups at zero. Hence nothing is folded. A convolution that reads nothing any more still has its batch norm,
    whose output in training is its bias, learned like any other; where a channel is constant but read, it stays.

    Args:
      model: the network, with its batch norms.
      variables: `{"params", "batch_stats"}`, on the host or not; the model's branches only.
      zero: by the path of a convolution, bool (number of channels that it reads,): its groups that are to be removed.
        They are zero.

    Returns:
      The smaller network.
    """
    arrays = graph_lib.to_host(variables)
    liveness = liveness_lib.analyze_groups(graph_lib.build(model, arrays["params"]), arrays, zero)
    surviving = _surviving(liveness, 1)
    cuts = {
        path: dataclasses.replace(cut, has_border_kernel=graph_lib.has_border_kernel(arrays["params"], path))
        for path, cut in _cuts(liveness, surviving, 1).items()
    }
    return _compacted(model, arrays, cuts, surviving, liveness)


def _compacted(
    model: MultiTaskModel,
    arrays: Mapping[str, PyTree],
    cuts: Mapping[str, Cut],
    surviving: Mapping[str, np.ndarray],
    liveness: Liveness,
) -> Compacted:
    return Compacted(
        _model(model, cuts), {name: take(tree, cuts) for name, tree in arrays.items()}, cuts, surviving, liveness
    )


def _surviving(liveness: Liveness, round_to: int) -> dict[str, np.ndarray]:
    """Returns the channels of each tensor that stay, in their new order."""
    surviving: dict[str, np.ndarray] = {}
    stages: dict[int, list[Tensor]] = {}
    for tensor in liveness.graph.tensors:
        live = liveness.channels[tensor.name].live
        if tensor.stage is not None:
            stages.setdefault(tensor.stage, []).append(tensor)
        elif tensor.name == graph_lib.IMAGE:
            surviving[tensor.name] = np.arange(tensor.width)
        else:
            surviving[tensor.name] = _rounded(np.flatnonzero(live), np.arange(tensor.width), round_to)
    for tensors in stages.values():
        surviving.update(_surviving_along_stage(tensors, liveness.channels, round_to))
    return surviving


def _surviving_along_stage(
    tensors: Sequence[Tensor], channels: Mapping[str, Channels], round_to: int
) -> dict[str, np.ndarray]:
    """Returns the channels that each block of a stage emits; each block's are the first of the one before.

    From the first block with a live output on, a channel stays until it is live for the last time, even where it is
    constant in between.
    """
    lives = [channels[tensor.name].live for tensor in tensors]
    last = np.full(max(map(len, lives)), -1)
    for i, live in enumerate(lives):
        last[np.flatnonzero(live)] = i
    order = np.argsort(-last, kind="stable")
    first = next((i for i, live in enumerate(lives) if live.any()), len(lives))
    surviving, width = {}, len(order)
    for i, tensor in enumerate(tensors):
        if i >= first:
            width = min(width, _rounded_width(order, int(np.sum(last >= i)), tensor.width, round_to))
        surviving[tensor.name] = order[: width if i >= first else 0]
    return surviving


def _rounded_width(order: np.ndarray, number: int, available: int, round_to: int) -> int:
    """Returns `number` rounded up, unless the channels that come next in `order` are not among those available."""
    rounded = min(-(-number // round_to) * round_to, available)
    return number if rounded and order[:rounded].max() >= available else rounded


def _rounded(chosen: np.ndarray, available: np.ndarray, round_to: int) -> np.ndarray:
    """Returns `chosen`, not empty, filled up from what is available to a multiple of `round_to`; sorted."""
    missing = -len(chosen) % round_to
    return np.sort(np.concatenate([chosen, np.setdiff1d(available, chosen)[:missing]]))


def _cuts(liveness: Liveness, surviving: Mapping[str, np.ndarray], round_to: int) -> dict[str, Cut]:
    """Returns what is left of each convolution, by path."""
    pairs = [(conv, tensor) for tensor in liveness.graph.tensors for conv in tensor.convolutions]
    cuts = {conv.path: _cut(conv, tensor, liveness, surviving, round_to) for conv, tensor in pairs}
    heads = {conv.path: _cut(conv, None, liveness, surviving, round_to) for conv in liveness.graph.heads}
    uneven = {conv.reader for conv in liveness.graph.heads if heads[conv.path].has_border_kernel}
    for conv in liveness.graph.heads:  # a head has such kernels in all its 3×3 convolutions, or in none
        has_border_kernel = conv.reader in uneven and liveness.weights[conv.path].kernel.shape[0] > 1
        cuts[conv.path] = dataclasses.replace(heads[conv.path], has_border_kernel=has_border_kernel)
    return cuts


def _cut(
    conv: Convolution, target: Tensor | None, liveness: Liveness, surviving: Mapping[str, np.ndarray], round_to: int
) -> Cut:
    weights, order = liveness.weights[conv.path], surviving[conv.source]
    columns = np.arange(len(weights.shift)) if target is None else surviving[target.name]
    wanted = liveness.channels[conv.source].readers[conv.reader]
    row_of = np.full(len(wanted), -1)
    connected = np.arange(len(wanted)) if conv.inputs is None else np.array(conv.inputs, int)
    row_of[connected] = np.arange(len(connected))
    places = _rounded(np.flatnonzero(wanted[order]), np.flatnonzero(row_of[order] >= 0), round_to)
    inputs = None if len(places) == len(order) else tuple(places.tolist())
    taps = folding.constant_taps(conv, target, liveness)[..., columns]
    return Cut(row_of[order[places]], columns, inputs, not np.all(liveness_lib.is_even(taps)))


def _model(model: MultiTaskModel, cuts: Mapping[str, Cut]) -> MultiTaskModel:
    architecture = _architecture(model.backbone.architecture, cuts)
    heads = {}
    for task, module in model.heads.items():
        own = {path: cut for path, cut in cuts.items() if path.startswith(f"heads_{task}/")}
        skip = own.pop(f"heads_{task}/{graph_lib.SKIP}", None)
        deep = list(own.values())
        heads[task] = module.clone(inputs=deep[0].inputs, constant=any(cut.has_border_kernel for cut in deep))
        if skip is not None:
            heads[task] = heads[task].clone(skip_inputs=skip.inputs)
    return MultiTaskModel(model.backbone.clone(architecture=architecture), heads)


def _architecture(architecture: Architecture, cuts: Mapping[str, Cut]) -> Architecture:
    def convolution(spec: ConvSpec, name: str) -> ConvSpec:
        cut = cuts[f"backbone/{name}"]
        return dataclasses.replace(spec, features=len(cut.columns), inputs=cut.inputs, constant=cut.has_border_kernel)

    def block(spec: BlockSpec, name: str) -> BlockSpec:
        convs = tuple(convolution(conv, f"{name}/conv{i}") for i, conv in enumerate(spec.convs, start=1))
        inputs = cuts[f"backbone/{name}/downsample"].inputs if spec.downsample else None
        return BlockSpec(convs, spec.downsample, inputs)

    return Architecture(
        tuple(convolution(spec, f"stem_conv{i}") for i, spec in enumerate(architecture.stem, start=1)),
        tuple(
            tuple(block(spec, f"layer{stage}_{i}") for i, spec in enumerate(blocks))
            for stage, blocks in enumerate(architecture.stages, start=1)
        ),
    )
