"""What a run leaves for people: lines while it runs, TensorBoard events, `results.json`, tables and figures."""

import contextlib
import functools
import importlib
import json
import logging
import pathlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from clu import parameter_overview

from lim_jax import network as network_lib
from lim_jax import sparsity
from lim_jax.config import Config
from lim_jax.data import Dataset, pipeline, statistics
from lim_jax.figures import report, tables
from lim_jax.network import Network
from lim_jax.prediction import evaluation
from lim_jax.runtime import devices
from lim_jax.runtime.progress import duration
from lim_jax.training import checkpoints
from lim_jax.training.state import sparse_groups

logger = logging.getLogger(__name__)

PyTree = Any
_FILE = "results.json"
_WRITERS = "clu.metric_writers"
_EXAMPLES_SHOWN = 4
_WORTH_A_WORD = 1.0  # seconds of compiling


def count(params: PyTree) -> int:
    """Returns the number of parameters of the network, without the weights of the losses."""
    network = {name: branch for name, branch in params.items() if name != "loss_weighting"}
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(network))


def describe(workdir: pathlib.Path, network: Network, params: PyTree, dataset: Dataset, num_devices: int) -> None:
    """Says what is about to be trained on what; the table of all parameters goes to `parameters.txt`."""
    sizes = ", ".join(f"{len(source)} {split}" for split, source in dataset.sources.items())
    logger.info("%s: %s images; tasks %s", dataset.name, sizes, ", ".join(network.tasks))
    logger.info(
        "%s parameters, %s of them in the backbone; %d %s device(s); run in %s",
        f"{count(params):,}",
        f"{count({'backbone': params['backbone']}):,}",
        num_devices * jax.process_count(),
        jax.default_backend(),
        workdir,
    )
    if jax.process_index() == 0:
        for sentence in statistics.training_warnings(dataset):
            logger.warning("warning: %s", sentence)
        overview = parameter_overview.get_parameter_overview(params, include_stats=False)
        (workdir / "parameters.txt").write_text(overview + "\n")


class EventWriter:
    """clu's writer of TensorBoard events, asynchronous; use as a context manager.

    It is made when there is something to write, since it imports TensorFlow, which takes seconds.
    """

    def __init__(self, workdir: pathlib.Path):
        self._workdir = workdir

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *exception) -> None:
        if "_writer" in vars(self):
            self._writer.close()  # writes what it still holds

    @functools.cached_property
    def _writer(self) -> Any:
        writers = importlib.import_module(_WRITERS)
        return writers.create_default_writer(self._workdir, just_logging=jax.process_index() > 0)

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes numbers by name."""
        self._writer.write_scalars(step, scalars)

    def write_histograms(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Writes the distribution of values by name."""
        self._writer.write_histograms(step, values)


@functools.cache
def import_writers_meanwhile() -> None:
    """Imports clu's writers, and with them TensorFlow, in a thread, so that `EventWriter` finds them; once."""
    threading.Thread(target=_try_to_import_writers).start()


def _try_to_import_writers() -> None:
    with contextlib.suppress(Exception):  # `EventWriter` meets it again, unless the process is ending
        importlib.import_module(_WRITERS)


def write_record(writer: EventWriter, record: Mapping[str, Any]) -> None:
    """Writes one record of the history as scalars named by their place in it: `validation/depth/mae`."""
    scalars = {name: value for name, value in _flat(record) if name not in ("epoch", "step")}
    writer.write_scalars(record["step"], scalars)


def line(history: Sequence[Mapping[str, Any]], network: Network, config: Config) -> str:
    """Returns the line that tells a person how the last epoch went."""
    record = history[-1]
    parts = [f"epoch {record['epoch']}/{config.num_epochs}: loss {record['total']['train']:.4g}"]
    if "validation" in record:
        metrics = [
            f"{name} {task.published_metric} {tables.number(record['validation'][name][task.published_metric])}"
            for name, task in network.tasks.items()
        ]
        parts.append(f"validation {tables.number(record['total']['validation'])} ({', '.join(metrics)})")
    zero = record["sparsity"]["group_percent"]
    parts.append(f"{zero:.1f} % of groups zero")
    if (compiling := sum(record["compile_seconds"].values())) >= _WORTH_A_WORD:
        parts.append(f"{duration(compiling)} compiling")
    if zero == 100:
        parts.append("nothing is left of the backbone: lower config.sparsity.strength")
    return ", ".join(parts)


def finish(
    config: Config,
    workdir: pathlib.Path,
    dataset: Dataset,
    on: Sequence[devices.Device],
    evaluator: evaluation.Evaluator,
    history: Sequence[Mapping[str, Any]],
    original: sparsity.Sizes,
) -> dict[str, Any]:
    """Evaluates the best checkpoint (and each task's own) on the test split; writes and returns the results.

    Args:
      config: of the run.
      workdir: of the run, with its checkpoints; they may hold networks of different sizes.
      dataset: what it was trained on.
      on: devices to evaluate on.
      evaluator: of the network as it is at the end, already compiled.
      history: of the run.
      original: the sizes of the layers of the network that training began with; sparsity is relative to them.
    """
    evaluators = {_key(evaluator.network): evaluator}

    def evaluate(which: str, split: str) -> evaluation.Results:
        trained = checkpoints.load_network(workdir, which)
        key = _key(trained.network)
        if key not in evaluators:
            evaluators[key] = evaluation.Evaluator(trained.network, on)
        return evaluators[key](trained.weights, evaluation.split_batches(dataset, split, config))

    best = checkpoints.load_network(workdir)
    network = best.network
    content = {
        "test": evaluate(checkpoints.BEST, "test"),
        "validation": evaluate(checkpoints.BEST, "validation"),
        "test_best_per_task": {task: evaluate(task, "test")[task] for task in network.tasks},
        "test_constant": evaluation.baseline(
            network,
            evaluation.split_batches(dataset, "train", config),
            evaluation.split_batches(dataset, "test", config),
            on,
        ),
        "sparsity": sparsity.sparsity_summary(best.weights["params"], sparse_groups(config), original).to_json(),
        "parameters": count(best.weights["params"]),
        "epochs": len(history),
        "best_epoch": best.epoch,
        "steps": history[-1]["step"],
        "seed": config.seed,
    }
    if jax.process_index() == 0:
        (workdir / _FILE).write_text(json.dumps(content, indent=2) + "\n")
        batch = _examples(dataset, "test")
        predict = evaluation.predictor(network, batch["image"].shape[1:3])
        report.write_report(
            workdir / "report",
            tasks=network.tasks,
            history=history,
            layers=content["sparsity"]["layers"],
            batch=batch,
            predictions=jax.device_get(predict(best.weights, batch["image"])),
        )
    logger.info(
        "%s\nalso in %s; figures in %s", tables.results(content, network.tasks), workdir / _FILE, workdir / "report"
    )
    useless = no_better_than_constant(content, network)
    if useless:
        logger.warning(
            "warning: on the test split %s no better than the best prediction that ignores the image: train longer%s",
            " and ".join(useless) + (" is" if len(useless) == 1 else " are"),
            f", or lower the sparsity ({content['sparsity']['group_percent']:.0f} % of the groups are zero)"
            if content["sparsity"]["group_percent"]
            else "",
        )
    return content


def _key(network: Network) -> str:
    return json.dumps(network_lib.to_json(network))


def no_better_than_constant(content: Mapping[str, Any], network: Network) -> list[str]:
    """Returns the tasks whose published metric on the test split does not beat the best constant prediction's."""
    useless = []
    for name, task in network.tasks.items():
        metric = task.published_metric
        reached, constant = content["test"][name][metric], content["test_constant"][name][metric]
        if reached is None or constant is None:
            continue
        gain = reached - constant if task.metric_info[metric].higher_is_better else constant - reached
        if gain <= 0:
            useless.append(name)
    return useless


def _examples(dataset: Dataset, split: str) -> dict[str, Any]:
    """Returns a few examples, spread evenly over the split, as one batch."""
    source = dataset.sources[split]
    examples = [source[index] for index in pipeline.evenly_spaced(source, _EXAMPLES_SHOWN)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif value is not None:
            yield f"{prefix}{name}", value
