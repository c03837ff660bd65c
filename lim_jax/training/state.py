"""The state of training, and how it begins: parameters, loss weights, batch statistics, optimizer, active heads.

The optimizer is Adam with `lim_jax.sparsity.proximal` after it, behind `optax.inject_hyperparams`, so that learning
rate and strength are data in the state, not compiled constants.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from lim_jax import balancing, models, sparsity
from lim_jax.config import Config
from lim_jax.runtime import platforms
from lim_jax.sparsity.groups import Groups
from lim_jax.training import loss_weighting, schedules

PyTree = Any
_EPS, _B2 = 1e-8, 0.999  # of Adam


@flax.struct.dataclass
class TrainState:
    """Everything that a training step changes.

    Attributes:
      step: int32 scalar, number of finished steps.
      params: float32 pytree: the network's parameters.
      log_variances: {task: float32 scalar}: the s_t of `loss_weighting`, learned with them.
      batch_stats: float32 pytree: running means and variances of the batch norms.
      opt_state: the optimizer's state.
      active: {task: bool scalar}; the head of a task that is not active stays as it is.
      balancing: the state of the method that balances the tasks (`lim_jax.balancing`); {} for most.
      average: the moving average of `variables` (`averaging`); () if the run has none.
    """

    step: jax.Array
    params: PyTree
    log_variances: Mapping[str, jax.Array]
    batch_stats: PyTree
    opt_state: PyTree
    active: Mapping[str, jax.Array]
    balancing: PyTree = dataclasses.field(default_factory=dict)
    average: PyTree = ()

    @property
    def variables(self) -> dict[str, PyTree]:
        """What the model is applied with: `{"params", "batch_stats"}`."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def evaluated(self) -> dict[str, PyTree]:
        """What is evaluated and kept as the network: the moving average, if there is one."""
        return self.average or self.variables

    @property
    def learned(self) -> dict[str, PyTree]:
        """What the optimizer moves: the parameters and the loss weights in one tree (`loss_weighting.join`)."""
        return loss_weighting.join(self.params, self.log_variances)


def sparse_groups(config: Config) -> Groups:
    """Returns the function from the network's parameters to their groups in the scope that `config` asks for.

    A run makes it once: what is compiled for these groups is found again by this object.
    """
    return functools.partial(models.backbone_groups, scope=config.sparsity.scope)


def method_of(config: Config) -> balancing.Balancing:
    """Returns the method by which the tasks are balanced."""
    return balancing.create(config.loss_weighting, config.tasks, config.loss_weights)


def step_key(config: Config, step: jax.Array) -> jax.Array:
    """Returns the random key of a step, the same on all devices, given the number of steps before it."""
    return jax.random.fold_in(jax.random.key(config.seed), step)


def make_optimizer(
    config: Config,
    groups: Groups,
    steps_per_epoch: int,
    original: sparsity.Sizes | None = None,
    platform: str | None = None,
    removed_macs: Callable[[Mapping[str, jax.Array]], jax.Array] | None = None,
) -> optax.GradientTransformation:
    """Returns the optimizer that `config` asks for, of trees like `TrainState.learned`.

    Args:
      config: of the run.
      groups: what `sparse_groups` returns for it.
      steps_per_epoch: of the run.
      original: the sizes of the layers before groups were removed from the network, if they were.
      platform: what its updates are compiled for; None = JAX's default.
      removed_macs: from `compaction.removed_macs`, where the target is one of MACs.
    """
    platform = platform or platforms.default().name
    wanted = config.sparsity
    sparse = wanted.penalty != "none" and (wanted.strength > 0 or wanted.target > 0 or wanted.target_macs > 0)
    start = schedules.num_steps(wanted.start_epoch, config, steps_per_epoch)
    penalized = schedules.num_steps(config.num_epochs - wanted.healing_epochs, config, steps_per_epoch)
    as_published = config.published.coupled_weight_decay_when_dense and not sparse
    factor = schedules.factor(config, steps_per_epoch)

    def build(learning_rate, strength):
        rate: Any = learning_rate if factor is None else functools.partial(_scaled, factor, learning_rate)
        inner = _adam(config, rate, coupled=as_published or config.weight_decay_form == "coupled")
        if not as_published:
            inner = sparsity.proximal(
                inner,
                rate,
                _strength(wanted, strength, start, penalized, removed_macs),
                groups,
                penalty=wanted.penalty if sparse else "none",
                metric=wanted.metric,
                eps=_EPS,
                bias_correction=_B2 if wanted.bias_corrected else None,
                original=original,
                platform=platform,
                healing_from=penalized if wanted.healing_epochs else None,
            )
        if config.accumulation_steps > 1:
            return optax.MultiSteps(inner, config.accumulation_steps).gradient_transformation()
        return inner

    strength = float(wanted.strength) if sparse else 0.0
    return optax.inject_hyperparams(build)(learning_rate=config.learning_rate, strength=strength)


def _strength(
    wanted: Config,
    given: jax.Array,
    start: int,
    end: int,
    removed_macs: Callable[[Mapping[str, jax.Array]], jax.Array] | None,
) -> sparsity.TargetSparsity | optax.ScalarOrSchedule:
    """Returns what gives the strength between two steps: what finds it where there is a target, or the one `given`."""
    if wanted.target > 0:
        return sparsity.TargetSparsity(wanted.target, end, start)
    if wanted.target_macs > 0:
        return sparsity.TargetSparsity(1 - wanted.target_macs, end, start, measure=removed_macs)
    return functools.partial(_from_step, start, given) if start > 0 else given


def _adam(config: Config, rate: optax.ScalarOrSchedule, *, coupled: bool) -> optax.GradientTransformation:
    """Returns Adam with weight decay in its step (decoupled) or in the gradient (coupled), of gradients as clipped."""
    if coupled:
        decay = optax.add_decayed_weights(config.weight_decay, _is_decayed)
        adam = optax.chain(decay, optax.adam(rate, b2=_B2, eps=_EPS))
    else:
        adam = optax.adamw(rate, b2=_B2, eps=_EPS, weight_decay=config.weight_decay, mask=_is_decayed)
    if config.gradient_clipping:
        return optax.chain(optax.clip_by_global_norm(config.gradient_clipping), adam)
    return adam


def last_learning_rate(opt_state: PyTree, config: Config, steps_per_epoch: int) -> float:
    """Returns the learning rate of the last step, or of the one whose gradients are being accumulated."""
    base, factor = float(opt_state.hyperparams["learning_rate"]), schedules.factor(config, steps_per_epoch)
    if factor is None:
        return base
    return base * float(jnp.asarray(factor(max(int(opt_state.count) - 1, 0) // config.accumulation_steps)))


def completed_steps(opt_state: PyTree) -> jax.Array | None:
    """Returns how many steps the optimizer has completed, each of several accumulated batches; None if of one each."""
    state = opt_state.inner_state
    return jnp.asarray(state.gradient_step) if isinstance(state, optax.MultiStepsState) else None


def last_strength(opt_state: PyTree) -> float:
    """Returns the strength λ of the last step; 0 where the optimizer has no proximal step."""
    try:
        return float(sparsity.current_strength(opt_state))
    except ValueError:
        return 0.0


def _is_decayed(learned: PyTree) -> PyTree:
    """Weight decay is for the network, not for the loss weights."""
    params, log_variances = loss_weighting.split(learned)
    return loss_weighting.join(jax.tree.map(lambda _: True, params), jax.tree.map(lambda _: False, log_variances))


def _from_step(start: int, value: jax.Array, count: jax.typing.ArrayLike) -> jax.Array:
    return jnp.where(jnp.greater_equal(count, start), value, 0.0)


def _scaled(factor: optax.Schedule, base: jax.Array, count: jax.Array) -> jax.Array:
    return base * factor(count)


def first_state(variables: PyTree, optimizer: optax.GradientTransformation, config: Config) -> TrainState:
    """Returns the state before the first step of the run that `config` describes."""
    method, averages = method_of(config), config.ema_decay > 0
    return create_train_state(variables, config.tasks, optimizer, method=method, averages=averages)


def create_train_state(
    variables: PyTree,
    tasks: Sequence[str],
    optimizer: optax.GradientTransformation,
    *,
    method: balancing.Balancing | None = None,
    averages: bool = False,
) -> TrainState:
    """Returns the state before the first step.

    Args:
      variables: of the model.
      tasks: their names.
      optimizer: of the run.
      method: that balances the tasks; None: one without a state.
      averages: whether there is a moving average of the variables.
    """
    log_variances = loss_weighting.initial_log_variances(tasks)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        log_variances=log_variances,
        batch_stats=variables["batch_stats"],
        opt_state=jax.jit(optimizer.init)(loss_weighting.join(variables["params"], log_variances)),
        active={task: jnp.ones((), bool) for task in tasks},
        balancing={} if method is None else method.init(len(tasks)),
        average=jax.tree.map(jnp.copy, dict(variables)) if averages else (),
    )
