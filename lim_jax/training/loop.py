"""Trains a network to the end of its run, and reports: the loop, and resuming.

`train_and_evaluate` is what `python -m lim_jax.main` calls. All decisions that depend on the past (early
stopping, frozen heads, learning rate) are functions of the history (`lim_jax.training.history`), which is part of every
checkpoint together with the state and the position of the input; so a run that was interrupted anywhere ends
with the same bits as one that was not.
"""

import dataclasses
import logging
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lim_jax import config as config_lib
from lim_jax import data, network
from lim_jax.config import Config
from lim_jax.data import augmentation, pipeline
from lim_jax.errors import UserError
from lim_jax.prediction import evaluation
from lim_jax.runtime import compilation, compile_time, devices, platforms
from lim_jax.runtime.progress import Progress
from lim_jax.training import checkpoints, initialization, loss_weighting, results
from lim_jax.training import history as history_lib
from lim_jax.training.group_watch import GroupWatch
from lim_jax.training.shrinking import Shrinking, num_channels
from lim_jax.training.state import TrainState, create_train_state, last_strength, make_optimizer
from lim_jax.training.step import TrainStep

logger = logging.getLogger(__name__)

PyTree = Any


def train_and_evaluate(config: Config, workdir: pathlib.Path) -> dict[str, Any]:
    """Trains, evaluates the best checkpoint and writes the report; resumes what `workdir` already holds.

    Args:
      config: see `configs/common.py`.
      workdir: made if needed; afterwards holds `config.json`, TensorBoard events, `checkpoints/`,
        `results.json` and `report/`.

    Returns:
      The content of `results.json`.

    Raises:
      UserError: the user can fix it: a bad value, missing data, a workdir of another run.
    """
    config = config_lib.checked(config)
    _open_workdir(workdir, config)
    devices.keep_freed_memory()
    on = devices.chosen(config.num_devices, config.batch_size)
    devices.use_compilation_cache(config.compilation_cache_dir)
    dataset = data.load(config.dataset, config.tasks)
    with checkpoints.Checkpoints(workdir, tuple(config.tasks)) as kept:
        run = _Run(config, workdir, dataset, on, kept)
        run.start_or_resume()
        run.train()
        return results.finish(config, workdir, dataset, on, run.evaluate, run.history, run.shrinking.original)


def join_other_processes() -> None:
    """Makes this process one of several of the same run; its place comes from the environment or the cluster."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    num_processes, process_id = os.environ.get("JAX_NUM_PROCESSES"), os.environ.get("JAX_PROCESS_ID")
    try:
        jax.distributed.initialize(
            num_processes=int(num_processes) if num_processes else None,
            process_id=int(process_id) if process_id else None,
        )
    except ValueError as error:
        raise UserError(
            f"cannot join the other processes ({error}): set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
            "JAX_PROCESS_ID, or start through a cluster manager that JAX knows"
        ) from error
    if jax.process_index() > 0:
        logging.getLogger("lim_jax").setLevel(logging.WARNING)  # one process speaks for all


class _Run:
    """The state of one run, and the loop that advances it.

    `start_or_resume` gives it a network and the state of its training; `_use` makes what is compiled for a network,
    once more whenever it has shrunk.
    """

    net: network.Network
    state: TrainState
    shrinking: Shrinking
    evaluate: evaluation.Evaluator

    def __init__(
        self,
        config: Config,
        workdir: pathlib.Path,
        dataset: data.Dataset,
        on: list[devices.Device],
        kept: checkpoints.Checkpoints,
    ):
        self.config, self.workdir, self.dataset = config, workdir, dataset
        self.kept, self.devices = kept, on
        self.history: list[dict[str, Any]] = []
        self.steps_per_epoch = max(len(dataset.sources["train"]) // config.batch_size, 1)
        self.iterator = pipeline.train_iterator(
            dataset.sources["train"],
            batch_size=config.batch_size,
            seed=config.seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            augmentation=augmentation.create(config.augmentation, dataset.specs),
            num_workers=config.dataset.num_workers,
            num_threads=config.dataset.num_threads,
            prefetch=config.dataset.prefetch_batches,
        )
        self.watch = GroupWatch(config)
        self.epoch_sums: Any = None
        self.progress = Progress(config.num_epochs, self.steps_per_epoch, config.batch_size)
        self._interrupted: int | None = None

    def start_or_resume(self) -> None:
        """Goes back to the latest checkpoint, if there is one, and says what the run is."""
        step = self.kept.step(checkpoints.LATEST)
        if step is None:
            net = initialization.network_of(self.config, self.dataset.specs)
            fresh = self._fresh_variables(net)
            shapes = self._state_shapes(fresh)
            self.shrinking = Shrinking(self.config, shapes.params)
            self._use(net, shapes)  # compiles while parameters are drawn
            self.state = self._initial_state(initialization.variables_of(self.config, fresh))
        else:
            net = self._resume(step)
            self._use(net, self.state, trains=len(self.history) < self.config.num_epochs)
        results.describe(self.workdir, net, self.state.params, self.dataset, len(self.devices))
        if step is not None:
            logger.info("resuming %s after epoch %d (step %d)", self.workdir, len(self.history), step)

    def _resume(self, step: int) -> network.Network:
        """Restores everything from a checkpoint; returns its network, which may have shrunk since the run began."""
        meta = self.kept.meta(step)
        if "history" not in meta:
            raise UserError(
                f"{self.workdir} holds a network without its training: give another --workdir, and start from this one "
                f"with --config.init_from={self.workdir}"
            )
        net = network.from_json(meta["architecture"])
        config = self.config
        shapes = self._state_shapes(self._fresh_variables(net))
        self.state, meta = self.kept.restore(step, shapes, self.iterator)
        self.history, self.epoch_sums, self.watch.pattern = meta["history"], meta["epoch_sums"], meta["zero_groups"]
        self.shrinking = Shrinking(config, self.state.params, meta.get("shrinking"))
        return net

    def _initial_state(self, variables: PyTree) -> TrainState:
        return create_train_state(variables, self.config.tasks, self.config, self.steps_per_epoch)

    def _fresh_variables(self, net: network.Network) -> initialization.FreshVariables:
        return initialization.FreshVariables(net.model, self.config.dataset.image_size)

    def _state_shapes(self, fresh: initialization.FreshVariables) -> TrainState:
        return jax.eval_shape(self._initial_state, fresh.shapes)

    def _use(self, net: network.Network, state: TrainState, *, trains: bool = True) -> None:
        """Makes the functions that train and evaluate `net`, with a state shaped like `state`.

        The training step starts being compiled unless nothing is going to be trained.
        """
        original = self.shrinking.original
        self.net, self.evaluate = net, evaluation.Evaluator(net, self.devices)
        platform = platforms.of(self.devices).name
        self.optimizer = make_optimizer(self.config, state.params, self.steps_per_epoch, original, platform)
        self.train_step = TrainStep(net, self.optimizer, self.config, self.devices)
        if trains and jax.process_count() == 1:  # with several, pmap turns each one's batch into its share of an array
            self.train_step.compile_ahead(
                state, compilation.batch_shapes(self.dataset.sources["train"][0], self.config.batch_size)
            )
        self._is_new = True

    def train(self) -> None:
        """Runs epochs until the last one or until nothing improves."""
        patience = self.config.early_stopping_patience
        with _Interruptions(self), results.EventWriter(self.workdir) as writer:
            while len(self.history) < self.config.num_epochs:
                if history_lib.should_stop(self.history, self.config.tasks, patience):
                    logger.info("no progress for %d epochs: training ends early", patience)
                    break
                self._begin_epoch()
                started = time.monotonic()
                self._run_steps()
                self.progress.begin_break()
                self._end_epoch(time.monotonic() - started, compile_time.since(started))
                results.write_record(writer, self.history[-1])
                writer.write_histograms(self.history[-1]["step"], self.watch.norms(self.state.params))
                self.progress.end_break()
                logger.info("%s, %s", results.line(self.history, self.net, self.config), self.progress.line())
                self._leave_if_interrupted()
        self.kept.wait()

    def interrupt(self, signal_number: int) -> None:
        """Asks the loop to save and leave after the current step."""
        self._interrupted = signal_number

    def _begin_epoch(self) -> None:
        """Applies what the history decides; a resumed epoch has it applied once more, to the same effect."""
        config, state = self.config, self.state
        if config.published.reset_optimizer_every_epoch and self.epoch_sums is None:
            state = dataclasses.replace(state, opt_state=jax.jit(self.optimizer.init)(state.params))
        frozen = history_lib.frozen_tasks(self.history, config.tasks, config.early_stopping_patience)
        rate = config.learning_rate
        if config.learning_rate_schedule == "plateau":
            rate = history_lib.plateau_learning_rate(self.history, rate, config.plateau_patience, config.plateau_factor)
        hyperparams = dict(state.opt_state.hyperparams, learning_rate=np.float32(rate))
        state = dataclasses.replace(
            state,
            opt_state=state.opt_state._replace(hyperparams=hyperparams),
            active={task: np.bool_(task not in frozen) for task in config.tasks},
        )
        self.state = devices.replicate(state, self.devices)
        if self.epoch_sums is None:
            self.watch.begin_epoch(self.state.params)
        if self._is_new:
            self.progress.restart()
            self._is_new = False

    def _run_steps(self) -> None:
        """Runs the steps that the epoch still lacks, adding up their losses one step behind the device."""
        first = int(self.state.step)
        last = (len(self.history) + 1) * self.steps_per_epoch
        pending = None
        for step in range(first, last):
            self.state, sums = self.train_step(self.state, next(self.iterator))
            if pending is not None:
                self._step_done(step, pending)
            pending = sums
            if self._interrupted is not None and step + 1 < last:
                self._step_done(step + 1, pending)
                self._leave_if_interrupted()
        self._step_done(last, pending)

    def _step_done(self, step: int, sums: PyTree) -> None:
        """Waits for the sums of the step that made it `step` steps, adds them up, and reports now and then."""
        host = jax.tree.map(float, jax.device_get(sums))
        new = {"losses": {task: list(pair) for task, pair in host["losses"].items()}, "total": list(host["total"])}
        self.epoch_sums = new if self.epoch_sums is None else jax.tree.map(lambda a, b: a + b, self.epoch_sums, new)
        if self.progress.step_done(step):
            results.import_writers_meanwhile()  # not before the first step, which would be later for it
            logger.info("epoch %d, step %d: %s", len(self.history) + 1, step, self.progress.line())

    def _leave_if_interrupted(self) -> None:
        if self._interrupted is None:
            return
        step = int(self.state.step)
        if self.kept.step(checkpoints.LATEST) != step:
            self._save({})
        self.kept.wait()
        logger.info("interrupted: step %d is saved, the same command goes on from there", step)
        sys.exit(128 + self._interrupted)

    def _end_epoch(self, seconds: float, compile_seconds: float) -> None:
        """Records the epoch, lets the network shrink and evaluates it where it is time to, and saves it."""
        config, epoch = self.config, len(self.history) + 1
        total, steps = self.epoch_sums["total"]
        if not np.isfinite(total):
            raise UserError(
                f"the loss is not finite in epoch {epoch}: lower config.learning_rate (now {config.learning_rate:g}) "
                f"and start again in another --workdir; {self.workdir} keeps the epochs before"
            )
        record = {
            "epoch": epoch,
            "step": epoch * self.steps_per_epoch,
            "train": {task: {"loss": s / w if w else None} for task, (s, w) in self.epoch_sums["losses"].items()},
            "total": {"train": total / steps},
            "strength": last_strength(self.state.opt_state),
            "learning_rate": float(self.state.opt_state.hyperparams["learning_rate"]),
            "network": {"parameters": results.count(self.state.params), "channels": num_channels(self.net)},
            "seconds": seconds,
            "compile_seconds": {"training": compile_seconds, "evaluation": 0.0},
        }
        self.epoch_sums = None
        zeros = self.watch.zeros(self.state.params)
        self._shrink(epoch, zeros)
        changes = self.watch.changes(zeros)
        record["sparsity"] = self.watch.record(self.state.params, self.shrinking.original) | changes
        if epoch % config.eval_every_epochs == 0 or epoch == config.num_epochs:
            started = time.monotonic()
            record |= self._validate(record)
            record["compile_seconds"]["evaluation"] = compile_time.since(started)
        self.history.append(record)
        losses = {task: history_lib.counting_loss(record, task) for task in config.tasks}
        losses["total"] = history_lib.counting_loss(record)
        best = any(history_lib.is_best(self.history, task) for task in (None, *config.tasks))
        over = epoch == config.num_epochs or history_lib.should_stop(
            self.history, config.tasks, config.early_stopping_patience
        )
        if best or over or epoch % config.checkpoint_every_epochs == 0:
            self._save(losses)

    def _shrink(self, epoch: int, zeros: Mapping[str, np.ndarray]) -> None:
        """Goes on with a smaller network, if it is time to and groups stayed zero for long enough."""
        self.shrinking.end_epoch(zeros)
        shrunk = self.shrinking.shrink(self.net, self.state) if self.shrinking.is_due(epoch) else None
        if shrunk is not None:
            before = results.count(self.state.params), num_channels(self.net)
            net, self.state = shrunk
            jax.clear_caches()  # JAX would keep what was compiled for the larger network
            self._use(net, self.state, trains=epoch < self.config.num_epochs)
            after = results.count(self.state.params), num_channels(net)
            logger.info(
                "the network shrinks: %s -> %s parameters, %s -> %s channels of the backbone; compiling anew",
                *(f"{number:,}" for pair in zip(before, after, strict=True) for number in pair),
            )

    def _validate(self, record: Mapping[str, Any]) -> dict[str, Any]:
        params = {name: branch for name, branch in self.state.params.items() if name != "loss_weighting"}
        weights = {"params": params, "batch_stats": self.state.batch_stats}
        validation = self.evaluate(weights, evaluation.split_batches(self.dataset, "validation", self.config))
        losses = {task: np.float32(values["loss"] or 0) for task, values in validation.items()}
        labelled = {task: np.float32(values["loss"] is not None) for task, values in validation.items()}
        log_variances = self.state.params["loss_weighting"] if self.config.loss_weighting == "uncertainty" else None
        total = float(loss_weighting.combine(losses, labelled, log_variances)) if any(labelled.values()) else None
        return {"validation": validation, "total": {**record["total"], "validation": total}}

    def _save(self, losses: Mapping[str, float | None]) -> None:
        meta = {
            "epoch": len(self.history),
            "history": self.history,
            "epoch_sums": self.epoch_sums,
            "zero_groups": self.watch.pattern,
            "architecture": network.to_json(self.net),
            "shrinking": self.shrinking.to_json(),
        }
        self.kept.save(self.state, self.iterator, meta, losses)


class _Interruptions:
    """While it is entered, Ctrl-C and SIGTERM end the run after the current step, with everything saved."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, run: _Run):
        self._run = run
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                number: signal.signal(number, lambda received, frame: self._run.interrupt(received))
                for number in self._SIGNALS
            }

    def __exit__(self, *exception) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _open_workdir(workdir: pathlib.Path, config: Config) -> None:
    """Makes the workdir and its `config.json`; raises `UserError` if it is another run's or cannot be written."""
    config_lib.refuse_changes(config, workdir)
    if jax.process_index() == 0:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            config_lib.save(config, workdir)
        except OSError as error:
            raise UserError(
                f"cannot write to the workdir {workdir} ({error.strerror}): give another --workdir"
            ) from error
