"""What a new run begins with: the network of its configuration and new variables, or those of another run."""

import dataclasses
import functools
import logging
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lim_jax import config as config_lib
from lim_jax import network as network_lib
from lim_jax.config import Config
from lim_jax.data.specs import TargetSpec
from lim_jax.errors import UserError
from lim_jax.models import layers, pretrained
from lim_jax.network import Network
from lim_jax.tasks.base import Task

logger = logging.getLogger(__name__)

PyTree = Any
_LOOKED_AT = 32  # training examples, for the constant that a head starts at
_COUNTED = 2000  # training examples, for what tasks take from them


def network_of(config: Config, specs: Mapping[str, TargetSpec]) -> Network:
    """Returns the network that `config` describes, compact if it starts from a compact one of that description."""
    network = network_lib.build(config, specs)
    if not config.init_from:
        return network
    from lim_jax.training import checkpoints  # imports Orbax and grain, which fresh weights do without

    source = checkpoints.load_network(pathlib.Path(config.init_from)).network
    described = config_lib.load(pathlib.Path(config.init_from)).model
    same = all(described[key] == config.model[key] for key in ("backbone", "width_multiplier"))
    return network_lib.with_channels_of(network, source) if same else network


class VariableInitializer:
    """Makes `{"params", "batch_stats"}` of a model for images of `(height, width)`: their shapes, then their numbers.

    All is as `model.init` makes it but for the random numbers in the kernels, each of which is He-normal: they are
    parts of one array. `model.init` draws every kernel by itself, and XLA takes 0.2 s to compile each of these draws;
    resnet50d with three DeepLab heads has 79. A backbone is the same whatever heads it has.

    Attributes:
      shapes: their shapes and dtypes.
    """

    def __init__(self, model: nn.Module, image_size: tuple[int, int]):
        images = jnp.zeros((1, *image_size, 3), jnp.float32)

        def init(key: jax.Array) -> PyTree:
            variables = model.init(key, images, train=False)
            return jax.tree_util.tree_map_with_path(
                lambda path, leaf: _Kernel(leaf.shape, leaf.dtype) if path[-1].key == "kernel" else leaf, variables
            )

        # Traced once for shapes and numbers: that takes Python half a second, in which nothing else is traced.
        self._others = jax.jit(init).trace(jax.random.key(0))
        self.shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self._others.out_info, is_leaf=_is_kernel
        )

    def init(self, seed: int) -> PyTree:
        """Returns new variables; a seed decides all of their random numbers."""
        key = jax.random.key(seed)
        others = self._others.lower().compile()(key)
        shapes = [leaf.shape for leaf in jax.tree.leaves(others, is_leaf=_is_kernel) if _is_kernel(leaf)]
        kernels = iter(_parts(_unit_normal(key, sum(map(math.prod, shapes))), tuple(shapes)))
        return jax.tree.map(lambda leaf: next(kernels) if _is_kernel(leaf) else leaf, others, is_leaf=_is_kernel)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Kernel:
    """In place of a kernel that is not drawn yet."""

    shape: tuple[int, ...]
    dtype: Any


def _is_kernel(leaf: Any) -> bool:
    return isinstance(leaf, _Kernel)


@functools.partial(jax.jit, static_argnums=1)
def _unit_normal(key: jax.Array, number: int) -> jax.Array:
    """Draws from the distribution of `layers.kernel_init` at a variance of one, which it has for a fan-in of two."""
    return layers.kernel_init(key, (2, -(-number // 2)), jnp.float32).ravel()


@functools.partial(jax.jit, static_argnums=1)
def _parts(numbers: jax.Array, shapes: Sequence[tuple[int, ...]]) -> list[jax.Array]:
    """Returns He-normal kernels of these shapes, the last axis of which is outputs, from numbers of unit variance."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    scales = [math.sqrt(2 / math.prod(shape[:-1])) for shape in shapes]
    return [
        scale * numbers[end - math.prod(shape) : end].reshape(shape)
        for shape, end, scale in zip(shapes, ends, scales, strict=True)
    ]


def fitted(network: Network, source: Any) -> Network:
    """Returns the network whose tasks have taken from the training examples what they take from them, if any does."""
    waiting = {name: task for name, task in network.tasks.items() if not task.is_fitted}
    if not waiting:
        return network
    sums = _statistics(waiting, source, _COUNTED)
    tasks = {name: task.fitted(sums[name]) if name in waiting else task for name, task in network.tasks.items()}
    return dataclasses.replace(network, tasks=tasks)


def _statistics(tasks: Mapping[str, Task], source: Any, number: int) -> dict[str, Any]:
    """Returns the sums of the tasks' `baseline_statistics` over some training examples, evenly spaced."""
    from lim_jax.data import pipeline
    from lim_jax.prediction import evaluation

    def of_example(index: int) -> dict[str, Any]:
        targets = source[index]["targets"]
        return {name: task.baseline_statistics(jnp.asarray(targets[name])[None]) for name, task in tasks.items()}

    return evaluation.accumulate(of_example(index) for index in pipeline.evenly_spaced(source, number))


def constants_of(network: Network, source: Any) -> dict[str, tuple[str, np.ndarray]]:
    """Returns where the heads of tasks with `starts_at_constant` start: `{task: (last layer, bias)}`.

    Args:
      network: a network.
      source: the training examples, some of which are looked at if need be.
    """
    starting = {name: task for name, task in network.tasks.items() if task.starts_at_constant}
    if not starting:
        return {}
    sums = _statistics(starting, source, _LOOKED_AT)
    return {
        name: (network.model.heads[name].last_layer, task.baseline_logits(sums[name]))
        for name, task in starting.items()
    }


def variables_of(
    config: Config, initializer: VariableInitializer, constants: Mapping[str, tuple[str, np.ndarray]] | None = None
) -> PyTree:
    """Returns `{"params", "batch_stats"}`: newly drawn, but for a pretrained backbone, or what `config.init_from` has.

    Args:
      config: of the run.
      initializer: of the model.
      constants: what `constants_of` returns; none by default.

    Raises:
      UserError: nothing there fits.
    """
    variables = initializer.init(config.seed)
    for task, (layer, bias) in (constants or {}).items():
        variables["params"][f"heads_{task}"][layer]["bias"] = jnp.asarray(bias, jnp.float32)
    if config.model.pretrained:
        logger.info("the backbone starts from %s", config.model.pretrained)
        return pretrained.with_backbone(variables, config.model.backbone, config.model.pretrained)
    return _taken_over(variables, config.init_from) if config.init_from else variables


def _taken_over(variables: PyTree, init_from: str) -> PyTree:
    """Returns `variables` with the arrays of the run in `init_from` that have their names and shapes; says which."""
    from lim_jax.training import checkpoints

    source = checkpoints.load_network(pathlib.Path(init_from)).variables
    fitting = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(source)}
    taken, left = [], []

    def choose(path: Any, leaf: jax.Array) -> Any:
        name = jax.tree_util.keystr(path)
        fits = name in fitting and fitting[name].shape == leaf.shape
        (taken if fits else left).append(name)
        return fitting[name] if fits else leaf

    started = jax.tree_util.tree_map_with_path(choose, variables)
    if not taken:
        raise UserError(
            f"nothing in {init_from} fits this network: config.init_from must be a run of the same backbone"
        )
    logger.info("starting from %s: %d arrays taken over", init_from, len(taken))
    if left:
        logger.info("  not there, or of another shape, so freshly drawn: %s", ", ".join(left))
    return started
