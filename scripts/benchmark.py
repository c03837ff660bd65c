"""Measurements, one subcommand each; every line on standard output is a JSON object.

    python scripts/benchmark.py optimizer [--repeats=7] [--backbone=resnet50d]
    python scripts/benchmark.py step      [--batch_size=4] [--image_size=128] [--strength=1e-5] [--dtype=float32] ...
    python scripts/benchmark.py inference [--batch_size=4] [--image_size=128] [--dtype=float32] ...
    python scripts/benchmark.py input     [--batch_size=16] [--image_size=256] [--workers=0,1,2] [--steps=0] ...

`optimizer` times one update of all parameters of the three-task network: `optax.adamw`, and Adam with weight decay
and the proximal step. `ratio` is the median of the latter over that of the former.

`step` times whole training steps of that network, as `lim_jax.main` takes them, on one device; `inference` times its
forward pass from uint8 images to the heads' outputs.

`input` reads rendered rooms: one example after another, then training batches per number of worker processes. With
`--steps=N` it also takes N real training steps and tells what share of the time they waited for data.
"""

import argparse
import functools
import itertools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from configs import nyu
from lim_jax import devices, models, network, sparsity, train
from lim_jax.data import pipeline, records, rooms
from lim_jax.data.nyu import SPECS as NYU_SPECS
from lim_jax.models import multitask
from lim_jax.train_state import create_train_state, initial_variables, make_optimizer

_INPUT_EXAMPLES = 64
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


def network_and_batch(arguments: argparse.Namespace) -> tuple[network.Network, Any, dict[str, Any]]:
    """Returns the three-task network, its configuration and a batch of random images and targets."""
    config = nyu.get_config().unlock()
    config.model.backbone, config.batch_size = arguments.backbone, arguments.batch_size
    config.dtype, config.sparsity.strength = arguments.dtype, getattr(arguments, "strength", 0.0)
    size = (arguments.image_size, arguments.image_size)
    config.dataset.image_size = size
    generator = np.random.default_rng(0)
    shape = (arguments.batch_size, *size)
    normals = generator.standard_normal((*shape, 3)).astype(np.float32)
    targets = {
        "segmentation": generator.integers(0, 40, shape, dtype=np.uint8),
        "depth": generator.uniform(1, 5, shape).astype(np.float32),
        "normals": normals / np.linalg.norm(normals, axis=-1, keepdims=True),
    }
    images = generator.integers(0, 256, (*shape, 3), dtype=np.uint8)
    return network.build(config, NYU_SPECS), config, {"image": images, "targets": targets}


def step(arguments: argparse.Namespace) -> None:
    """Times training steps: forward, backward, optimizer and proximal step."""
    compiled, state, batch = training(arguments)
    seconds = median_seconds(lambda state: compiled(state, batch)[0], state, arguments.repeats)
    report(step_seconds=seconds, images_per_second=arguments.batch_size / seconds, **described(arguments))


def training(arguments: argparse.Namespace) -> tuple[Callable[..., Any], Any, dict[str, Any]]:
    """Returns the compiled training step of the three-task network, its state and a random batch."""
    net, config, batch = network_and_batch(arguments)
    on = jax.local_devices()[:1]
    variables = initial_variables(net.model, config.dataset.image_size, 0)
    state = devices.replicate(create_train_state(variables, tuple(net.tasks), config, steps_per_epoch=1), on)
    optimizer = make_optimizer(config, state.params, steps_per_epoch=1)
    train_step = functools.partial(train.train_step, net=net, optimizer=optimizer, config=config)
    return devices.distribute(train_step, on, 1, donate_first=True), state, batch


def inference(arguments: argparse.Namespace) -> None:
    """Times the forward pass with all heads."""
    net, config, batch = network_and_batch(arguments)
    variables = initial_variables(net.model, config.dataset.image_size, 0)
    forward = jax.jit(lambda weights, images: net.model.apply(weights, models.normalize_images(images)))
    seconds = median_seconds(lambda _: forward(variables, batch["image"]), None, arguments.repeats)
    report(inference_seconds=seconds, images_per_second=arguments.batch_size / seconds, **described(arguments))


def input_pipeline(arguments: argparse.Namespace) -> None:
    """Times reading: single examples, batches per number of workers, and how long training steps wait for them."""
    size = (arguments.image_size, arguments.image_size)
    directory = rooms.prepare(arguments.data_dir, size, (_INPUT_EXAMPLES, 1, 1))
    source = records.RecordSource(directory, "train", rooms.SPECS)
    indices = itertools.cycle(range(len(source)))
    seconds = median_seconds(lambda _: (source[next(indices)], None)[1], None, arguments.repeats * len(source))
    report(read_ms=1e3 * seconds, **described(arguments))
    for workers in map(int, arguments.workers.split(",")):
        settings = {"batch_size": arguments.batch_size, "seed": 0, "num_workers": workers}
        batches = pipeline.train_iterator(source, **settings)
        next(batches)
        count = arguments.repeats * 4
        start = time.perf_counter()
        for _ in range(count):
            next(batches)
        elapsed = time.perf_counter() - start
        report(workers=workers, images_per_second=count * arguments.batch_size / elapsed)
        if arguments.steps:
            report(workers=workers, **waiting(arguments, batches))
        batches.close()


def waiting(arguments: argparse.Namespace, batches: Any) -> dict[str, float]:
    """Returns the percentage of the time that training steps on `batches` wait for data, and a step's seconds."""
    compiled, state, _ = training(arguments)
    state, _ = compiled(state, next(batches))  # compiles
    jax.block_until_ready(state)
    waited, start = 0.0, time.perf_counter()
    for _ in range(arguments.steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        state, _ = compiled(state, batch)
        jax.block_until_ready(state)
    elapsed = time.perf_counter() - start
    return {"waiting_percent": 100 * waited / elapsed, "step_seconds": elapsed / arguments.steps}


def described(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the sizes, the device and the versions that a figure belongs to."""
    sizes = {name: value for name, value in vars(arguments).items() if name != "run"}
    return {**sizes, "device": jax.devices()[0].device_kind, "jax": jax.__version__}


def report(**fields: Any) -> None:
    """Prints one JSON line."""
    print(
        json.dumps({key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in fields.items()})
    )


def main() -> None:
    """Parses the command line and runs one measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("optimizer", help=optimizer.__doc__)
    command.add_argument("--backbone", default="resnet50d")
    command.add_argument("--repeats", type=int, default=7)
    command.set_defaults(run=optimizer)
    for name, function in {"step": step, "inference": inference, "input": input_pipeline}.items():
        command = commands.add_parser(name, help=function.__doc__)
        command.add_argument("--backbone", default="resnet50d")
        reading = function is input_pipeline
        command.add_argument("--batch_size", type=int, default=16 if reading else 4)
        command.add_argument("--image_size", type=int, default=256 if reading else 128)
        command.add_argument("--dtype", default="float32")
        command.add_argument("--repeats", type=int, default=7)
        if function is not inference:
            command.add_argument("--strength", type=float, default=1e-5)
        if reading:
            command.add_argument("--workers", default="0,1,2", help="numbers of worker processes, with commas")
            command.add_argument("--steps", type=int, default=0, help="training steps to take, 0 = none")
            command.add_argument("--data_dir", default=None, help="where the records are kept")
        command.set_defaults(run=function)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
