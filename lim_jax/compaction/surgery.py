"""Takes out of a network what liveness found to be unread; the rest computes the same.

Along a stage, blocks may emit fewer and fewer channels. They are put in the order in which they stop being needed, so
that what the identity path carries are the first channels of its input: a slice, where any other order would cost a
gather. A block's first convolution usually reads only some of the channels that pass by; it gathers those.

What a convolution got from constant channels goes into the mean of its batch norm (or its bias). Where the padding at
the borders shows, it goes into a kernel on a channel of ones instead, which is exact there too.

Batch norms stay, so that a compact network can be trained further; `fold_batch_norm` takes them out for inference. In
training mode the compact network computes what the dense one does where running means have settled, as they have after
any training: a batch's own mean takes out a constant just as the shifted running mean does. But what was folded no
longer learns, so while a network is trained `remove_unread` folds nothing.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lim_jax.compaction import graph as graph_lib
from lim_jax.compaction import liveness as liveness_lib
from lim_jax.compaction.graph import Convolution, Tensor
from lim_jax.compaction.liveness import Channels, Liveness
from lim_jax.models import MultiTaskModel
from lim_jax.models.resnet import Architecture, BlockSpec, ConvSpec
from lim_jax.ops import BATCH_NORM_EPSILON

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Cut:
    """What is left of one convolution.

    Attributes:
      rows: positions of what stays along the kernel's input axis, in their new order.
      columns: of what stays along its output axis.
      inputs: the channels of the compact source that it reads, or None for all.
      constant: whether it has a kernel on a channel of ones.
    """

    rows: np.ndarray
    columns: np.ndarray
    inputs: tuple[int, ...] | None
    constant: bool


@dataclasses.dataclass(frozen=True)
class Compacted:
    """A network without what nobody read.

    Attributes:
      model: the compact model.
      variables: its `{"params", "batch_stats"}`, numpy arrays.
      cuts: what is left of each convolution, by path.
      kept: for each tensor, the channels that stay, in their new order.
      liveness: the analysis that decided it.
    """

    model: MultiTaskModel
    variables: dict[str, PyTree]
    cuts: Mapping[str, Cut]
    kept: Mapping[str, np.ndarray]
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
    arrays = {name: graph_lib.to_host(tree) for name, tree in variables.items()}
    graph = graph_lib.build(model, arrays["params"])
    liveness = liveness_lib.analyze(graph, arrays)
    kept = _kept(liveness, round_to)
    cuts = _cuts(liveness, kept, round_to)
    compacted = {name: take(tree, cuts) for name, tree in arrays.items()}
    _fold_constants(compacted, liveness, cuts, kept)
    return Compacted(_model(model, cuts), compacted, cuts, kept, liveness)


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
    arrays = {name: graph_lib.to_host(tree) for name, tree in variables.items()}
    graph = graph_lib.build(model, arrays["params"])
    liveness = liveness_lib.analyze_groups(graph, arrays, zero)
    kept = _kept(liveness, 1)
    cuts = {
        path: dataclasses.replace(cut, constant="constant_kernel" in graph_lib.branch_of(arrays["params"], path))
        for path, cut in _cuts(liveness, kept, 1).items()
    }
    compacted = {name: take(tree, cuts) for name, tree in arrays.items()}
    return Compacted(_model(model, cuts), compacted, cuts, kept, liveness)


def take(tree: PyTree, cuts: Mapping[str, Cut]) -> dict[str, Any]:
    """Returns what is left of a tree shaped like the parameters or the batch statistics, such as Adam's moments.

    Constants are not folded: a `constant_kernel` has what it had, or zeros where it is new.
    """
    taken = _copied(tree)
    for path, cut in cuts.items():
        old = graph_lib.branch_of(tree, path)
        parents = path.split("/")
        branch = _cut_branch(old, cut) if len(cut.columns) else {}
        _put(taken, parents, branch)
    return taken


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
    arrays = {name: graph_lib.to_host(tree) for name, tree in variables.items()}
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


def _kept(liveness: Liveness, round_to: int) -> dict[str, np.ndarray]:
    """Returns the channels of each tensor that stay, in their new order."""
    kept: dict[str, np.ndarray] = {}
    stages: dict[int, list[Tensor]] = {}
    for tensor in liveness.graph.tensors:
        live = liveness.channels[tensor.name].live
        if tensor.stage is not None:
            stages.setdefault(tensor.stage, []).append(tensor)
        elif tensor.name == graph_lib.IMAGE:
            kept[tensor.name] = np.arange(tensor.width)
        else:
            kept[tensor.name] = _rounded(np.flatnonzero(live), np.arange(tensor.width), round_to)
    for tensors in stages.values():
        kept.update(_kept_along_stage(tensors, liveness.channels, round_to))
    return kept


def _kept_along_stage(
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
    kept, width = {}, len(order)
    begun = False
    for i, (tensor, live) in enumerate(zip(tensors, lives, strict=True)):
        begun = begun or bool(live.any())
        number = int(np.sum(last >= i)) if begun else 0
        rounded = min(-(-number // round_to) * round_to, tensor.width)
        if rounded and order[:rounded].max() >= tensor.width:  # not a channel of this block
            rounded = number
        if begun:
            width = min(width, rounded)
        kept[tensor.name] = order[: width if begun else 0]
    return kept


def _rounded(chosen: np.ndarray, available: np.ndarray, round_to: int) -> np.ndarray:
    """Returns `chosen`, not empty, filled up from what is available to a multiple of `round_to`; sorted."""
    missing = -len(chosen) % round_to
    return np.sort(np.concatenate([chosen, np.setdiff1d(available, chosen)[:missing]]))


def _cuts(liveness: Liveness, kept: Mapping[str, np.ndarray], round_to: int) -> dict[str, Cut]:
    cuts = {}
    for tensor in liveness.graph.tensors:
        for conv in tensor.convolutions:
            cuts[conv.path] = _cut(conv, tensor, liveness, kept, round_to)
    for conv in liveness.graph.heads:
        cuts[conv.path] = _cut(conv, None, liveness, kept, round_to)
    uneven = {conv.reader for conv in liveness.graph.heads if cuts[conv.path].constant}
    for conv in liveness.graph.heads:  # a head has such kernels in all its 3×3 convolutions, or in none
        constant = conv.reader in uneven and liveness.weights[conv.path].kernel.shape[0] > 1
        cuts[conv.path] = dataclasses.replace(cuts[conv.path], constant=constant)
    return cuts


def _cut(
    conv: Convolution, target: Tensor | None, liveness: Liveness, kept: Mapping[str, np.ndarray], round_to: int
) -> Cut:
    weights, order = liveness.weights[conv.path], kept[conv.source]
    columns = np.arange(len(weights.shift)) if target is None else kept[target.name]
    wanted = liveness.channels[conv.source].readers[conv.reader]
    row_of = np.full(len(wanted), -1)
    connected = np.arange(len(wanted)) if conv.inputs is None else np.array(conv.inputs, int)
    row_of[connected] = np.arange(len(connected))
    places = _rounded(np.flatnonzero(wanted[order]), np.flatnonzero(row_of[order] >= 0), round_to)
    inputs = None if len(places) == len(order) else tuple(places.tolist())
    taps = _taps(conv, target, liveness)[..., columns]
    return Cut(row_of[order[places]], columns, inputs, not np.all(liveness_lib.is_even(taps)))


def _taps(conv: Convolution, target: Tensor | None, liveness: Liveness) -> np.ndarray:
    """Returns what constant channels add at each tap, (k, k, features); zero for outputs that do not matter."""
    source = liveness.channels[conv.source]
    taps = liveness_lib.products_of_constants(conv, liveness.weights[conv.path], source.constant)
    if target is None:
        return taps
    made = liveness.channels[target.name]
    return np.where(made.live | ~np.isnan(made.constant), taps, 0)


def _cut_branch(old: Mapping[str, Any], cut: Cut) -> dict[str, Any]:
    branch: dict[str, Any] = {}
    for name, array in old.items():
        if isinstance(array, Mapping):
            branch[name] = {inner: vector[cut.columns] for inner, vector in array.items()}
        elif name == "kernel":
            if len(cut.rows):
                branch[name] = array[:, :, cut.rows][..., cut.columns]
        elif name == "bias":
            branch[name] = array[cut.columns]
    if cut.constant and "constant_kernel" in old:
        branch["constant_kernel"] = old["constant_kernel"][..., cut.columns]
    elif cut.constant and "kernel" in old:
        size = old["kernel"].shape[0]
        branch["constant_kernel"] = np.zeros((size, size, 1, len(cut.columns)), np.float32)
    return branch


def _fold_constants(
    variables: Mapping[str, PyTree], liveness: Liveness, cuts: Mapping[str, Cut], kept: Mapping[str, np.ndarray]
) -> None:
    """Puts what constant channels contributed into the biases of the (new) `variables`."""
    targets = {conv.path: tensor for tensor in liveness.graph.tensors for conv in tensor.convolutions}
    for conv in liveness.graph.convolutions:
        cut = cuts[conv.path]
        if not len(cut.columns):
            continue
        params = graph_lib.branch_of(variables["params"], conv.path)
        stats = graph_lib.branch_of(variables["batch_stats"], conv.path)
        target = targets.get(conv.path)
        source = liveness.channels[conv.source].constant
        if "kernel" in params:
            params["kernel"][:, :, ~np.isnan(liveness_lib.read(conv, source)[cut.rows])] = 0
        taps = _taps(conv, target, liveness)[..., cut.columns]
        if cut.constant:
            params["constant_kernel"][:] = taps[:, :, None]
        else:
            centre = taps.shape[0] // 2
            _add_to_products(params, stats, taps[centre, centre])
        if target is not None and conv is target.convolutions[0]:
            params["bn"]["bias"] += _lost_identity(target, liveness, kept)


def _add_to_products(params: dict[str, Any], stats: dict[str, Any], constants: np.ndarray) -> None:
    if "bn" in params:
        stats["bn"]["mean"] -= constants.astype(np.float32)
    else:
        params["bias"] += constants.astype(np.float32)


def _lost_identity(tensor: Tensor, liveness: Liveness, kept: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns what the identity path added to the channels that stay, where nothing is left of it; else zeros."""
    columns = kept[tensor.name]
    if tensor.identity is None or len(kept[tensor.identity]) or not len(liveness.channels[tensor.identity].live):
        return np.zeros(len(columns), np.float32)
    return np.nan_to_num(liveness.channels[tensor.identity].constant[columns]).astype(np.float32)


def _model(model: MultiTaskModel, cuts: Mapping[str, Cut]) -> MultiTaskModel:
    architecture = _architecture(model.backbone.architecture, cuts)
    heads = {}
    for task, module in model.heads.items():
        own = [cut for path, cut in cuts.items() if path.startswith(f"heads_{task}/")]
        heads[task] = module.clone(inputs=own[0].inputs, constant=any(cut.constant for cut in own))
    return MultiTaskModel(model.backbone.clone(architecture=architecture), heads)


def _architecture(architecture: Architecture, cuts: Mapping[str, Cut]) -> Architecture:
    def convolution(spec: ConvSpec, name: str) -> ConvSpec:
        cut = cuts[f"backbone/{name}"]
        return dataclasses.replace(spec, features=len(cut.columns), inputs=cut.inputs, constant=cut.constant)

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


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copied(branch) if isinstance(branch, Mapping) else branch for name, branch in tree.items()}


def _put(tree: dict[str, Any], path: Sequence[str], branch: Mapping[str, Any]) -> None:
    """Replaces the branch at a path in place; one without leaves goes, and what becomes empty above it."""
    name, *others = path
    if others:
        inner = tree.get(name, {})
        _put(inner, others, branch)
        branch = inner
    if branch:
        tree[name] = branch
    else:
        tree.pop(name, None)
