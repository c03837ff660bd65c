"""Takes the same zero channels out of ResNet-18 and ResNet-50 with Torch-Pruning and with lim_jax.structure.

    python scripts/compare_torch_pruning.py

Needs `torch` and `torch-pruning` beside lim_jax's own. Two patterns of zeros, half of the input channels each: in every
layer others, as a group lasso leaves them, and the same in all layers that read a tensor. Torch-Pruning gets the
channels that no layer reads. The networks are the usual ones for 224×224 images, Flax's and PyTorch's; weights are
random, latencies those of one image.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import torch
import torch_pruning
from foreign.networks import NETWORKS
from torch import nn

from lim_jax import structure
from lim_jax.compaction import latencies
from lim_jax.sparsity.groups import leaves_by_path

PATTERNS = ("each layer its own", "the same for all readers")


class Block(nn.Module):
    """A basic or a bottleneck block, version 1.5."""

    def __init__(self, inputs: int, planes: int, stride: int, bottleneck: bool):
        super().__init__()
        shapes = [(3, inputs, planes, stride), (3, planes, planes, 1)]
        if bottleneck:
            shapes = [(1, inputs, planes, 1), (3, planes, planes, stride), (1, planes, 4 * planes, 1)]
        self.convs = nn.ModuleList([_conv(k, a, b, s) for k, a, b, s in shapes])
        self.norms = nn.ModuleList([nn.BatchNorm2d(b) for _, _, b, _ in shapes])
        outputs = shapes[-1][2]
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(_conv(1, inputs, outputs, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = x
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            y = torch.relu(y) if index < len(self.convs) - 1 else y
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    """ResNet-18 or ResNet-50."""

    def __init__(self, sizes: tuple[int, ...], bottleneck: bool):
        super().__init__()
        self.stem = nn.Sequential(_conv(7, 3, 64, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        blocks, width = [], 64
        for stage, size in enumerate(sizes):
            for index in range(size):
                blocks.append(Block(width, 64 * 2**stage, 2 if stage and not index else 1, bottleneck))
                width = 64 * 2**stage * (4 if bottleneck else 1)
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(width, 1000)

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


def _conv(size: int, inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


CASES = {
    "ResNet-18": ("ResNet-18 (Flax's example)", (2, 2, 2, 2), False),
    "ResNet-50": ("ResNet-50 (Flax's example)", (3, 4, 6, 3), True),
}


def make_torch(sizes: tuple[int, ...], bottleneck: bool) -> nn.Module:
    """Returns a network in evaluation mode whose scales and statistics are not all ones and zeros."""
    torch.manual_seed(0)
    model = ResNet(sizes, bottleneck).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for each in (module.weight, module.bias, module.running_mean, module.running_var):
                each.data += 0.1 * torch.randn_like(each)
    return model


def named_as_in_flax(model: nn.Module, bottleneck: bool) -> dict[str, nn.Module]:
    """Returns the layers that read channels, by the names that they have in Flax's network."""
    name, number = ("BottleneckResNetBlock", 3) if bottleneck else ("ResNetBlock", 2)
    layers: dict[str, nn.Module] = {"Dense_0": model.fc}
    for index, block in enumerate(model.blocks):
        layers |= {f"{name}_{index}/Conv_{i}": block.convs[i] for i in range(number)}
        if block.shortcut is not None:
            layers[f"{name}_{index}/conv_proj"] = block.shortcut[0]
    return layers


def readers_of(model: nn.Module, layers: Mapping[str, nn.Module], example: torch.Tensor) -> list[tuple[nn.Module, set]]:
    """Returns for each set of channels that leave together a layer that makes them, and the layers that read them."""
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=example)
    known = {id(layer) for layer in layers.values()}
    found: dict[frozenset, tuple[nn.Module, set]] = {}
    for module in model.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        group = graph.get_pruning_group(module, torch_pruning.prune_conv_out_channels, list(range(module.out_channels)))
        readers = {
            dep.target.module
            for dep, _ in group
            if id(dep.target.module) in known and graph.is_in_channel_pruning_fn(dep.handler)
        }
        found.setdefault(frozenset(map(id, readers)), (module, readers))
    return list(found.values())


def prune_torch(model: nn.Module, groups: list[tuple[nn.Module, set]], dead: list[np.ndarray], example: Any) -> None:
    """Removes the dead channels of each group."""
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=example)
    for (maker, _), channels in zip(groups, dead, strict=True):
        if channels.any():
            indices = np.flatnonzero(channels).tolist()
            graph.get_pruning_group(maker, torch_pruning.prune_conv_out_channels, indices).prune()


def compare(name: str, pattern: str, repeats: int) -> list[list[str]]:
    """Returns the table's two rows of one network and one pattern."""
    flax_name, sizes, bottleneck = CASES[name]
    rng = np.random.default_rng(0)
    example = torch.randn(1, 3, 224, 224)
    dense = make_torch(sizes, bottleneck)
    layers = named_as_in_flax(dense, bottleneck)
    names = {id(layer): path for path, layer in layers.items()}
    groups = readers_of(dense, layers, example)
    zeros = {path: rng.random(layer.weight.shape[1]) < 0.5 for path, layer in layers.items()}
    if pattern == PATTERNS[1]:
        for _, readers in groups:
            together = zeros[names[id(next(iter(readers)))]]
            zeros |= {names[id(reader)]: together for reader in readers}
    for path, layer in layers.items():
        layer.weight.data[:, zeros[path]] = 0
    dead = [np.all([zeros[names[id(reader)]] for reader in readers], axis=0) for _, readers in groups]

    pruned = make_torch(sizes, bottleneck)
    pruned.load_state_dict(dense.state_dict())
    its_names = {id(layer): path for path, layer in named_as_in_flax(pruned, bottleneck).items()}
    its_groups = readers_of(pruned, named_as_in_flax(pruned, bottleneck), example)
    order = {
        frozenset(names[id(reader)] for reader in readers): channels
        for (_, readers), channels in zip(groups, dead, strict=True)
    }
    its_dead = [order[frozenset(its_names[id(reader)] for reader in readers)] for _, readers in its_groups]
    prune_torch(pruned, its_groups, its_dead, example)

    fn, params, x = NETWORKS[flax_name](False)
    leaves = {path: np.array(leaf) for path, leaf in leaves_by_path(params).items()}
    for path, zero in zeros.items():
        leaves[f"params/{path}/kernel"][..., zero, :] = 0
    params = jax.device_put(jax.tree.unflatten(jax.tree.structure(params), list(leaves.values())))
    small = structure.compact(fn, params, x)

    with torch.inference_mode():
        expected, actual = dense(example), pruned(example)
        difference = float((expected - actual).abs().max() / expected.abs().max())
        costs = [torch_pruning.utils.count_ops_and_params(model, example) for model in (dense, pruned)]
        torch_ms = latencies({"dense": lambda: dense(example), "pruned": lambda: pruned(example)}, repeats)
    dense_fn, small_fn = jax.jit(fn), jax.jit(small.fn)
    ms = latencies({"dense": lambda: dense_fn(params, x), "pruned": lambda: small_fn(small.params, x)}, repeats)
    rows = []
    for tool, parameters, macs, off, measured in (
        ("Torch-Pruning", [cost[1] for cost in costs], [cost[0] for cost in costs], difference, torch_ms),
        ("lim_jax.structure", _num_parameters(small), small.macs, small.difference, ms),
    ):
        removed = [f"{100 * (1 - after / before):.0f} %" for before, after in (parameters, macs)]
        times = [
            f"{measured['dense']:.1f}",
            f"{measured['pruned']:.1f}",
            f"{measured['dense'] / measured['pruned']:.2f}",
        ]
        rows.append([name, pattern, tool, *removed, f"{off:.0e}", *times])
    return rows


def _num_parameters(small: structure.Compacted) -> tuple[int, int]:
    """Counts parameters without batch statistics, as PyTorch does."""
    cuts = [cut for path, cut in small.cuts.items() if path.startswith("params/")]
    return sum(int(np.prod(cut.shape)) for cut in cuts), sum(int(np.prod(cut.compact_shape)) for cut in cuts)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    header = ["network", "zeros", "tool", "parameters removed", "MACs removed", "difference"]
    header += ["dense ms", "small ms", "ratio"]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for name in CASES:
        for pattern in PATTERNS:
            for row in compare(name, pattern, repeats):
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
