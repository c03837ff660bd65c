"""The gradients of each task's own loss, for methods that look at how they lie to each other (`lim_jax.balancing`).

The backbone is run once. Each head's loss gives the gradient of its own parameters and of the features; what is shared
is compared either there, at the features, which costs nothing besides (`config.rep_grad`), or at the parameters of the
backbone, which takes its backward pass once per task, all of them at once (vmapped).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lim_jax import balancing, models
from lim_jax.config import Config
from lim_jax.network import Network
from lim_jax.runtime import devices
from lim_jax.sparsity import groups as groups_lib
from lim_jax.training.state import TrainState, step_key

PyTree = Any
Batch = Mapping[str, Any]


class Separate(NamedTuple):
    """What one batch says of each task by itself; on one device, reduced over none.

    Attributes:
      sums: `{task: (sum of the loss, valid pixels or examples)}`, of all devices.
      features: the gradients of the losses with respect to the features, with an axis of tasks, in alphabetical order.
      heads: `{task: gradients of the head's parameters}`.
      pull_back: the gradient of the backbone's parameters, given one of the features.
      batch_stats: moved towards this batch's moments.
    """

    sums: dict[str, tuple[jax.Array, jax.Array]]
    features: PyTree
    heads: dict[str, PyTree]
    pull_back: Callable[[PyTree], PyTree]
    batch_stats: PyTree


def separate(state: TrainState, batch: Batch, network: Network, config: Config, dropout_key: jax.Array) -> Separate:
    """Runs the network on a device's share of a batch and differentiates each task's loss by itself."""
    axis = devices.reduction_axis()
    model = models.recomputing(network.model) if config.recompute else network.model
    images = models.normalize_images(batch["image"])
    applied = {"train": True, "axis_name": axis, "mutable": ["batch_stats"], "rngs": {"dropout": dropout_key}}

    def backbone_of(params: PyTree) -> tuple[PyTree, PyTree]:
        variables = {"params": {**state.params, "backbone": params}, "batch_stats": state.batch_stats}
        features, updated = model.apply(variables, images, method="features", **applied)
        return features, updated["batch_stats"].get("backbone")

    def loss_of(params: PyTree, features: PyTree, task: str) -> tuple[jax.Array, Any]:
        variables = {"params": {**state.params, f"heads_{task}": params}, "batch_stats": state.batch_stats}
        logits, updated = model.apply(variables, features, task, method="output", **applied)
        total, count = sums = devices.total(network.tasks[task].loss(logits, batch["targets"][task]), axis)
        return total / jnp.maximum(count, 1), (sums, updated["batch_stats"].get(f"heads_{task}"))

    features, pull_back, moments = jax.vjp(backbone_of, state.params["backbone"], has_aux=True)
    batch_stats = {"backbone": moments}
    sums, heads, of_features = {}, {}, []
    for task in sorted(network.tasks):
        gradient = jax.value_and_grad(functools.partial(loss_of, task=task), argnums=(0, 1), has_aux=True)
        (_, (sums[task], batch_stats[f"heads_{task}"])), (heads[task], of_these) = gradient(
            state.params[f"heads_{task}"], features
        )
        of_features.append(of_these)
    known = {name: batch_stats[name] for name in state.batch_stats}
    stacked = jax.tree.map(lambda *each: jnp.stack(each), *of_features)
    return Separate(sums, stacked, heads, lambda cotangent: pull_back(cotangent)[0], known)


def balanced(
    found: Separate, method: balancing.GradientBalancing, key: jax.Array, *, at_features: bool
) -> dict[str, PyTree]:
    """Returns the gradients of the network's parameters under a method, of one device: average them over all.

    Args:
      found: of the batch.
      method: weighs the tasks.
      key: random, the same on all devices.
      at_features: whether it looks at the features' gradients, rather than those of the backbone's parameters.
    """
    axis = devices.reduction_axis()
    present = jnp.stack([found.sums[task][1] > 0 for task in sorted(found.sums)])
    if at_features:
        weights = method.weights(devices.total(balancing.gram(found.features), axis), present, key)
        backbone = found.pull_back(jax.tree.map(functools.partial(_weighted, weights), found.features))
    else:
        of_tasks = devices.mean(jax.vmap(found.pull_back)(found.features), axis)
        weights = method.weights(balancing.gram(of_tasks), present, key)
        backbone = jax.tree.map(functools.partial(_weighted, weights), of_tasks)
    return {"backbone": backbone} | {f"heads_{task}": gradients for task, gradients in found.heads.items()}


def group_cosines(
    state: TrainState, batch: Batch, *, network: Network, config: Config, groups: groups_lib.Groups
) -> jax.Array:
    """Returns the cosines between the tasks' gradients on the backbone's groups that are not zero, float32 (K, K)."""
    axis = devices.reduction_axis()
    found = separate(state, batch, network, config, step_key(config, state.step))
    of_tasks = devices.mean(jax.vmap(found.pull_back)(found.features), axis)
    kept = []
    leaves, gradients = jax.tree.leaves(state.params), groups_lib.leaves_by_path({"backbone": of_tasks})
    for layer in groups_lib.layers(groups, state.params):
        alive = ~groups_lib.zero_groups(layer, leaves)
        for path, axes in zip(layer.paths, layer.axes, strict=True):
            if path in gradients:  # the scope may have groups of the heads, too, which no two tasks share
                inside = tuple(axis for axis in range(gradients[path].ndim - 1) if axis not in axes)
                kept.append(jnp.where(jnp.expand_dims(alive, inside), gradients[path], 0))
    return balancing.cosines(balancing.gram(kept))


def _weighted(weights: jax.Array, gradients: jax.Array) -> jax.Array:
    """Returns the sum over the first axis with these weights, in the gradients' dtype."""
    return jnp.tensordot(weights, gradients.astype(jnp.float32), 1).astype(gradients.dtype)
