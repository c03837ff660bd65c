"""One training step: the gradients of a batch over all devices, and the update of the state by them.

On CPUs the two are programs of their own. XLA takes a time to load a program that grows with its matrix products times
its instructions; the former are all in the first and three quarters of the latter in the second, so that two load in a
third of the time of one that is both, and at the same time. The update, which takes longer, is compiled first.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lim_jax import balancing, models
from lim_jax.config import Config
from lim_jax.network import Network
from lim_jax.runtime import compilation, devices, platforms
from lim_jax.tasks.base import Task
from lim_jax.training import averaging, bad_steps, loss_weighting, task_gradients
from lim_jax.training.interruption import ASKED, DUE
from lim_jax.training.state import TrainState, completed_steps, method_of, step_key

PyTree = Any
Batch = Mapping[str, Any]
LossSums = Mapping[str, tuple[jax.Array, jax.Array]]  # by task: the sum over what is valid, and the number of that


class BatchGradients(NamedTuple):
    """The gradients of one batch, and what else its forward pass gives.

    Attributes:
      gradients: of the loss, shaped like the state's `learned`.
      batch_stats: the state's, moved towards this batch's moments.
      sums: `{"losses": {task: (sum of the loss over valid pixels or examples, their number)}, "total": (value, 1)}`,
        float32 scalars; of several processes also `interruption.ASKED` and `DUE`, which are 0 but for the
        steps after which all of them stop or save.
    """

    gradients: PyTree
    batch_stats: PyTree
    sums: PyTree


def batch_gradients(state: TrainState, batch: Batch, *, network: Network, config: Config) -> BatchGradients:
    """Returns the gradients of the loss of a batch, from one device's share of it; reduced over `devices.AXIS`.

    Losses are means over the valid pixels or examples of the *global* batch, and batch norm uses its moments,
    so the result does not depend on the number of devices.
    """
    method = method_of(config)
    if isinstance(method, balancing.GradientBalancing):
        return _balanced_gradients(state, batch, method, network=network, config=config)
    assert isinstance(method, balancing.LossBalancing)
    model = models.recomputing(network.model) if config.recompute else network.model
    images = models.normalize_images(batch["image"])
    key = step_key(config, state.step)

    def objective(learned: PyTree) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
        params, log_variances = loss_weighting.split(learned)
        variables = {"params": params, "batch_stats": state.batch_stats}
        sums, batch_stats = _loss_sums(model, variables, images, batch["targets"], network.tasks, key)
        total = method.total(*_means_and_counts(sums), log_variances, state.balancing, key)
        return total, (batch_stats, sums)

    (total, (batch_stats, sums)), gradients = jax.value_and_grad(objective, has_aux=True)(state.learned)
    # Every device differentiated the global loss with respect to its own copy of what is learned.
    gradients, batch_stats = devices.mean((gradients, batch_stats), devices.reduction_axis())
    return BatchGradients(gradients, batch_stats, _sums_of(sums, total, batch))


def _loss_sums(
    model: models.MultiTaskModel,
    variables: PyTree,
    images: jax.Array,
    targets: Mapping[str, jax.Array],
    tasks: Mapping[str, Task],
    dropout_key: jax.Array,
) -> tuple[LossSums, PyTree]:
    """Applies a network in training; returns the sums of the losses of all devices, and the new batch statistics."""
    axis = devices.reduction_axis()
    logits, updated = model.apply(
        variables, images, train=True, axis_name=axis, mutable=["batch_stats"], rngs={"dropout": dropout_key}
    )
    sums = {name: task.loss(logits[name], targets[name]) for name, task in tasks.items()}
    return devices.total(sums, axis), updated["batch_stats"]


def _means_and_counts(sums: LossSums) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Returns the losses, each a mean over what is valid, and the numbers of that."""
    means = {name: total / jnp.maximum(count, 1) for name, (total, count) in sums.items()}
    return means, {name: count for name, (_, count) in sums.items()}


def _balanced_gradients(
    state: TrainState, batch: Batch, method: balancing.GradientBalancing, *, network: Network, config: Config
) -> BatchGradients:
    """Returns the gradients of a batch as a method weighs those of the tasks; see `batch_gradients`."""
    key = step_key(config, state.step)
    found = task_gradients.separate(state, batch, network, config, key)
    of_params = task_gradients.balanced(found, method, key, at_features=config.rep_grad)
    gradients = {name: of_params[name] for name in state.params}
    gradients, batch_stats = devices.mean((gradients, found.batch_stats), devices.reduction_axis())
    learned = loss_weighting.join(gradients, jax.tree.map(jnp.zeros_like, state.log_variances))
    losses, _ = _means_and_counts(found.sums)
    total = sum(losses.values(), jnp.float32(0))
    return BatchGradients(learned, batch_stats, _sums_of(found.sums, total, batch))


def _sums_of(losses: Mapping[str, Any], total: jax.Array, batch: Batch) -> PyTree:
    """Returns `BatchGradients.sums`."""
    sums = {"losses": losses, "total": (total, jnp.float32(1))}
    for wish in (ASKED, DUE):
        if wish in batch:
            sums[wish] = devices.total(jnp.sum(batch[wish]), devices.reduction_axis())
    return sums


def update(
    state: TrainState, batch_gradients: BatchGradients, *, optimizer: optax.GradientTransformation, config: Config
) -> tuple[TrainState, PyTree]:
    """Takes a step of `optimizer` along the gradients of a batch; heads that are not active stay as they are.

    A batch whose loss or gradients are not finite changes nothing but the number of steps; neither does one without
    any label, since all that could move the parameters then are momentum, decay and the penalty.

    Returns:
      The state after it, and the batch's sums with what `bad_steps.finite` says of it.
    """
    gradients, batch_stats, sums = batch_gradients
    finite = bad_steps.finite(gradients, batch_stats, sums)
    has_label = functools.reduce(jnp.logical_or, [count > 0 for _, count in sums["losses"].values()])

    def taken() -> TrainState:
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.learned)
        updates = _only_active(state.active, updates, jax.tree.map(jnp.zeros_like, updates))
        learned: Any = optax.apply_updates(state.learned, updates)
        params, log_variances = loss_weighting.split(learned)
        new = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            log_variances=log_variances,
            batch_stats=_only_active(state.active, batch_stats, state.batch_stats),
            opt_state=opt_state,
        )
        if state.balancing:
            new = dataclasses.replace(new, balancing=_balancing_after(state, new, sums, method_of(config)))
        if config.ema_decay:
            new = dataclasses.replace(new, average=_averaged(state, new, config.ema_decay))
        return jax.tree.map(lambda leaf, old: leaf.astype(old.dtype), new, state)  # a computation may be in float64

    def passed_over() -> TrainState:
        return dataclasses.replace(state, step=state.step + 1)

    # Choosing between the old and the new value of each array instead would keep both of all of them on a CPU. XLA for
    # GPUs does so by itself, in the pass that writes an array.
    return jax.lax.cond(jnp.all(finite) & has_label, taken, passed_over), sums | {bad_steps.FINITE: finite}


def measured_again(state: TrainState, batch: Batch, *, network: Network, config: Config) -> TrainState:
    """Returns the state after a look at the losses of the batch that the last step was along, on one device's share."""
    images, key = models.normalize_images(batch["image"]), step_key(config, state.step - 1)  # the dropout of that step
    sums, _ = _loss_sums(network.model, state.variables, images, batch["targets"], network.tasks, key)
    found = balancing.stacked(*_means_and_counts(sums))
    return dataclasses.replace(state, balancing=method_of(config).after_measuring(state.balancing, *found))


def _balancing_after(state: TrainState, new: TrainState, sums: PyTree, method: balancing.Balancing) -> PyTree:
    """Returns the balancing method's state after a step.

    A method that looks at the losses again after the step has nothing to see where gradients are only added up.
    """
    moved = method.after_step(state.balancing, *balancing.stacked(*_means_and_counts(sums["losses"])))
    before, after = completed_steps(state.opt_state), completed_steps(new.opt_state)
    if not method.measures_again or before is None or after is None:
        return moved
    return jax.tree.map(functools.partial(jnp.where, after > before), moved, state.balancing)


def _averaged(state: TrainState, new: TrainState, limit: float) -> PyTree:
    """Returns the moving average after a step; batches whose gradients are only added up leave it as it is."""
    before, after = completed_steps(state.opt_state), completed_steps(new.opt_state)
    moved = averaging.moved(state.average, new.variables, new.step if after is None else after, limit)
    moved = {name: _only_active(state.active, tree, state.average[name]) for name, tree in moved.items()}
    if before is None or after is None:
        return moved
    return jax.tree.map(functools.partial(jnp.where, after > before), moved, state.average)


def whole_step(
    state: TrainState, batch: Batch, *, network: Network, config: Config, optimizer: optax.GradientTransformation
) -> tuple[TrainState, PyTree]:
    """`batch_gradients` and `update` as one function, for platforms that run them as one program."""
    return update(
        state, batch_gradients(state, batch, network=network, config=config), optimizer=optimizer, config=config
    )


class TrainStep:
    """The step of a network's training, over devices: (state, batch) -> (new state, the batch's `sums`).

    The state is replicated (`devices.replicate`) and its memory is used for the new one; the batch is this process's.
    """

    def __init__(
        self,
        network: Network,
        optimizer: optax.GradientTransformation,
        config: Config,
        local_devices: Sequence[devices.Device],
    ):
        platform = platforms.of(local_devices)
        network = network.on(platform)
        whole = functools.partial(whole_step, network=network, config=config, optimizer=optimizer)
        self._whole: Any = None
        if not platform.splits_step:
            self._whole = devices.data_parallel(whole, local_devices, num_replicated=1, donate_first=True)
        gradients_of = functools.partial(batch_gradients, network=network, config=config)
        self._gradients: Any = devices.data_parallel(gradients_of, local_devices, num_replicated=1)
        updated = functools.partial(update, optimizer=optimizer, config=config)
        self._update: Any = devices.replicated(updated, local_devices, donate_first=True)
        self._measured: Any = None
        if method_of(config).measures_again:
            measured = functools.partial(measured_again, network=network, config=config)
            self._measured = devices.data_parallel(measured, local_devices, num_replicated=1, donate_first=True)

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, PyTree]:
        """Takes a step."""
        if self._whole is not None:
            state, sums = self._whole(state, batch)
        else:
            state, sums = self._update(state, self._gradients(state, batch))
        return (state if self._measured is None else self._measured(state, batch)), sums

    def compile_ahead(self, state: TrainState, batch: Batch) -> None:
        """Starts compiling for a state and a batch of these shapes; they, or anything with shapes and dtypes."""
        if self._whole is not None:
            (self._whole,) = compilation.ahead("the training step", (self._whole, (state, batch)))
            return
        self._update, self._gradients = compilation.ahead(
            "the training step",
            (self._update, (state, self._gradients_like(state))),
            (self._gradients, (state, batch)),
        )

    def _gradients_like(self, state: TrainState) -> BatchGradients:
        """Returns anything shaped like the gradients of a batch."""
        pair = (np.float32(0), np.float32(0))
        sums = {"losses": dict.fromkeys(state.active, pair), "total": pair}
        return BatchGradients(state.learned, state.batch_stats, sums)


def _only_active(active: Mapping[str, jax.Array], new: PyTree, old: PyTree) -> PyTree:
    """Takes a task's head from `old` where the task is not active, everything else from `new`."""
    chosen = dict(new)
    for task, is_active in active.items():
        head = f"heads_{task}"
        if head in new:
            chosen[head] = jax.tree.map(functools.partial(jnp.where, is_active), new[head], old[head])
    return chosen
