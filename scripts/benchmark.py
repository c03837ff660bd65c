"""Measurements, one subcommand each; every line on standard output is a JSON object.

    python scripts/benchmark.py optimizer [--repeats=7] [--backbone=resnet50d]

`optimizer` times one update of all parameters of the three-task network: `optax.adamw`, and Adam with weight decay
and the proximal step. `ratio` is the median of the latter over that of the former.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lim_jax import models, sparsity
from lim_jax.models import multitask

TASKS = {"segmentation": 40, "depth": 1, "normals": 3}


def median_seconds(function: Callable[..., Any], state: Any, repeats: int) -> float:
    """Returns the median time of `state = function(state)`, after two calls that compile and warm up."""
    times = []
    for repeat in range(repeats + 2):
        start = time.perf_counter()
        state = jax.block_until_ready(function(state))
        if repeat >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def three_task_params(backbone: str) -> Any:
    """Returns parameters of the three-task network in random values of a trained network's size."""
    heads = {task: multitask.head("deeplab", outputs) for task, outputs in TASKS.items()}
    model = multitask.MultiTaskModel(models.backbone(backbone), heads)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images)["params"]
    leaves, treedef = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    return jax.tree.unflatten(
        treedef, [0.02 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    )


def optimizer(arguments: argparse.Namespace) -> None:
    """Times the update of `optax.adamw` and of `proximal_adam`."""
    params = three_task_params(arguments.backbone)
    gradients = jax.tree.map(lambda p: 0.05 * p[..., ::-1], params)
    groups = sparsity.backbone_groups(params)
    transformations = {
        "adamw": optax.adamw(1e-4, weight_decay=0.1),
        "proximal_adam": sparsity.proximal_adam(1e-4, 1e-5, groups, weight_decay=0.1),
    }
    seconds = {}
    for name, tx in transformations.items():

        def step(state, tx=tx):
            params, opt_state = state
            updates, opt_state = tx.update(gradients, opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        state = (jax.tree.map(jnp.copy, params), tx.init(params))
        compiled = jax.jit(step, donate_argnums=0).lower(state).compile()
        seconds[name] = median_seconds(compiled, state, arguments.repeats)
        memory = compiled.memory_analysis()
        report(optimizer=name, median_ms=1e3 * seconds[name], temporary_mb=memory.temp_size_in_bytes / 2**20)
    report(
        ratio=seconds["proximal_adam"] / seconds["adamw"],
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
        sparse_parameters=sparsity.sparsity_summary(params, groups).total.parameters,
    )


def report(**fields: Any) -> None:
    """Prints one JSON line."""
    print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in fields.items()}))


def main() -> None:
    """Parses the command line and runs one measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("optimizer", help=optimizer.__doc__)
    command.add_argument("--backbone", default="resnet50d")
    command.add_argument("--repeats", type=int, default=7)
    command.set_defaults(run=optimizer)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
