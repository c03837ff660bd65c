"""What a run is made of: what stays the same, where it stands, and what is compiled for its network."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

from lim_jax import compaction, data
from lim_jax.config import Config
from lim_jax.data import augmentation, cache, pipeline
from lim_jax.network import Network
from lim_jax.prediction import evaluation
from lim_jax.runtime import compilation, devices, platforms
from lim_jax.sparsity.groups import Groups
from lim_jax.training import history, initialization, task_gradients
from lim_jax.training.checkpoints import Checkpoints
from lim_jax.training.shrinking import Shrinking
from lim_jax.training.state import TrainState, make_optimizer, sparse_groups
from lim_jax.training.step import TrainStep

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Run:
    """What stays the same from the first step to the last.

    Attributes:
      config: checked.
      workdir: where everything is written.
      dataset: what it trains and is evaluated on.
      local_devices: of this process.
      checkpointer: of the workdir.
      groups: of the network's parameters.
      iterator: the endless one over this process's training batches; its position is in every checkpoint.
      steps_per_epoch: the number of whole batches in the training split, at least one.
    """

    config: Config
    workdir: pathlib.Path
    dataset: "data.Dataset"
    local_devices: list[devices.Device]
    checkpointer: Checkpoints
    groups: Groups
    iterator: Any
    steps_per_epoch: int


def make_run(
    config: Config,
    workdir: pathlib.Path,
    dataset: "data.Dataset",
    local_devices: list[devices.Device],
    checkpointer: Checkpoints,
) -> Run:
    """Returns a run whose input is at its beginning; for the arguments see `Run`."""
    given = config.dataset
    place = cache.fitting_place(given.cache, given.num_workers, dataset.sources, dataset.specs, local_devices)
    dataset = dataclasses.replace(dataset, sources=cache.kept(dataset.sources, place))
    iterator = _training_batches(config, dataset, local_devices if place == "device" else None)
    steps_per_epoch = max(len(dataset.sources["train"]) // config.batch_size, 1)
    groups = sparse_groups(config)
    return Run(config, workdir, dataset, local_devices, checkpointer, groups, iterator, steps_per_epoch)


def _training_batches(config: Config, dataset: "data.Dataset", keeping: list[devices.Device] | None) -> Any:
    """Returns the iterator over this process's training batches; `keeping`: the devices that keep the examples."""
    source, changes = dataset.sources["train"], augmentation.create(config.augmentation, dataset.specs)
    settings = {
        "batch_size": config.batch_size,
        "seed": config.seed,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
        "num_workers": config.dataset.num_workers,
        "num_threads": config.dataset.num_threads,
        "prefetch": config.dataset.prefetch_batches,
    }
    if keeping:
        return cache.DeviceBatches(source, dataset.specs, changes, keeping, **settings)
    return pipeline.train_iterator(source, augmentation=changes, **settings)


class Programs(NamedTuple):
    """What trains and evaluates one network.

    Attributes:
      optimizer, train_step, evaluate: of the network.
      cosines: `task_gradients.group_cosines`, None where nobody asks.
      removed_macs: `compaction.removed_macs`, None but for a target of MACs.
    """

    optimizer: optax.GradientTransformation
    train_step: TrainStep
    evaluate: evaluation.Evaluator
    cosines: Any
    removed_macs: Callable[[Mapping[str, jax.Array]], jax.Array] | None


@dataclasses.dataclass
class Standing:
    """Where a run stands. The loop moves it on in place, so that only one state is in memory.

    All but the programs and `bad_in_a_row` is in every checkpoint, beside the position of the input.

    Attributes:
      network: may have shrunk since the run began.
      programs: of the network; made once more whenever it has shrunk.
      state: of its training.
      history: one record per finished epoch (`lim_jax.training.history`).
      shrinking: which groups may be removed, and what the network was before.
      epoch_sums: `BatchGradients.sums` of the present epoch, added up, as nested lists of floats; None before its first
        step.
      zero_groups: which groups were zero when the epoch began (`group_watch.pattern`), so that an epoch that was
        interrupted is reported like any other.
      bad_in_a_row: how many of the last steps were not finite (`lim_jax.training.bad_steps`).
    """

    network: Network
    programs: Programs
    state: TrainState
    history: list[dict[str, Any]]
    shrinking: Shrinking
    epoch_sums: PyTree = None
    zero_groups: dict[str, str] = dataclasses.field(default_factory=dict)
    bad_in_a_row: int = 0

    @property
    def epoch(self) -> int:
        """The epoch that is under way or comes next, counted from 1."""
        return len(self.history) + 1


def make_programs(
    run: Run, network: Network, state: TrainState, shrinking: Shrinking, *, trains: bool = True
) -> Programs:
    """Returns the programs of a network, with a state shaped like `state`.

    The training step starts being compiled if it `trains`, and on platforms that have time for it the evaluation, too.
    """
    platform = platforms.of(run.local_devices)
    measure = _removed_macs(run, network, state, shrinking) if run.config.sparsity.target_macs else None
    optimizer = make_optimizer(run.config, run.groups, run.steps_per_epoch, shrinking.original, platform.name, measure)
    train_step = TrainStep(network, optimizer, run.config, run.local_devices)
    evaluate = evaluation.Evaluator(network, run.local_devices)
    if trains and jax.process_count() == 1:  # with several, pmap turns each one's batch into its share of an array
        changes = augmentation.create(run.config.augmentation, run.dataset.specs)
        example = pipeline.example_shapes(run.dataset.sources["train"], changes)
        train_step.compile_ahead(state, compilation.batch_shapes(example, run.config.batch_size))
        if platform.compiles_evaluation_early:
            example = run.dataset.sources[history.evaluated_split(run.config)][0]
            evaluate.compile_ahead(state.evaluated, compilation.batch_shapes(example, run.config.batch_size))
    cosines = None
    if run.config.log_gradient_cosines:
        computed = network.on(platform)
        of_groups = functools.partial(
            task_gradients.group_cosines, network=computed, config=run.config, groups=run.groups
        )
        cosines = devices.data_parallel(of_groups, run.local_devices, num_replicated=1)
    return Programs(optimizer, train_step, evaluate, cosines, measure)


def backbone_macs(run: Run, network: Network) -> int:
    """Returns the multiply-accumulates of a network's backbone for one image of the run."""
    costs = compaction.layer_costs(network.model, tuple(run.config.dataset.image_size))
    return compaction.total(costs, "backbone/").macs


def _removed_macs(
    run: Run, network: Network, state: TrainState, shrinking: Shrinking
) -> Callable[[Mapping[str, jax.Array]], jax.Array]:
    """Returns what measures the share of the MACs of the backbone that training began with."""
    # Older checkpoints do not say how many these were.
    whole = shrinking.macs or backbone_macs(run, initialization.network_of(run.config, run.dataset.specs))
    return compaction.removed_macs(network.model, state.params, tuple(run.config.dataset.image_size), whole)
