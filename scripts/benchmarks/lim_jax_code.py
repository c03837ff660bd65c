"""lim_jax as a contender: the training step of `lim_jax.main`, its networks, its optimizer."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks import networks
from benchmarks.job import Job
from benchmarks.random_batch import batch
from lim_jax import compaction, models, network, ops, sparsity
from lim_jax.models import layers
from lim_jax.runtime import devices
from lim_jax.training import initialization
from lim_jax.training import step as train_step
from lim_jax.training.state import create_train_state, make_optimizer

_SGD = optax.sgd(1e-6)

# Contenders that run one form of the operations of `lim_jax.ops` whatever the device is.
_FORMS = {"lim_jax_reference": "REFERENCE", "lim_jax_cpu": "CPU", "lim_jax_gpu": "GPU"}


def prepare(job: Job) -> Callable[[], Any]:
    """Returns a function that runs the job once, as lim_jax's verbs would; what it returns has to be waited for."""
    devices.keep_freed_memory()
    return {"step": _step, "gradients": _step, "inference": _inference, "optimizer": _optimizer}[job.what](job)


def training(job: Job) -> tuple[Callable[..., Any], Any]:
    """Returns the training step on one device, (state, batch) -> (state, sums), and the first state.

    For "gradients" the optimizer is SGD, which costs next to nothing.
    """
    config = networks.configuration(job)
    net = _network(job, config)
    on = jax.local_devices()[:1]
    fresh = initialization.FreshVariables(net.model, config.dataset.image_size)
    shapes = jax.eval_shape(functools.partial(_first_state, job, config), fresh.shapes)
    step = train_step.TrainStep(net, _optimizer_of(job, config, shapes), config, on)
    step.compile_ahead(shapes, batch(job))
    return step, devices.replicate(_first_state(job, config, fresh.draw(0)), on)


def abstract_training(job: Job) -> tuple[Any, Any]:
    """Returns the training step, jitted for one device, and the shapes of its state; computes nothing."""
    config = networks.configuration(job)
    net = _network(job, config)
    fresh = initialization.FreshVariables(net.model, config.dataset.image_size)
    state = jax.eval_shape(functools.partial(_first_state, job, config), fresh.shapes)
    optimizer = _optimizer_of(job, config, state)

    def on_one_device(state: Any, batch: Any) -> Any:
        shares = jax.tree.map(lambda leaf: leaf[None], batch)
        differentiate = functools.partial(train_step.differentiate, net=net, config=config)
        found = jax.vmap(differentiate, (None, 0), axis_name=devices.AXIS)(state, shares)
        found = jax.tree.map(lambda leaf: leaf[0], found)
        return train_step.update(state, found.gradients, found.batch_stats, optimizer=optimizer), found.sums

    return jax.jit(on_one_device), state


def _network(job: Job, config: Any) -> network.Network:
    """Returns the network, with the form of its operations that the contender's name asks for."""
    net = networks.build(config)
    if job.contender not in _FORMS:
        return net
    forms = getattr(ops, _FORMS[job.contender], None)
    if forms is None:
        raise SystemExit(f"{job.contender}: lim_jax.ops has no {_FORMS[job.contender]}")
    return dataclasses.replace(net, model=models.with_implementation(net.model, forms))


def convolution_forms(kernel_size: int, dilation: int) -> dict[str, Callable[[jax.Array, jax.Array], jax.Array]]:
    """Returns what computes a convolution with stride 1, (x, kernel) -> y, by name, for such kernels."""
    forms = {
        "op": lambda x, kernel: layers.convolve_by_op(x, kernel, dilation=dilation),
        "taps": lambda x, kernel: layers.convolve_by_taps(x, kernel, dilation),
    }
    if kernel_size == 1:
        return forms | {"product": lambda x, kernel: jnp.einsum("nhwc,co->nhwo", x, kernel[0, 0])}
    return forms | {"op, taps for the kernel": lambda x, kernel: layers.convolve_on_image(x, kernel, dilation)}


def _first_state(job: Job, config: Any, variables: Any) -> Any:
    state = create_train_state(variables, config.tasks, config, steps_per_epoch=1)
    return state.replace(opt_state=_SGD.init(state.params)) if job.what == "gradients" else state


def _optimizer_of(job: Job, config: Any, state: Any) -> Any:
    return _SGD if job.what == "gradients" else make_optimizer(config, state.params, steps_per_epoch=1)


class Repeated:
    """A function without arguments that calls `state = step(state)`, whose memory may be reused.

    Attributes:
      programs: by name, the compiled programs that it runs, where they can be had.
    """

    def __init__(self, step: Callable[..., Any], state: Any, programs: Mapping[str, Any] | None = None):
        self._step, self._state, self.programs = step, state, programs or {}

    def __call__(self) -> Any:
        self._state = self._step(self._state)
        return self._state


def _step(job: Job) -> Callable[[], Any]:
    step, state = training(job)
    examples = jax.device_put(batch(job))
    return Repeated(lambda state: step(state, examples)[0], state, _programs(step))


def _programs(step: train_step.TrainStep) -> dict[str, Any]:
    """Returns the two programs of a training step, which no part of lim_jax has to show to others."""
    differentiate, update = step._differentiate._compiled.result(), step._update._compiled.result()
    return {"gradients": differentiate.mapped, "update": update.jitted}


def _inference(job: Job) -> Callable[[], Any]:
    """From uint8 images to the heads' outputs; "lim_jax_folded" has batch norm folded into the convolutions."""
    config = networks.configuration(job)
    model = _network(job, config).model
    variables = initialization.FreshVariables(model, config.dataset.image_size).draw(0)
    if job.contender == "lim_jax_folded":
        model, variables = compaction.fold_batch_norm(model, variables)
    variables = jax.device_put(variables)
    forward = jax.jit(lambda weights, images: model.apply(weights, models.normalize_images(images)))
    images = jax.device_put(batch(job)["image"])
    return lambda: forward(variables, images)


def _optimizer(job: Job) -> Callable[[], Any]:
    """Adam with decoupled weight decay and the proximal step; "optax" is `optax.adamw` alone."""
    params, gradients = jax.device_put(networks.parameters_and_gradients(job))
    if job.contender == "optax":
        tx = optax.adamw(1e-4, weight_decay=0.1)
    else:
        groups = sparsity.backbone_groups(params)
        tx = sparsity.proximal_adam(1e-4, job.strength, groups, weight_decay=0.1)

    def update(state: Any, gradients: Any) -> Any:
        params, opt_state = state
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    state = (jax.tree.map(jnp.asarray, params), jax.jit(tx.init)(params))
    compiled = jax.jit(update, donate_argnums=0).lower(state, gradients).compile()
    return Repeated(lambda state: compiled(state, gradients), state, {"update": compiled})
