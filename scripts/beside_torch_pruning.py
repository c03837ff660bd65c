"""Removes zero channels from the same ResNet with `lim_jax.structure` and with Torch-Pruning:

    python scripts/beside_torch_pruning.py [--backbones resnet18d resnet50d] [--image_size=128] [--share=0.5]

Both get the same weights, in which a share of the groups is zero: either each layer ignores input channels of its own,
as a group lasso leaves them, or all readers of a channel ignore it. Torch-Pruning removes a channel wherever its
dependency graph couples it, so only if all that read it ignore it. Needs `pip install torch torch-pruning`; prints the
table in docs/any-network.md.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
import torch_pruning
from benchmarks import torch_modern
from foreign.zeros import with_zero_groups
from torch import nn

from lim_jax import models, structure
from lim_jax.compaction import latencies
from lim_jax.network import num_parameters

PyTree = Any
KINDS = {"input_channels": "each layer its own", "coupled": "all readers the same"}


class Removed(NamedTuple):
    """What a tool left of a network.

    Attributes:
      run: computes the outputs of the smaller network, NHWC; of the whole one, `dense`.
      parameters: numbers of parameters before and after.
      difference: the largest of the outputs, as part of the largest output.
    """

    run: Callable[[], Any]
    dense: Callable[[], Any]
    parameters: tuple[int, int]
    difference: float


def network(
    backbone: str, width_multiplier: float, image_size: int, share: float, kind: str
) -> tuple[Any, PyTree, Any]:
    """Returns the function, its parameters with zero groups, and an image (1, size, size, 3)."""
    model = models.backbone(backbone, width_multiplier)
    image = np.random.default_rng(0).normal(size=(1, image_size, image_size, 3)).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), image)
    groups = structure.trace(model.apply, variables, image).groups(kind)
    return model.apply, with_zero_groups(_with_statistics(variables), groups, share, seed=0), image


def _with_statistics(variables: PyTree) -> PyTree:
    """Returns variables whose batch norms are none that could be left out."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: leaf if leaf.ndim > 1 else rng.uniform(0.5, 1.5, leaf.shape).astype("f4"), variables
    )


def by_lim_jax(fn: Any, variables: PyTree, image: Any) -> Removed:
    """Removes what does not matter, by the function's program."""
    variables = jax.device_put(variables)
    small = structure.compact(fn, variables, image)
    dense, compact = jax.jit(fn), jax.jit(small.fn)
    before, after = (num_parameters(tree["params"]) for tree in (variables, small.params))
    return Removed(
        lambda: compact(small.params, image), lambda: dense(variables, image), (before, after), small.difference
    )


def by_torch_pruning(backbone: str, width_multiplier: float, variables: PyTree, image: Any) -> Removed:
    """Removes the channels that all their readers ignore, by Torch-Pruning's dependency graph."""
    inputs = torch.from_numpy(np.array(image)).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    dense, pruned = (_torch_network(backbone, width_multiplier, variables) for _ in range(2))
    _remove_ignored(pruned, inputs)
    pruned = pruned.to(memory_format=torch.channels_last)
    run, whole = (_inference(model, inputs) for model in (pruned, dense))
    difference = np.max(np.abs(run() - whole())) / np.max(np.abs(whole()))
    before, after = (sum(weight.numel() for weight in model.parameters()) for model in (dense, pruned))
    return Removed(run, whole, (before, after), float(difference))


def _torch_network(backbone: str, width_multiplier: float, variables: PyTree) -> nn.Module:
    model = torch_modern.Backbone(backbone, width_multiplier)
    torch_modern.load(model, variables)
    return model.eval().to(memory_format=torch.channels_last)


def _inference(model: nn.Module, inputs: torch.Tensor) -> Callable[[], np.ndarray]:
    def run() -> np.ndarray:
        with torch.inference_mode():
            return model(inputs).permute(0, 2, 3, 1).numpy()

    return run


def _remove_ignored(model: nn.Module, inputs: torch.Tensor) -> None:
    """Removes from a network, in place, the channels that no convolution reads, but for images and outputs."""
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=inputs)
    for conv in convolutions[1:]:
        group = graph.get_pruning_group(conv, torch_pruning.prune_conv_in_channels, list(range(conv.in_channels)))
        readers, writers = [], []
        for dependency, _ in group:
            module = dependency.target.module
            if isinstance(module, nn.Conv2d):
                reads = graph.is_in_channel_pruning_fn(dependency.handler)
                (readers if reads else writers).append(module)
        if convolutions[-1] in writers:
            continue
        ignored = torch.stack([reader.weight.abs().sum((0, 2, 3)) == 0 for reader in readers]).all(0)
        gone = torch.nonzero(ignored).ravel().tolist()
        if len(gone) == conv.in_channels:
            gone = gone[1:]  # Torch-Pruning leaves no layer without channels
        if gone:
            graph.get_pruning_group(conv, torch_pruning.prune_conv_in_channels, gone).prune()


def rows(arguments: argparse.Namespace, backbone: str, kind: str) -> list[list[str]]:
    """Returns the table's rows of one network: lim_jax's, Torch-Pruning's."""
    fn, variables, image = network(backbone, arguments.width, arguments.image_size, arguments.share, kind)
    found = {
        "lim_jax": by_lim_jax(fn, variables, image),
        "Torch-Pruning": by_torch_pruning(backbone, arguments.width, variables, image),
    }
    result = []
    for tool, removed in found.items():
        ms = latencies({"dense": removed.dense, "small": removed.run}, arguments.repeats, min_seconds=2)
        before, after = removed.parameters
        result.append(
            [
                backbone,
                KINDS[kind],
                tool,
                f"{100 * (1 - after / before):.1f} %",
                f"{removed.difference:.0e}",
                f"{ms['dense']:.1f}",
                f"{ms['small']:.1f}",
                f"{ms['dense'] / ms['small']:.2f}",
            ]
        )
    return result


def main() -> None:
    """Prints the table, network by network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["resnet18d", "resnet50d"])
    parser.add_argument("--width", type=float, default=1.0, help="factor on all widths")
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--share", type=float, default=0.5, help="of the groups that are zero")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    header = ["network", "zero channels", "tool", "parameters removed", "difference", "dense ms", "small ms", "ratio"]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for backbone in arguments.backbones:
        for kind in KINDS:
            for row in rows(arguments, backbone, kind):
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
