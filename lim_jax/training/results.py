"""What a run ends with: `results.json`, the table of results, the report's figures."""

import json
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from lim_jax import network as network_lib
from lim_jax import sparsity
from lim_jax.config import Config
from lim_jax.data import pipeline
from lim_jax.figures import report, tables
from lim_jax.models.classifier import Classifier
from lim_jax.network import Network, Trained
from lim_jax.prediction import evaluation
from lim_jax.runtime import whole_files
from lim_jax.training import checkpoints, history, shrinking, state
from lim_jax.training.run import Run, Standing

if TYPE_CHECKING:  # importing it imports TFDS
    from lim_jax.data import Dataset

logger = logging.getLogger(__name__)

PyTree = Any
Predict = Callable[[np.ndarray], dict[str, np.ndarray]]  # uint8 images (N, H, W, 3) -> {task: predictions}
_FILE = "results.json"
_EXAMPLES_SHOWN = 4


def finish(run: Run, standing: Standing) -> dict[str, Any]:
    """Evaluates the best checkpoint (and each task's own) on the test split; writes and returns the results."""
    best = checkpoints.load_network(run.workdir)
    content = measure(run, standing, best)
    if jax.process_index() == 0:
        whole_files.write_json(run.workdir / _FILE, content)
        layers_of, details = content["sparsity"]["layers"], content.get("test_details")
        draw_report(run.workdir / "report", run.dataset, standing.history, best, layers_of, details)
    table = tables.results(content, best.network.tasks)
    logger.info("%s\nalso in %s; figures in %s", table, run.workdir / _FILE, run.workdir / "report")
    _warn_of_useless_tasks(content, best.network)
    return content


def remove_outdated(run: Run) -> None:
    """Removes the results of a run that had ended, and is trained further now: they are those of another network."""
    if jax.process_index() == 0:
        (run.workdir / _FILE).unlink(missing_ok=True)


def measure(run: Run, standing: Standing, best: Trained) -> dict[str, Any]:
    """Returns the content of `results.json`, given the best network; those of the checkpoints may differ in size."""
    evaluators = {_key(standing.network): standing.programs.evaluate}  # compiled already

    def evaluator_of(trained: Trained) -> evaluation.Evaluator:
        key = _key(trained.network)
        if key not in evaluators:
            evaluators[key] = evaluation.Evaluator(trained.network, run.local_devices)
        return evaluators[key]

    def evaluate(trained: Trained, split: str) -> evaluation.Results:
        batches = evaluation.split_batches(run.dataset, split, run.config)
        return evaluator_of(trained)(trained.variables, batches)

    batches = evaluation.split_batches(run.dataset, "test", run.config)
    test, details = evaluator_of(best).with_details(best.variables, batches)

    params = best.variables["params"]
    return {
        "test": test,
        **({"test_details": details} if details else {}),
        **_by_validation(run, standing, best, test, evaluate),
        "test_constant": _baseline(run, best.network),
        "sparsity": sparsity.sparsity_summary(params, run.groups, standing.shrinking.original).to_json(),
        "parameters": network_lib.num_parameters(params),
        "epochs": len(standing.history),
        "best_epoch": best.epoch,
        "steps": standing.history[-1]["step"],
        "seed": run.config.seed,
    }


def _key(network: Network) -> str:
    return json.dumps(network_lib.to_json(network))


def _baseline(run: Run, network: Network) -> evaluation.Results:
    """Returns the results on the test split of the best prediction that ignores the image."""
    train, test = (evaluation.split_batches(run.dataset, split, run.config) for split in ("train", "test"))
    return evaluation.baseline(network, train, test, run.local_devices)


def _by_validation(
    run: Run,
    standing: Standing,
    best: Trained,
    test: evaluation.Results,
    evaluate: Callable[[Trained, str], evaluation.Results],
) -> dict[str, Any]:
    """Returns the results that a validation split decides; without one, the mean of the last epochs' instead.

    Args:
      run: the run.
      standing: at its end.
      best: the best network.
      test: its results on the test split.
      evaluate: measures a network on a split.
    """
    if history.evaluated_split(run.config) == "test":
        return {"validation": {}, "test_last_epochs": history.mean_of_last(standing.history)}
    by_step = {best.step: test}  # the best checkpoints of several tasks are often one
    best_per_task = {}
    for task in best.network.tasks:
        trained = checkpoints.load_network(run.workdir, task)
        if trained.step not in by_step:
            by_step[trained.step] = evaluate(trained, "test")
        best_per_task[task] = by_step[trained.step][task]
    return {"validation": evaluate(best, "validation"), "test_best_per_task": best_per_task}


def redraw(run: Run, standing: Standing) -> list[pathlib.Path]:
    """Draws the report of a run that goes on, with the network as it is, if it is time to; returns the files."""
    every = run.config.report_every_epochs
    epoch = len(standing.history)
    if jax.process_index() > 0 or not every or epoch % every or epoch >= run.config.num_epochs:
        return []
    now = Trained(standing.network, jax.device_get(standing.state.evaluated), standing.history[-1]["step"], epoch)
    summary = sparsity.sparsity_summary(now.variables["params"], run.groups, standing.shrinking.original)
    return draw_report(run.workdir / "report", run.dataset, standing.history, now, summary.to_json()["layers"])


def layers(trained: Trained, config: Config, meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the sparsity of each layer, as `results.json` has it, given the meta data of a run's checkpoint."""
    original = shrinking.from_json(meta["shrinking"]).original if meta.get("shrinking") else None
    groups = state.sparse_groups(config)
    return sparsity.sparsity_summary(trained.variables["params"], groups, original).to_json()["layers"]


def draw_report(
    directory: pathlib.Path,
    dataset: "Dataset",
    history: Sequence[Mapping[str, Any]],
    trained: Trained,
    layers: Mapping[str, Any],
    details: Mapping[str, Any] | None = None,
) -> list[pathlib.Path]:
    """Writes the figures of a run to a folder, and returns the files.

    Args:
      directory: made if needed.
      dataset: of the run.
      history: of the run.
      trained: the network to show.
      layers: the sparsity of each layer, as `results.json` has it.
      details: `Task.details` on the test split, by task.
    """
    indices = pipeline.evenly_spaced(dataset.sources["test"], _EXAMPLES_SHOWN)
    batch, predictions = predicted_examples(dataset, "test", indices, predict_of(trained, dataset))
    return report.write_report(
        directory,
        tasks=trained.network.tasks,
        history=history,
        layers=layers,
        details=details,
        batch=batch,
        predictions=predictions,
    )


def predict_of(trained: Trained, dataset: "Dataset") -> Predict:
    """Returns a function from images of the test split to what is predicted for them; compiled once per number."""
    predict = evaluation.predictor(trained.network, dataset.sources["test"][0]["image"].shape[:2])
    return lambda images: jax.device_get(predict(trained.variables, images))


def predicted_examples(
    dataset: "Dataset", split: str, indices: Sequence[int], predict: Predict
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns examples of a split as one batch, and what is predicted for them."""
    examples = [dataset.sources[split][index] for index in indices]
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *examples)
    return batch, predict(batch["image"])


def _warn_of_useless_tasks(content: Mapping[str, Any], network: Network) -> None:
    useless = no_better_than_constant(content, network)
    if useless and jax.process_index() == 0:  # of several processes one says it
        logger.warning(
            "warning: on the test split %s no better than the best prediction that ignores the image: %s",
            ", ".join(useless) + (" is" if len(useless) == 1 else " are"),
            advice(useless, content["sparsity"]["group_percent"], network),
        )


def advice(useless: Sequence[str], group_percent: float, network: Network) -> str:
    """Returns what may help tasks that learned nothing, given how many groups of the network are zero."""
    choices = ["train longer"]
    if any(isinstance(network.model.heads[task], Classifier) for task in useless):
        choices.append("give config.model.image_head=linear, which little data can train")
    if group_percent:
        choices.append(f"lower the sparsity ({group_percent:.0f} % of the groups are zero)")
    return ", or ".join(choices)


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
