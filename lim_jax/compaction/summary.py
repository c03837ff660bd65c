"""Says what compaction removed, and which readers kept the rest: as plain data and as a table."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lim_jax.compaction.cost import LayerCost
from lim_jax.compaction.graph import Tensor
from lim_jax.compaction.surgery import Compacted
from lim_jax.runtime.tables import aligned

_FIELDS = ("inputs", "outputs", "parameters", "macs")


def layers(
    compacted: Compacted, dense: Mapping[str, LayerCost], compact: Mapping[str, LayerCost]
) -> dict[str, dict[str, Any]]:
    """Returns `{layer: {"inputs": {"dense": n, "compact": n}, "outputs", "parameters", "macs", "read_by"}}`.

    Args:
      compacted: what `compact` returned.
      dense: costs of the network that was given.
      compact: costs of the compact network, of the same layers.

    Returns:
      JSON-serialisable. `read_by` says for each reader of what the layer emits (of a block, its last convolution
      stands for what the block emits) how many channels it reads; `identity` is the block's identity path.
    """
    made = {tensor.convolutions[0].path: tensor for tensor in compacted.liveness.graph.tensors if tensor.convolutions}
    return {
        name: {field: {"dense": getattr(before, field), "compact": getattr(compact[name], field)} for field in _FIELDS}
        | {"read_by": _readers(compacted, made[name]) if name in made else {}}
        for name, before in dense.items()
    }


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns aligned text from `layers`: a row per layer, before -> after, and who keeps its output alive."""
    cells: list[tuple[str, ...]] = [("layer", "reads", "emits", "parameters", "MACs", "its output is read by")]
    for name, row in rows.items():
        readers = ", ".join(f"{reader} {number}" for reader, number in row["read_by"].items())
        cells.append((name, *(_change(row[field]) for field in _FIELDS), readers))
    return aligned(cells, left=(0, len(_FIELDS) + 1))


def removed(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns lines that say how much is gone, from `layers`."""
    channels = {name: row["outputs"] for name, row in rows.items()}
    before, after = (sum(count[which] for count in channels.values()) for which in ("dense", "compact"))
    gone = [name for name, count in channels.items() if count["dense"] and not count["compact"]]
    without_inputs = [
        name
        for name, row in rows.items()
        if row["inputs"]["dense"] and not row["inputs"]["compact"] and row["outputs"]["compact"]
    ]
    lines = [f"{before - after:,} of {before:,} channels are removed"]
    if gone:
        lines.append("removed as a whole, because nobody reads it or it is constant: " + ", ".join(gone))
    if without_inputs:
        lines.append("without any input left, so only a bias: " + ", ".join(without_inputs))
    return "\n".join(lines)


def _readers(compacted: Compacted, tensor: Tensor) -> dict[str, int]:
    readers = compacted.liveness.channels[tensor.name].readers
    numbers = {name: int(np.sum(channels)) for name, channels in readers.items()}
    return {name: number for name, number in numbers.items() if number}


def _change(count: Mapping[str, int]) -> str:
    before, after = f"{count['dense']:,}", f"{count['compact']:,}"
    return before if before == after else f"{before} -> {after}"
