"""Evaluates a network on a split: every example once, over any number of devices, in exact sums.

The device returns sums (int32 counts, float32 sums of one batch); the host adds them up in float64 and only
then divides, so the result depends neither on the batch size nor on the number of devices. The best constant
prediction goes through the same metrics: what a network must beat before its numbers mean anything.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax import tasks
from lim_jax.config import Config
from lim_jax.network import Network
from lim_jax.runtime import devices, platforms
from lim_jax.tasks.base import OUTPUT_STRIDE

if TYPE_CHECKING:  # predicting needs no data set
    from lim_jax.data import Dataset

PyTree = Any
Batch = Mapping[str, Any]
Results = dict[str, dict[str, float | None]]


def split_batches(dataset: "Dataset", split: str, config: Config) -> Iterable[Batch]:
    """Returns this process's padded batches of `split`, in a fixed order."""
    from lim_jax.data import pipeline

    return pipeline.evaluation_batches(
        dataset.sources[split],
        dataset.specs,
        batch_size=config.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_threads=config.dataset.num_threads,
        prefetch=config.dataset.prefetch_batches,
    )


class Evaluator:
    """Evaluates weights of one network; compiled once, for any split and any weights.

    Attributes:
      network: the network.
    """

    def __init__(self, network: Network, on: Sequence[devices.Device]):
        self.network = network
        self._devices = on
        computed = network.on(platforms.of(on))
        self._step = devices.distribute(lambda weights, batch: _network_sums(computed, weights, batch), on, 1)

    def __call__(self, weights: PyTree, batches: Iterable[Batch]) -> Results:
        """Returns `{task: {"loss": x, metric: x, ...}}`; None where nothing in the batches is labelled.

        Args:
          weights: `{"params", "batch_stats"}`.
          batches: from `split_batches`.
        """
        weights = devices.replicate(weights, self._devices)
        sums = accumulate(self._step(weights, batch) for batch in batches)
        return {name: _summarize(task, sums[name]) for name, task in self.network.tasks.items()}


def constant_baseline(
    network: Network, train: Iterable[Batch], test: Iterable[Batch], on: Sequence[devices.Device]
) -> Results:
    """Returns the results on `test` of the best prediction that ignores the image, chosen on `train`."""
    made = network.tasks
    statistics = devices.distribute(lambda batch: _psum(_statistics(made, batch)), on, 0)
    sums = accumulate(statistics(batch) for batch in train)
    logits = {name: task.constant_logits(sums[name]) for name, task in made.items()}
    measure = devices.distribute(lambda logits, batch: _psum(_constant_sums(made, logits, batch)), on, 1)
    sums = accumulate(measure(logits, batch) for batch in test)
    return {name: _summarize(task, sums[name]) for name, task in made.items()}


def accumulate(batches: Iterable[PyTree]) -> PyTree:
    """Adds up pytrees of device arrays as float64 NumPy arrays, staying one batch behind the device."""
    total, pending = None, None
    for sums in batches:
        total = total if pending is None else _add(total, pending)
        pending = sums
    return _add(total, pending)


def predictor(network: Network, image_size: tuple[int, int]) -> Callable[[PyTree, jax.Array], dict[str, jax.Array]]:
    """Returns a compiled function (weights, uint8 images) -> {task: prediction at the images' size}."""

    computed = network.on(platforms.default())

    def predict(weights: PyTree, images: jax.Array) -> dict[str, jax.Array]:
        logits = computed.logits(weights, images)
        return {name: task.predict(logits[name], image_size) for name, task in network.tasks.items()}

    return jax.jit(predict)


def _network_sums(network: Network, weights: PyTree, batch: Batch) -> PyTree:
    logits = network.logits(weights, batch["image"])
    return _psum({name: _sums(task, logits[name], batch["targets"][name]) for name, task in network.tasks.items()})


def _constant_sums(made: Mapping[str, tasks.Task], constants: Mapping[str, jax.Array], batch: Batch) -> PyTree:
    sums = {}
    for name, task in made.items():
        examples, height, width, _ = batch["image"].shape
        cells = (-(-height // OUTPUT_STRIDE), -(-width // OUTPUT_STRIDE))
        shape = (examples, *(() if task.spec.kind == "attribute" else cells), task.num_outputs)
        sums[name] = _sums(task, jnp.broadcast_to(constants[name], shape), batch["targets"][name])
    return sums


def _sums(task: tasks.Task, logits: jax.Array, target: jax.Array) -> PyTree:
    return {"loss": task.loss(logits, target), "metrics": task.metrics(logits, target)}


def _statistics(made: Mapping[str, tasks.Task], batch: Batch) -> PyTree:
    return {name: task.constant_statistics(batch["targets"][name]) for name, task in made.items()}


def _psum(sums: PyTree) -> PyTree:
    return jax.lax.psum(sums, devices.AXIS)


def _summarize(task: tasks.Task, sums: PyTree) -> dict[str, float | None]:
    loss, weight = sums["loss"]
    return {"loss": float(loss) / float(weight) if weight else None, **task.summarize(sums["metrics"])}


def _add(total: PyTree | None, sums: PyTree) -> PyTree:
    host = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), jax.device_get(sums))
    return host if total is None else jax.tree.map(np.add, total, host)
