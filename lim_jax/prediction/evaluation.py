"""Evaluates a network on a split: every example once, over any number of devices, in exact sums.

The device returns sums (int32 counts, float32 sums of one batch); the host adds them up in float64 and only
then divides, so the result depends neither on the batch size nor on the number of devices. The baseline, the
best constant prediction, goes through the same metrics: what a network must beat before its numbers mean anything.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.config import Config
from lim_jax.network import Network, Trained
from lim_jax.runtime import compilation, devices, platforms
from lim_jax.tasks.base import Task

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
    """Evaluates one network; compiled once, for any split and any variables.

    Attributes:
      network: the network.
    """

    def __init__(self, network: Network, local_devices: Sequence[devices.Device]):
        self.network = network
        self._devices = local_devices
        computed = network.on(platforms.of(local_devices))
        self._step: Any = devices.data_parallel(
            lambda variables, batch: _network_sums(computed, variables, batch), local_devices, 1
        )

    def compile_ahead(self, variables: PyTree, batch: Batch) -> None:
        """Starts compiling for variables and batches of these shapes; they, or anything with shapes and dtypes."""
        (self._step,) = compilation.ahead("evaluation", (self._step, (variables, batch)))

    def __call__(self, variables: PyTree, batches: Iterable[Batch]) -> Results:
        """Returns `{task: {"loss": x, metric: x, ...}}`; None where nothing in the batches is labelled.

        Args:
          variables: `{"params", "batch_stats"}`.
          batches: from `split_batches`.
        """
        return self._summarized(self._sums(variables, batches))

    def with_details(self, variables: PyTree, batches: Iterable[Batch]) -> tuple[Results, dict[str, dict[str, Any]]]:
        """Returns the same, and per task what else there is to say of the same sums (`Task.details`), if there is."""
        sums = self._sums(variables, batches)
        details = {name: task.details(sums[name]["metrics"]) for name, task in self.network.tasks.items()}
        return self._summarized(sums), {name: found for name, found in details.items() if found}

    def _sums(self, variables: PyTree, batches: Iterable[Batch]) -> PyTree:
        variables = devices.replicate(variables, self._devices)
        return accumulate(self._step(variables, batch) for batch in batches)

    def _summarized(self, sums: PyTree) -> Results:
        return {name: _summarize(task, sums[name]) for name, task in self.network.tasks.items()}


def baseline(
    network: Network, train: Iterable[Batch], test: Iterable[Batch], local_devices: Sequence[devices.Device]
) -> Results:
    """Returns the results on `test` of the best prediction that ignores the image, chosen on `train`."""
    tasks = network.tasks
    statistics = devices.data_parallel(lambda batch: _psum(_baseline_statistics(tasks, batch)), local_devices, 0)
    sums = accumulate(statistics(batch) for batch in train)
    logits = {name: task.baseline_logits(sums[name]) for name, task in tasks.items()}
    measure = devices.data_parallel(lambda logits, batch: _psum(_baseline_sums(tasks, logits, batch)), local_devices, 1)
    sums = accumulate(measure(logits, batch) for batch in test)
    return {name: _summarize(task, sums[name]) for name, task in tasks.items()}


def example_losses(trained: Trained, batches: Iterable[Batch]) -> dict[str, np.ndarray]:
    """Returns every example's own loss by task, float32, in the order of the batches; NaN where it has no label."""
    network = trained.network.on(platforms.default())

    def losses(variables: PyTree, batch: Batch) -> PyTree:
        logits = network.logits(variables, batch["image"])
        return {
            name: jax.vmap(functools.partial(_own_loss, task))(logits[name], batch["targets"][name])
            for name, task in network.tasks.items()
        }

    computed, found = jax.jit(losses), {name: [] for name in network.tasks}
    for batch in batches:
        for name, (total, weight) in jax.device_get(computed(trained.variables, batch)).items():
            found[name].append(np.where(weight > 0, total / np.maximum(weight, 1), np.nan))
    return {name: np.concatenate(values) for name, values in found.items()}


def _own_loss(task: Task, logits: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    return task.loss(logits[None], target[None])


def accumulate(batches: Iterable[PyTree]) -> PyTree:
    """Adds up pytrees of device arrays as float64 NumPy arrays, staying one batch behind the device."""
    total, pending = None, None
    for sums in batches:
        total = total if pending is None else _add(total, pending)
        pending = sums
    return _add(total, pending)


def predictor(network: Network, image_size: tuple[int, int]) -> Callable[[PyTree, Any], dict[str, jax.Array]]:
    """Returns a compiled function (variables, uint8 images) -> {task: prediction at the images' size}."""
    computed = network.on(platforms.default())

    def predict(variables: PyTree, images: jax.Array) -> dict[str, jax.Array]:
        logits = computed.logits(variables, images)
        return {name: task.predict(logits[name], image_size) for name, task in network.tasks.items()}

    return jax.jit(predict)


def _network_sums(network: Network, variables: PyTree, batch: Batch) -> PyTree:
    logits = network.logits(variables, batch["image"])
    return _psum({name: _sums(task, logits[name], batch["targets"][name]) for name, task in network.tasks.items()})


def _baseline_sums(tasks: Mapping[str, Task], logits: Mapping[str, jax.Array], batch: Batch) -> PyTree:
    examples, height, width, _ = batch["image"].shape
    sums = {}
    for name, task in tasks.items():
        shape = (examples, *task.logits_shape((height, width)))
        sums[name] = _sums(task, jnp.broadcast_to(logits[name], shape), batch["targets"][name])
    return sums


def _sums(task: Task, logits: jax.Array, target: jax.Array) -> PyTree:
    return {"loss": task.loss(logits, target), "metrics": task.metrics(logits, target)}


def _baseline_statistics(tasks: Mapping[str, Task], batch: Batch) -> PyTree:
    return {name: task.baseline_statistics(batch["targets"][name]) for name, task in tasks.items()}


def _psum(sums: PyTree) -> PyTree:
    return jax.lax.psum(sums, devices.AXIS)


def _summarize(task: Task, sums: PyTree) -> dict[str, float | None]:
    loss, valid_count = sums["loss"]
    return {"loss": float(loss) / float(valid_count) if valid_count else None, **task.summarize(sums["metrics"])}


def _add(total: PyTree | None, sums: PyTree) -> PyTree:
    host = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), jax.device_get(sums))
    return host if total is None else jax.tree.map(np.add, total, host)
