"""Lets a network shrink while it is trained: groups that stayed zero are removed, with all that only they needed.

At the end of every `config.sparsity.compact_every_epochs`-th epoch, a group is removed that was zero at the ends of the
last `config.sparsity.patience_epochs` epochs. Network, batch statistics and the optimizer's moments lose the same
channels, and training goes on with the rest; what is removed cannot return.

The rest goes on as in the whole network with these groups at zero: loss, gradients, batch statistics, moments and all
weights without groups are the same. Only a group that loses elements, because nobody reads the outputs that they
compute, can differ: in the whole network those elements, which have no gradient, still count in the group's norm until
they, too, have become zero. Its threshold keeps the sqrt(n) of the original group. Constant channels are not folded as
in the final compaction; they stay, and go on learning (`compaction.remove_unread`).
"""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lim_jax import compaction, sparsity
from lim_jax.config import Config
from lim_jax.network import Network
from lim_jax.sparsity import groups as groups_lib
from lim_jax.training.state import TrainState

logger = logging.getLogger(__name__)

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Shrinking:
    """What a run has to know in order to shrink its network; `to_json` goes into every checkpoint.

    Attributes:
      original: the size of every layer with groups when training began.
      zero_epochs: per layer of the present network, uint8 with one entry per group: at the ends of how many epochs in a
        row it was zero by now; stops counting at the patience. Empty if the network is not to shrink.
      macs: of the backbone for one image when training began; 0 where no target goes by them.
    """

    original: sparsity.Sizes
    zero_epochs: Mapping[str, np.ndarray]
    macs: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns it, JSON-serialisable: two hexadecimal digits per group."""
        return {
            "original": {name: list(size) for name, size in self.original.items()},
            "zero_epochs": {name: counts.tobytes().hex() for name, counts in self.zero_epochs.items()},
            **({"macs": self.macs} if self.macs else {}),
        }


def begin(params: PyTree, groups: groups_lib.Groups, config: Config, macs: int = 0) -> Shrinking:
    """Returns where a run begins, with a network of these parameters, or of anything with their shapes, and MACs."""
    original = sparsity.layer_sizes(params, groups)
    shrinks = config.sparsity.compact_every_epochs > 0
    zero_epochs = {name: np.zeros(size.groups, np.uint8) for name, size in original.items()} if shrinks else {}
    return Shrinking(original, zero_epochs, macs)


def from_json(saved: Mapping[str, Any]) -> Shrinking:
    """Returns what `Shrinking.to_json` described."""
    return Shrinking(
        {name: sparsity.LayerSize(*size) for name, size in saved["original"].items()},
        {name: np.frombuffer(bytes.fromhex(digits), np.uint8) for name, digits in saved["zero_epochs"].items()},
        int(saved.get("macs", 0)),
    )


def counted(shrinking: Shrinking, zeros: Mapping[str, np.ndarray], patience: int) -> Shrinking:
    """Returns it after an epoch at whose end these groups are zero, per layer; counts up to `patience` epochs."""
    zero_epochs = {}
    for name, counts in shrinking.zero_epochs.items():
        longer = np.minimum(counts.astype(int) + 1, patience)
        zero_epochs[name] = np.where(zeros[name], longer, 0).astype(np.uint8)
    return dataclasses.replace(shrinking, zero_epochs=zero_epochs)


def is_due(epoch: int, config: Config) -> bool:
    """Whether the network may shrink at the end of `epoch`, counted from 1; not after the last, as nothing follows."""
    every = config.sparsity.compact_every_epochs
    return every > 0 and epoch % every == 0 and epoch < config.num_epochs


def shrink(
    shrinking: Shrinking, network: Network, state: TrainState, groups: groups_lib.Groups, patience: int
) -> tuple[Shrinking, Network, TrainState] | None:
    """Returns all three without the groups that were zero for `patience` epochs, the state on the host.

    None if no group was, or if nothing would be left of the backbone.
    """
    removable = {name: counts >= patience for name, counts in shrinking.zero_epochs.items()}
    if not any(removed.any() for removed in removable.values()):
        return None
    state = jax.device_get(state)
    layers = groups_lib.layers(groups, state.params)
    zero = {_convolution(path): removable[layer.name] for layer in layers for path in layer.paths}
    compacted = compaction.remove_unread(network.model, state.variables, zero)
    if not _has_kernels(compacted.variables["params"].get("backbone", {})):
        logger.info("nothing would be left of the backbone: the network stays as large as it is")
        return None
    smaller = dataclasses.replace(
        state,
        params=compacted.variables["params"],
        batch_stats=compacted.variables["batch_stats"],
        opt_state=_take_moments(state, compacted.cuts),
        average={name: compaction.take(tree, compacted.cuts) for name, tree in state.average.items()}
        if state.average
        else (),
    )
    zero_epochs = _take_counts(shrinking.zero_epochs, layers, compacted.cuts)
    return (
        dataclasses.replace(shrinking, zero_epochs=zero_epochs),
        dataclasses.replace(network, model=compacted.model),
        smaller,
    )


def _has_kernels(backbone: PyTree) -> bool:
    return any(path.endswith("/kernel") for path in groups_lib.leaves_by_path(backbone))


def _take_counts(
    zero_epochs: Mapping[str, np.ndarray], layers: list[groups_lib.Layer], cuts: Mapping[str, compaction.Cut]
) -> dict[str, np.ndarray]:
    """Returns the counts of the groups that are left, of the layers that are left."""
    left = {}
    for layer in layers:
        cut = cuts[_convolution(layer.paths[0])]
        if len(cut.rows) and len(cut.columns):
            left[layer.name] = zero_epochs[layer.name][cut.rows]
    return left


def _take_moments(state: TrainState, cuts: Mapping[str, compaction.Cut]) -> PyTree:
    """Returns the optimizer's state; trees in it that are shaped like `state.learned` are cut alike."""
    structure = jax.tree.structure(state.learned)

    def is_like_learned(node: PyTree) -> bool:
        return jax.tree.structure(node) == structure

    def cut(node: PyTree) -> PyTree:
        return compaction.take(node, cuts) if is_like_learned(node) else node

    return jax.tree.map(cut, state.opt_state, is_leaf=is_like_learned)


def _convolution(path: str) -> str:
    return path.removesuffix("/kernel")
