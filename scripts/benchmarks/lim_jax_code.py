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
from lim_jax import compaction, models, ops, sparsity
from lim_jax.ops import gpu, taps
from lim_jax.runtime import devices, memory, platforms
from lim_jax.training import initialization
from lim_jax.training import step as train_step
from lim_jax.training.state import create_train_state, make_optimizer, method_of, sparse_groups

_SGD = optax.sgd(1e-6)

# Contenders that run one form of the operations whatever the device is.
_FORMS = {"lim_jax_reference": ops.REFERENCE, "lim_jax_cpu": ops.CPU, "lim_jax_gpu": ops.GPU}


def prepare(job: Job) -> Callable[[], Any]:
    """Returns a function that runs the job once, as lim_jax's verbs would; what it returns has to be waited for."""
    memory.keep_freed_memory()
    if job.contender in _FORMS:  # this process has no other contender
        chosen = platforms.default()
        platforms.PLATFORMS[chosen.name] = dataclasses.replace(chosen, forms=_FORMS[job.contender])
    return {"step": _step, "gradients": _step, "inference": _inference, "optimizer": _optimizer}[job.what](job)


def training(job: Job) -> tuple[Callable[..., Any], Any]:
    """Returns the training step on one device, (state, batch) -> (state, sums), and the first state.

    For "gradients" the optimizer is SGD, which costs next to nothing.
    """
    config = networks.configuration(job)
    network = networks.build(config)
    local_devices = jax.local_devices()[:1]
    initializer = initialization.VariableInitializer(network.model, config.dataset.image_size)
    shapes = jax.eval_shape(functools.partial(_first_state, job, config), initializer.shapes)
    step = train_step.TrainStep(network, _optimizer_of(job, config), config, local_devices)
    step.compile_ahead(shapes, batch(job))
    return step, devices.replicate(_first_state(job, config, initializer.init(0)), local_devices)


def abstract_training(job: Job) -> tuple[Any, Any]:
    """Returns the training step, jitted for one device, and the shapes of its state; computes nothing."""
    config = networks.configuration(job)
    network = networks.build(config).on(platforms.default())
    initializer = initialization.VariableInitializer(network.model, config.dataset.image_size)
    state = jax.eval_shape(functools.partial(_first_state, job, config), initializer.shapes)
    optimizer = _optimizer_of(job, config)

    def on_one_device(state: Any, batch: Any) -> Any:
        shares = jax.tree.map(lambda leaf: leaf[None], batch)
        step = functools.partial(train_step.whole_step, network=network, config=config, optimizer=optimizer)
        return jax.tree.map(lambda leaf: leaf[0], jax.vmap(step, (None, 0), axis_name=devices.AXIS)(state, shares))

    return jax.jit(on_one_device), state


def convolution_forms(kernel_size: int, dilation: int) -> dict[str, Callable[[jax.Array, jax.Array], jax.Array]]:
    """Returns what computes a convolution with stride 1, (x, kernel) -> y, by name, for such kernels."""
    forms = {"op": ops.REFERENCE.convolve, "taps": taps.BY_TAPS}
    if kernel_size == 1:
        forms["product"] = gpu.MATRIX_PRODUCT
    else:
        forms["op, taps for the kernel"] = taps.OP_WITH_TAPS

    def by(form: ops.Form) -> Callable[[jax.Array, jax.Array], jax.Array]:
        chosen = dataclasses.replace(ops.REFERENCE, convolve=form)
        return lambda x, kernel: ops.convolve(x, kernel, dilation=dilation, forms=chosen)

    return {name: by(form) for name, form in forms.items()}


def _first_state(job: Job, config: Any, variables: Any) -> Any:
    return create_train_state(variables, config.tasks, _optimizer_of(job, config), method=method_of(config))


def _optimizer_of(job: Job, config: Any) -> Any:
    return _SGD if job.what == "gradients" else make_optimizer(config, sparse_groups(config), steps_per_epoch=1)


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
    """Returns the programs of a training step, which no part of lim_jax has to show to others."""
    if step._whole is not None:
        return {"step": step._whole._compiled.result().mapped}
    gradients, update = step._gradients._compiled.result(), step._update._compiled.result()
    return {"gradients": gradients.mapped, "update": update.jitted}


def _inference(job: Job) -> Callable[[], Any]:
    """From uint8 images to the heads' outputs; "lim_jax_folded" has batch norm folded into the convolutions."""
    config = networks.configuration(job)
    model = networks.build(config).on(platforms.default()).model
    variables = initialization.VariableInitializer(model, config.dataset.image_size).init(0)
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
        groups = models.backbone_groups(params)
        tx = sparsity.proximal_adam(1e-4, job.strength, groups, weight_decay=0.1)

    def update(state: Any, gradients: Any) -> Any:
        params, opt_state = state
        updates, opt_state = tx.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    state = (jax.tree.map(jnp.asarray, params), jax.jit(tx.init)(params))
    compiled = jax.jit(update, donate_argnums=0).lower(state, gradients).compile()
    return Repeated(lambda state: compiled(state, gradients), state, {"update": compiled})
