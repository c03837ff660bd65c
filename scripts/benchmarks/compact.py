"""How much faster a backbone gets when its groups are as sparse as the paper's figure 3 shows them."""

import argparse
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.job import report
from lim_jax import compaction, models
from lim_jax.runtime import platforms


def random_network(backbone: str, live: Sequence[float], rng: np.random.Generator) -> tuple[Any, dict[str, Any]]:
    """Returns a model without heads that would read less than all features, and its variables with zero groups."""
    model = models.MultiTaskModel(models.backbone(backbone), {"smiling": models.head("classifier", 1)})
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if len(leaf.shape) < 2:
            return np.full(leaf.shape, name.endswith(("scale", "var")), np.float32)
        kernel = rng.standard_normal(leaf.shape, np.float32) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        if "backbone/layer" in name:
            kernel *= (rng.random(leaf.shape[2]) < live[int(name.split("layer")[1][0]) - 1])[:, None]
        return kernel.astype(np.float32)

    return model, jax.tree_util.tree_map_with_path(draw, shapes)


def run(arguments: argparse.Namespace) -> None:
    """Zeroes input channels at random, compacts, and measures MACs, parameters and latency of the backbone."""
    rng = np.random.default_rng(0)
    model, variables = random_network(arguments.backbone, [float(share) for share in arguments.live.split(",")], rng)
    compacted = compaction.compact(model, variables, arguments.round_to)
    networks = {"dense": (model, variables), "compact": (compacted.model, compacted.variables)}
    size = (arguments.image_size, arguments.image_size)
    images = jax.device_put(rng.standard_normal((arguments.batch_size, *size, 3), np.float32))
    calls = {name: _folded_backbone(*network, images) for name, network in networks.items()}
    milliseconds = compaction.latencies(calls, arguments.rounds)
    sizes = {name: value for name, value in vars(arguments).items() if name not in ("command", "run")}
    machine = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    for name, network in networks.items():
        cost = compaction.total(compaction.layer_costs(network[0], size), "backbone/")
        numbers = {"gmacs": cost.macs / 1e9, "parameters": cost.parameters, "median_s": milliseconds[name] / 1e3}
        report({"what": "compact", "network": name} | numbers | sizes | machine)
    ratio = milliseconds["dense"] / milliseconds["compact"]
    report(
        {"what": "compact", "zero_group_percent": _zero_groups(variables), "ratio": "dense / compact", "time": ratio}
    )


def _folded_backbone(model: Any, variables: Any, images: jax.Array) -> Any:
    """Returns a function that runs the backbone on `images`, batch norm folded into the convolutions."""
    model = models.with_implementation(model, platforms.default().forms)
    folded, weights = compaction.fold_batch_norm(model, variables)
    params = jax.device_put(weights["params"]["backbone"])
    forward = jax.jit(folded.backbone.apply)
    return lambda: forward({"params": params}, images)


def _zero_groups(variables: Any) -> float:
    """Returns the percentage of the backbone's groups that are zero."""
    kernels = [leaf for leaf in jax.tree.leaves(variables["params"]["backbone"]) if np.ndim(leaf) == 4]
    live = np.concatenate([np.any(kernel, axis=(0, 1, 3)) for kernel in kernels])
    return float(100 * np.mean(~live))
