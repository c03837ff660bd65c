"""The state of training, and how it begins: parameters, batch statistics, optimizer, active heads.

`params` is the model's parameter tree with one more branch, `loss_weighting`, that holds the learned `s_t`
(DESIGN: uncertainty weighting). The optimizer is `lim_jax.sparsity.proximal_adam` behind
`optax.inject_hyperparams`, so that learning rate and strength are data in the state, not compiled constants.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax

from lim_jax import loss_weighting, sparsity

PyTree = Any


@flax.struct.dataclass
class TrainState:
    """Everything that a training step changes.

    Attributes:
      step: int32 scalar, number of finished steps.
      params: float32 pytree: the model's parameters and `loss_weighting`.
      batch_stats: float32 pytree: running means and variances of the batch norms.
      opt_state: the optimizer's state.
      active: {task: bool scalar}; the head of a task that is not active stays as it is.
    """

    step: jax.Array
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    active: Mapping[str, jax.Array]


def initial_variables(model: nn.Module, image_size: tuple[int, int], seed: int) -> PyTree:
    """Returns freshly drawn `{"params", "batch_stats"}` of `model` for images of `(height, width)`."""
    images = jnp.zeros((1, *image_size, 3), jnp.float32)
    return jax.jit(lambda key: model.init(key, images, train=False))(jax.random.key(seed))


def make_optimizer(config: ml_collections.ConfigDict, params: PyTree) -> optax.GradientTransformation:
    """Returns the optimizer that `config` asks for, for parameters shaped like `params`."""
    penalty = config.sparsity.penalty if config.sparsity.strength > 0 else "none"
    decayed = {
        name: jax.tree.map(lambda _, decay=name != "loss_weighting": decay, branch) for name, branch in params.items()
    }
    coupled = config.published.coupled_weight_decay_when_dense and penalty == "none"

    def build(learning_rate, strength):
        if coupled:
            decay = optax.add_decayed_weights(config.weight_decay, decayed)
            return optax.chain(decay, optax.adam(learning_rate))
        return sparsity.proximal_adam(
            learning_rate,
            strength,
            sparsity.backbone_groups,
            weight_decay=config.weight_decay,
            weight_decay_mask=decayed,
            penalty=penalty,
            metric=config.sparsity.metric,
        )

    return optax.inject_hyperparams(build)(learning_rate=config.learning_rate, strength=float(config.sparsity.strength))


def create_train_state(variables: PyTree, tasks: Sequence[str], config: ml_collections.ConfigDict) -> TrainState:
    """Returns the state before the first step, with the model's `variables`."""
    params = dict(variables["params"], loss_weighting=loss_weighting.initial_log_variances(tasks))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables["batch_stats"],
        opt_state=jax.jit(make_optimizer(config, params).init)(params),
        active={task: jnp.ones((), bool) for task in tasks},
    )
