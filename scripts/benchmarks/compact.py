"""How much faster a backbone gets when its groups are as sparse as the paper's figure 3 shows them.

With `--steps` the backbone is timed as a GPU is used (`in_a_row`), with a share of the groups of every layer at zero:
dense, with the zeros kept, and compact, each batch size and dtype by itself.
"""

import argparse
import concurrent.futures
import functools
import itertools
import statistics
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import in_a_row, kernels, supervised, worker
from benchmarks.job import keep, report, spread
from lim_jax import compaction, models
from lim_jax.runtime import platforms

_COMPILING = 4  # programs at once: what a GPU tries out for one, disturbs the trials for another
_SECONDS = 20.0  # with less left until the deadline, no more programs are compiled


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
    if arguments.steps:
        return _run_in_a_row(arguments)
    rng = np.random.default_rng(0)
    model, variables = random_network(arguments.backbone, [float(share) for share in arguments.live.split(",")], rng)
    compacted = compaction.compact(model, variables, int(arguments.round_to))
    networks = {"dense": (model, variables), "compact": (compacted.model, compacted.variables)}
    size = (arguments.image_size, arguments.image_size)
    images = jax.device_put(rng.standard_normal((int(arguments.batch_size), *size, 3), np.float32))
    calls = {name: _folded_backbone(*network, images) for name, network in networks.items()}
    milliseconds = compaction.latencies(calls, arguments.rounds)
    sizes = {name: getattr(arguments, name) for name in ("backbone", "batch_size", "image_size", "live", "round_to")}
    machine = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    for name, network in networks.items():
        cost = compaction.total(compaction.layer_costs(network[0], size), "backbone/")
        numbers = {"gmacs": cost.macs / 1e9, "parameters": cost.parameters, "median_s": milliseconds[name] / 1e3}
        report({"what": "compact", "network": name} | numbers | sizes | machine)
    ratio = milliseconds["dense"] / milliseconds["compact"]
    report(
        {"what": "compact", "zero_group_percent": _zero_groups(variables), "ratio": "dense / compact", "time": ratio}
    )


def with_zero_groups(variables: Any, share: float, rng: np.random.Generator) -> Any:
    """Returns the variables with `share` of the groups of each backbone convolution at zero, but not all.

    The first convolution, whose groups are the colours of the image, stays.
    """

    def zeroed(path: Any, leaf: np.ndarray) -> np.ndarray:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if np.ndim(leaf) != 4 or "backbone/" not in name or "stem_conv1/" in name:
            return leaf
        groups = leaf.shape[2]
        zero = rng.permutation(groups)[: min(round(share * groups), groups - 1)]
        kernel = leaf.copy()
        kernel[:, :, zero] = 0
        return kernel

    return jax.tree_util.tree_map_with_path(zeroed, variables)


def _run_in_a_row(arguments: argparse.Namespace) -> None:
    """Measures all networks for one dtype and batch size after the other, until the deadline."""
    deadline = supervised.Deadline.after(arguments.minutes)
    rng = np.random.default_rng(0)
    dense = random_network(arguments.backbone, (1, 1, 1, 1), rng)
    sparse = (dense[0], with_zero_groups(dense[1], arguments.zero_groups, rng))
    networks = {"dense": dense, "zeros kept": sparse}
    for multiple in arguments.round_to.split(","):
        compacted = compaction.compact(*sparse, int(multiple))
        networks[f"compact, multiples of {multiple}"] = (compacted.model, compacted.variables)
    size = (arguments.image_size, arguments.image_size)
    common = {"what": "compact", "backbone": arguments.backbone, "image_size": arguments.image_size}
    common["zero_group_percent"] = _zero_groups(sparse[1])
    costs = {
        name: compaction.total(compaction.layer_costs(network[0], size), "backbone/")
        for name, network in networks.items()
    }
    for dtype, examples in itertools.product(arguments.dtype.split(","), map(int, arguments.batch_size.split(","))):
        case = common | {"dtype": dtype, "batch_size": examples}
        if deadline.seconds_left < _SECONDS:
            keep(case | {"left_out": f"{deadline.seconds_left:.0f} s left"}, arguments.output)
            continue
        images = jax.device_put(rng.standard_normal((examples, *size, 3), np.float32))
        for name, call in _compiled_backbones(networks, dtype, images).items():
            times = in_a_row.milliseconds(spread(in_a_row.timed(call, arguments.steps, arguments.repeats)))
            times["single_ms"] = 1e3 * statistics.median(worker.run_once(call) for _ in range(arguments.steps))
            cost = {"gmacs": costs[name].macs / 1e9, "parameters": costs[name].parameters}
            keep(case | {"network": name} | times | cost | worker.machine(), arguments.output)
            if arguments.profile:
                title = {"what": "compact", "contender": f"{name}, batch {examples}", "dtype": dtype}
                for row in kernels.profile(call, in_a_row.PROFILED):
                    keep(title | {"event": "profile"} | row, arguments.output)


def _compiled_backbones(networks: dict[str, Any], dtype: str, images: jax.Array) -> dict[str, Any]:
    """Returns functions that run the backbones on `images`, batch norm folded, compiled side by side.

    Networks of the same widths share a program.
    """
    folded = {name: _folded(*network) for name, network in networks.items()}
    backbones = {name: models.with_dtype(model, dtype).backbone for name, (model, _) in folded.items()}
    weights = {name: {"params": jax.device_put(found["params"]["backbone"])} for name, (_, found) in folded.items()}
    names = {backbone.architecture: name for name, backbone in backbones.items()}

    def compiled(name: str) -> Any:
        return jax.jit(backbones[name].apply).lower(weights[name], images).compile()

    with concurrent.futures.ThreadPoolExecutor(_COMPILING) as threads:
        programs = dict(zip(names, threads.map(compiled, names.values()), strict=True))
    return {name: functools.partial(programs[backbones[name].architecture], weights[name], images) for name in networks}


def _folded_backbone(model: Any, variables: Any, images: jax.Array) -> Any:
    """Returns a function that runs the backbone on `images`, batch norm folded into the convolutions."""
    folded, variables = _folded(model, variables)
    params = jax.device_put(variables["params"]["backbone"])
    forward = jax.jit(folded.backbone.apply)
    return lambda: forward({"params": params}, images)


def _folded(model: Any, variables: Any) -> tuple[Any, dict[str, Any]]:
    """Returns a network with its batch norms folded, computed as suits this machine."""
    return compaction.fold_batch_norm(models.with_implementation(model, platforms.default().forms), variables)


def _zero_groups(variables: Any) -> float:
    """Returns the percentage of the backbone's groups that are zero."""
    kernels = [leaf for leaf in jax.tree.leaves(variables["params"]["backbone"]) if np.ndim(leaf) == 4]
    live = np.concatenate([np.any(kernel, axis=(0, 1, 3)) for kernel in kernels])
    return float(100 * np.mean(~live))
