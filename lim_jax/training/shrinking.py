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
from lim_jax.training.state import TrainState, sparse_groups

logger = logging.getLogger(__name__)

PyTree = Any


class Shrinking:
    """What a run has to know in order to shrink its network; `to_json` goes into every checkpoint.

    Attributes:
      original: the size of every layer with groups when training began.
      zero_epochs: per layer of the present network, uint8 with one entry per group: at the ends of how many epochs in a
        row it was zero by now; stops counting at the patience. Empty if the network is not to shrink.
    """

    def __init__(self, config: Config, params: PyTree, saved: Mapping[str, Any] | None = None):
        """Begins with a network of these `params`, or goes on from what `to_json` returned."""
        self._groups = sparse_groups(config)
        self._every = config.sparsity.compact_every_epochs
        self._patience = config.sparsity.patience_epochs
        self.original = sparsity.layer_sizes(params, self._groups)
        self.zero_epochs: dict[str, np.ndarray] = {}
        if self._every:
            self.zero_epochs = {name: np.zeros(size.groups, np.uint8) for name, size in self.original.items()}
        if saved is not None:
            self.original = {name: sparsity.LayerSize(*size) for name, size in saved["original"].items()}
            self.zero_epochs = {name: _from_hex(digits) for name, digits in saved["zero_epochs"].items()}

    def end_epoch(self, zeros: Mapping[str, np.ndarray]) -> None:
        """Counts the groups that are zero at the end of an epoch, given which are, per layer."""
        if self._every:
            for name, zero in zeros.items():
                longer = np.minimum(self.zero_epochs[name].astype(int) + 1, self._patience)
                self.zero_epochs[name] = np.where(zero, longer, 0).astype(np.uint8)

    def is_due(self, epoch: int) -> bool:
        """Whether the network may shrink at the end of `epoch`, counted from 1."""
        return self._every > 0 and epoch % self._every == 0

    def shrink(self, network: Network, state: TrainState) -> tuple[Network, TrainState] | None:
        """Returns the network and its state without the groups that stayed zero, on the host; None if none did."""
        removable = {name: counts >= self._patience for name, counts in self.zero_epochs.items()}
        if not any(removed.any() for removed in removable.values()):
            return None
        state = jax.device_get(state)
        found = groups_lib.layers(self._groups, state.params)
        zero = {_convolution(path): removable[layer.name] for layer in found for path in layer.paths}
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        compacted = compaction.remove_unread(network.model, variables, zero)
        params = compacted.variables["params"]
        if not any(path.endswith("/kernel") for path in groups_lib.leaves_by_path(params.get("backbone", {}))):
            logger.info("nothing would be left of the backbone: the network stays as large as it is")
            return None
        self.zero_epochs = {
            layer.name: self.zero_epochs[layer.name][cut.rows]
            for layer in found
            if len((cut := compacted.cuts[_convolution(layer.paths[0])]).rows) and len(cut.columns)
        }
        smaller = dataclasses.replace(
            state,
            params=params,
            batch_stats=compacted.variables["batch_stats"],
            opt_state=_take_moments(state, compacted.cuts),
        )
        return dataclasses.replace(network, model=compacted.model), smaller

    def to_json(self) -> dict[str, Any]:
        """Returns the state, JSON-serialisable: two hexadecimal digits per group."""
        return {
            "original": {name: list(size) for name, size in self.original.items()},
            "zero_epochs": {name: counts.tobytes().hex() for name, counts in self.zero_epochs.items()},
        }


def num_channels(network: Network) -> int:
    """Returns the number of channels that the convolutions of the backbone emit, together."""
    architecture = network.model.backbone.architecture
    blocks = [block for stage in architecture.stages for block in stage]
    convolutions = [*architecture.stem, *(conv for block in blocks for conv in block.convs)]
    return sum(conv.features for conv in convolutions) + sum(block.features for block in blocks if block.downsample)


def _take_moments(state: TrainState, cuts: Mapping[str, compaction.Cut]) -> PyTree:
    """Returns the optimizer's state with every tree in it that is shaped like the parameters cut as they are."""
    structure = jax.tree.structure(state.params)

    def is_like_params(node: PyTree) -> bool:
        return jax.tree.structure(node) == structure

    def cut(node: PyTree) -> PyTree:
        return compaction.take(node, cuts) if is_like_params(node) else node

    return jax.tree.map(cut, state.opt_state, is_leaf=is_like_params)


def _from_hex(digits: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(digits), np.uint8)


def _convolution(path: str) -> str:
    return path.removesuffix("/kernel")
