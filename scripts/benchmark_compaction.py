"""How much faster a resnet50d gets when its groups are as sparse as the paper's figure 3 shows them.

    python scripts/benchmark_compaction.py --image_size=128 --batch_size=4

Zeroes input channels at random so that the given share of each stage's groups stays, the stem dense; compacts; prints
MACs, parameters and latency of the backbone before and after, batch norm folded in both, measured in turns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import app, flags

from lim_jax import compaction, models

_BACKBONE = flags.DEFINE_string("backbone", "resnet50d", "The backbone.")
_LIVE = flags.DEFINE_list("live", ["0.6", "0.35", "0.25", "0.3"], "Share of the groups that stay, per stage.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 128, "Height and width.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 4, "Images at once.")
_REPEATS = flags.DEFINE_integer("repeats", 20, "Rounds; the median counts.")
_ROUND_TO = flags.DEFINE_integer("round_to", 1, "As of lim_jax.compact.")


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


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark on the parsed flags."""
    del argv
    rng = np.random.default_rng(0)
    model, variables = random_network(_BACKBONE.value, [float(share) for share in _LIVE.value], rng)
    compacted = compaction.compact(model, variables, _ROUND_TO.value)
    networks: Mapping[str, Any] = {"dense": (model, variables), "compact": (compacted.model, compacted.variables)}
    size = (_IMAGE_SIZE.value, _IMAGE_SIZE.value)
    images = jax.device_put(rng.standard_normal((_BATCH_SIZE.value, *size, 3), np.float32))
    calls, numbers = {}, {}
    for name, network in networks.items():
        folded, weights = compaction.fold_batch_norm(*network)
        params = jax.device_put(weights["params"]["backbone"])
        call = jax.jit(folded.backbone.apply)
        calls[name] = lambda call=call, params=params: call({"params": params}, images)
        cost = compaction.total(compaction.layer_costs(network[0], size), "backbone/")
        numbers[name] = {"GMACs": cost.macs / 1e9, "million parameters": cost.parameters / 1e6}
    for name, time in compaction.latencies(calls, _REPEATS.value).items():
        numbers[name]["ms"] = time
    groups = [
        (np.size(leaf) // leaf.shape[2], np.any(leaf, axis=(0, 1, 3)))
        for leaf in jax.tree.leaves(variables["params"]["backbone"])
        if np.ndim(leaf) == 4
    ]
    zero, number = (sum(f(live) for _, live in groups) for f in (lambda live: np.sum(~live), np.size))
    print(f"{_BACKBONE.value}, {100 * zero / number:.1f} % of the groups zero, {jax.devices()[0].device_kind}")
    for unit, before in numbers["dense"].items():
        after = numbers["compact"][unit]
        print(f"{unit}: {before:.4g} -> {after:.4g} ({before / after:.2f} times less)")


if __name__ == "__main__":
    app.run(main)
