"""The state of training, and how it begins: parameters, loss weights, batch statistics, optimizer, active heads.

The optimizer is `lim_jax.sparsity.proximal_adam` behind
`optax.inject_hyperparams`, so that learning rate and strength are data in the state, not compiled constants.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from lim_jax import models, sparsity
from lim_jax.config import Config
from lim_jax.runtime import platforms
from lim_jax.sparsity.groups import Groups
from lim_jax.training import loss_weighting

PyTree = Any


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
    """

    step: jax.Array
    params: PyTree
    log_variances: Mapping[str, jax.Array]
    batch_stats: PyTree
    opt_state: PyTree
    active: Mapping[str, jax.Array]

    @property
    def variables(self) -> dict[str, PyTree]:
        """What the model is applied with: `{"params", "batch_stats"}`."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def learned(self) -> dict[str, PyTree]:
        """What the optimizer moves: the parameters and the loss weights in one tree (`loss_weighting.join`)."""
        return loss_weighting.join(self.params, self.log_variances)


def sparse_groups(config: Config) -> Groups:
    """Returns the function from the network's parameters to their groups in the scope that `config` asks for.

    A run makes it once: what is compiled for these groups is found again by this object.
    """
    return functools.partial(models.backbone_groups, scope=config.sparsity.scope)


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
    start = wanted.start_epoch * steps_per_epoch
    penalized = (config.num_epochs - wanted.healing_epochs) * steps_per_epoch
    coupled = config.published.coupled_weight_decay_when_dense and not sparse

    def build(learning_rate, strength):
        if coupled:
            decay = optax.add_decayed_weights(config.weight_decay, _is_decayed)
            return optax.chain(decay, optax.adam(learning_rate))
        if wanted.target > 0:
            strength = sparsity.TargetSparsity(wanted.target, penalized, start)
        elif wanted.target_macs > 0:
            strength = sparsity.TargetSparsity(1 - wanted.target_macs, penalized, start, measure=removed_macs)
        elif start > 0:
            strength = functools.partial(_from_step, start, strength)
        return sparsity.proximal_adam(
            learning_rate,
            strength,
            groups,
            weight_decay=config.weight_decay,
            weight_decay_mask=_is_decayed,
            penalty=wanted.penalty if sparse else "none",
            metric=wanted.metric,
            bias_corrected=wanted.bias_corrected,
            original=original,
            platform=platform,
            healing_from=penalized if wanted.healing_epochs else None,
        )

    strength = float(wanted.strength) if sparse else 0.0
    return optax.inject_hyperparams(build)(learning_rate=config.learning_rate, strength=strength)


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


def create_train_state(variables: PyTree, tasks: Sequence[str], optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state before the first step, with the model's `variables`."""
    log_variances = loss_weighting.initial_log_variances(tasks)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        log_variances=log_variances,
        batch_stats=variables["batch_stats"],
        opt_state=jax.jit(optimizer.init)(loss_weighting.join(variables["params"], log_variances)),
        active={task: jnp.ones((), bool) for task in tasks},
    )
