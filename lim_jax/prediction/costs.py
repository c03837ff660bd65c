"""What trained networks cost, as they are and without what is zero: parameters and MACs, counted; latency, measured."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from lim_jax import compaction, models
from lim_jax.network import Trained
from lim_jax.runtime import platforms

PyTree = Any
_ROUNDS = 5  # at least, when measuring latency
_SECONDS = 1.0  # of measuring at least, for each network


def call(
    model: models.MultiTaskModel,
    variables: PyTree,
    image_size: tuple[int, int],
    batch_size: int = 1,
    *,
    backbone: bool = False,
) -> Callable[[], Any]:
    """Returns a function that computes a batch of random images on the default device, to be timed.

    Args:
      model: a multi-task model.
      variables: `{"params", "batch_stats"}`; batch norm is folded.
      image_size: (height, width).
      batch_size: number of images.
      backbone: whether only the backbone is computed.
    """
    with_forms = models.with_implementation(model, platforms.default().forms)
    module, folded = compaction.fold_batch_norm(with_forms, variables)
    params = folded["params"]
    if backbone:
        module, params = module.backbone, params.get("backbone", {})
    images = np.random.default_rng(1).standard_normal((batch_size, *image_size, 3), np.float32)
    params, images = jax.device_put((params, images))
    compiled = jax.jit(module.apply)
    return lambda: compiled({"params": params}, images)


def measured(
    networks: Mapping[str, Trained], image_size: tuple[int, int], *, backbone: bool = False
) -> dict[str, dict[str, dict[str, float]]]:
    """Returns what networks cost with their zeros and without, latencies of all of them measured in turns.

    Args:
      networks: by name.
      image_size: (height, width) of the one image that MACs and latency are of.
      backbone: whether only the backbone counts.

    Returns:
      `{name: {"parameters" | "macs" | "latency_ms": {"dense": x, "compact": x}}}`; dense is with zeros.
    """
    both = {name: _both(trained) for name, trained in networks.items()}
    prefix = "backbone/" if backbone else ""
    costs = {
        name: {
            form: compaction.total(compaction.layer_costs(model, image_size), prefix) for form, (model, _) in of.items()
        }
        for name, of in both.items()
    }
    calls = {
        (name, form): call(model, variables, image_size, backbone=backbone)
        for name, of in both.items()
        for form, (model, variables) in of.items()
    }
    times = compaction.latencies(
        {f"{name}\n{form}": one for (name, form), one in calls.items()}, _ROUNDS, min_seconds=_SECONDS * len(calls)
    )
    return {
        name: {
            "parameters": {form: cost.parameters for form, cost in of.items()},
            "macs": {form: cost.macs for form, cost in of.items()},
            "latency_ms": {form: times[f"{name}\n{form}"] for form in of},
        }
        for name, of in costs.items()
    }


def _both(trained: Trained) -> dict[str, tuple[Any, PyTree]]:
    small = compaction.compact(trained.network.model, trained.variables)
    return {"dense": (trained.network.model, trained.variables), "compact": (small.model, small.variables)}
