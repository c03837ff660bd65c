"""The same network as anybody would write it in Flax: `nn.Conv`, `nn.BatchNorm`, `nn.max_pool`, `optax.adamw`.

The baseline that comes with the benchmarks. `from_lim_jax` renames lim_jax's parameters to this module's, with which
both compute the same outputs (tests/scripts/test_benchmark.py). Losses and their weighting are lim_jax's own, few
operations.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from benchmarks import networks
from benchmarks.job import OUTPUTS, Job
from benchmarks.lim_jax_code import Repeated
from benchmarks.random_batch import batch
from lim_jax import models
from lim_jax.balancing import Uncertainty
from lim_jax.models import resnet
from lim_jax.training import loss_weighting

_he_normal = nn.initializers.he_normal()


class ConvNorm(nn.Module):
    """A convolution, padded to keep the size, and batch norm."""

    features: int
    kernel_size: int = 1
    stride: int = 1
    dilation: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        padding = self.dilation * (self.kernel_size // 2)
        x = nn.Conv(
            self.features,
            (self.kernel_size, self.kernel_size),
            strides=self.stride,
            padding=padding,
            kernel_dilation=self.dilation,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=_he_normal,
            name="conv",
        )(x)
        return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, name="bn")(x)


class Block(nn.Module):
    """A residual block."""

    spec: resnet.BlockSpec
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        identity = x
        for i, conv in enumerate(self.spec.convs, start=1):
            sizes = (conv.features, conv.kernel_size, conv.stride, conv.dilation)
            x = ConvNorm(*sizes, self.dtype, name=f"conv{i}")(x if i == 1 else nn.relu(x), train)
        if self.spec.downsample:
            sizes = (self.spec.features, 1, self.spec.stride)
            identity = ConvNorm(*sizes, dtype=self.dtype, name="downsample")(identity, train)
        return nn.relu(x + identity)


class Backbone(nn.Module):
    """The dilated ResNet."""

    architecture: resnet.Architecture
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for i, conv in enumerate(self.architecture.stem, start=1):
            layer = ConvNorm(conv.features, conv.kernel_size, conv.stride, dtype=self.dtype, name=f"stem_conv{i}")
            x = nn.relu(layer(x, train))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, blocks in enumerate(self.architecture.stages, start=1):
            for i, block in enumerate(blocks):
                x = Block(block, self.dtype, name=f"layer{stage}_{i}")(x, train)
        return x


class Head(nn.Module):
    """The DeepLab head."""

    outputs: int
    channels: int
    dtype: str
    dropout: float = 0.3

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> jax.Array:
        def conv(name: str, x: jax.Array, kernel_size: int = 1, dilation: int = 1) -> jax.Array:
            sizes = (self.channels, kernel_size, 1, dilation)
            return nn.relu(ConvNorm(*sizes, self.dtype, name=name)(x, train))

        dropout = nn.Dropout(self.dropout, deterministic=not train)
        branches = [dropout(conv("aspp_pointwise", features))]
        branches += [conv(f"aspp_dilated{i}", features, 3, rate) for i, rate in enumerate((12, 24, 36), start=1)]
        pooled = conv("aspp_pooled", jnp.mean(features, axis=(1, 2), keepdims=True))
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        x = dropout(conv("project", jnp.concatenate(branches, axis=-1)))
        x = conv("refine", x, 3)
        return nn.Conv(self.outputs, (1, 1), dtype=self.dtype, name="logits")(x).astype(jnp.float32)


class PlainModel(nn.Module):
    """Backbone and heads: normalised images (N, H, W, 3) -> logits per task."""

    job: Job
    dropout: float = 0.3

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        job = self.job
        architecture = resnet.architecture(job.backbone, job.width_multiplier)
        features = Backbone(architecture, job.dtype, name="backbone")(images, train)
        return {
            task: Head(outputs, job.head_channels, job.dtype, self.dropout, name=f"heads_{task}")(features, train)
            for task, outputs in OUTPUTS.items()
        }


def from_lim_jax(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Renames lim_jax's variables to `PlainModel`'s: a kernel beside a batch norm is that of the module `conv`."""

    def renamed(params: Mapping[str, Any]) -> dict[str, Any]:
        if "bn" in params:
            return {"conv": {"kernel": params["kernel"]}, "bn": params["bn"]}
        return {name: renamed(branch) if isinstance(branch, Mapping) else branch for name, branch in params.items()}

    return dict(variables, params=renamed(variables["params"]))


def prepare(job: Job) -> Callable[[], Any]:
    """Returns a function that runs the job once; what it returns has to be waited for."""
    return {"step": _step, "inference": _inference}[job.what](job)


def train_step(
    state: tuple[Any, Any, Any, jax.Array], batch: Mapping[str, Any], *, model: PlainModel, tx: Any, tasks: Any
) -> tuple[tuple[Any, Any, Any, jax.Array], jax.Array]:
    """Returns the state (params, batch_stats, opt_state, key) after a step, and the loss."""
    params, batch_stats, opt_state, key = state
    key, dropout_key = jax.random.split(key)

    def objective(params: Any) -> tuple[jax.Array, Any]:
        logits, updated = model.apply(
            {"params": params["network"], "batch_stats": batch_stats},
            models.normalize_images(batch["image"]),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        sums = {name: task.loss(logits[name], batch["targets"][name]) for name, task in tasks.items()}
        losses = {name: total / jnp.maximum(weight, 1) for name, (total, weight) in sums.items()}
        weights = {name: weight for name, (_, weight) in sums.items()}
        return Uncertainty().judged(losses, weights, params["loss_weighting"]), updated["batch_stats"]

    (loss, batch_stats), gradients = jax.value_and_grad(objective, has_aux=True)(params)
    updates, opt_state = tx.update(gradients, opt_state, params)
    return (optax.apply_updates(params, updates), batch_stats, opt_state, key), loss


def initial_state(job: Job, model: PlainModel, tx: optax.GradientTransformation) -> tuple[Any, Any, Any, jax.Array]:
    """Returns the state before the first step."""
    variables = _initial_variables(job, model)
    params = {"network": variables["params"], "loss_weighting": loss_weighting.initial_log_variances(OUTPUTS)}
    return params, variables["batch_stats"], jax.jit(tx.init)(params), jax.random.key(0)


def _initial_variables(job: Job, model: PlainModel) -> Any:
    images = np.zeros((1, job.image_size, job.image_size, 3), np.float32)
    return jax.jit(lambda key: model.init(key, images))(jax.random.key(0))


def _step(job: Job) -> Callable[[], Any]:
    model, tx = PlainModel(job), optax.adamw(1e-4, weight_decay=0.1)
    tasks = networks.build(networks.configuration(job)).tasks
    step = jax.jit(lambda state, batch: train_step(state, batch, model=model, tx=tx, tasks=tasks)[0], donate_argnums=0)
    examples, state = jax.device_put(batch(job)), initial_state(job, model, tx)
    compiled = step.lower(state, examples).compile()
    return Repeated(lambda state: compiled(state, examples), state, {"step": compiled})


def _inference(job: Job) -> Callable[[], Any]:
    model = PlainModel(job)
    variables = _initial_variables(job, model)
    forward = jax.jit(lambda weights, images: model.apply(weights, models.normalize_images(images)))
    images = jax.device_put(batch(job)["image"])
    return lambda: forward(variables, images)
