"""Compares runs: `python -m lim_jax.compare RUN RUN ... [--baseline=RUN,...] [--format=markdown]`.

Prints the metrics of each run on the test split, its parameters, MACs and latency for one image, and Δm: the mean
over the tasks, and within a task over its metrics, of the relative gain over the baseline, in percent; positive is
better. `--metrics` says which metrics count and are shown.

The baseline of a task is what the runs of `--baseline` that have it reached, on average: usually one run per task, or
several with other seeds. Together they are a column of their own, for which parameters, MACs and latency of one network
per task add up.

A RUN is a workdir that training finished, or a compact network that `evaluate` measured. Of a run without a validation
split the mean of the last epochs is shown. Latencies are those of this machine, of all networks in turns, batch norm
folded; `--nolatency` leaves them out.
"""

import dataclasses
import json
import logging
import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from lim_jax.errors import UserError, one_line
from lim_jax.runtime import cli

logger = logging.getLogger("lim_jax.compare")  # as a verb, its __name__ is "__main__"

_ROUNDS = 5  # at least, when measuring latency
_SECONDS = 2.0  # of measuring at least
_FORMS = ("text", "markdown", "csv", "latex")
_BASELINE = "baseline"

Signs = dict[str, dict[str, bool]]  # {task: {metric: whether large values are good}}


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a workdir holds of a run.

    Attributes:
      results: `{task: {metric: number}}` on the test split.
      signs: of all metrics of its tasks.
      parameters: of the network.
      macs: for one image.
      call: computes one image.
    """

    results: Mapping[str, Mapping[str, float | None]]
    signs: Signs
    parameters: int
    macs: int
    call: Callable[[], Any]


def define_flags() -> None:
    """Defines the verb's flags; apart from importing, so that verbs can be imported together."""
    flags.DEFINE_list("baseline", [], "The runs to compare with, such as one per task.")
    flags.DEFINE_list("metrics", [], "What counts and is shown: segmentation.miou,depth.rmse; default: all metrics.")
    flags.DEFINE_enum("format", "text", _FORMS, "How the table is written.")
    flags.DEFINE_bool("latency", True, "Measure how long each network takes for an image.")


def main(argv: Sequence[str]) -> None:
    """Runs the verb on the parsed flags."""
    given = flags.FLAGS
    if len(argv) < 2:
        raise UserError("no runs: give the workdirs to compare, as in lim-jax compare runs/rooms runs/rooms_dense")
    print(compare(argv[1:], given.baseline, given.metrics, given.format, given.latency))


def compare(
    runs: Sequence[str],
    baseline: Sequence[str] = (),
    metrics: Sequence[str] = (),
    form: str = "text",
    latency: bool = True,
) -> str:
    """Returns the table.

    Args:
      runs: workdirs; their names are above the columns.
      baseline: workdirs, see the module's docstring.
      metrics: "task.metric" each, those that count and are shown; empty: all.
      form: "text", "markdown", "csv" or "latex".
      latency: whether to measure latencies.

    Raises:
      UserError: a workdir holds no results, or there is no such metric.
    """
    from lim_jax.figures import comparison
    from lim_jax.runtime import startup
    from lim_jax.tasks import delta_m

    startup.prepare("auto")
    found = {run: read(pathlib.Path(run)) for run in dict.fromkeys([*runs, *baseline])}
    signs: Signs = {}
    for each in found.values():
        for task, of_task in each.signs.items():
            signs.setdefault(task, {}).update(of_task)
    signs = chosen(signs, metrics)
    times = _latencies({run: each.call for run, each in found.items()}) if latency else {}

    def column(name: str, of: Sequence[str], results: Any, gain: float | None) -> comparison.Column:
        parameters, macs = (sum(getattr(found[run], what) for run in of) for what in ("parameters", "macs"))
        milliseconds = sum(times[run] for run in of) if times else None
        return comparison.Column(name, results, parameters, macs, milliseconds, gain)

    base = mean_results([found[run].results for run in baseline])
    columns = []
    if baseline:
        of = one_per_task({run: found[run].results for run in baseline})
        columns.append(column(_BASELINE, of, base, None))
    for run in dict.fromkeys(runs):
        results = found[run].results
        columns.append(column(run.rstrip("/"), [run], results, delta_m(results, base, signs)))
    return comparison.table(columns, signs, form)


def read(workdir: pathlib.Path) -> Measured:
    """Returns what a workdir holds; raises `UserError` where there are no results."""
    from lim_jax import compaction, config, network
    from lim_jax.prediction import costs
    from lim_jax.training import checkpoints

    settings = config.load(workdir)
    results = _results(workdir)
    trained = checkpoints.load_network(workdir)
    size = settings.dataset.get("padded_size", ())
    size = size if any(size) else settings.dataset.image_size
    return Measured(
        results,
        {
            name: {metric: info.higher_is_better for metric, info in task.metric_info.items()}
            for name, task in trained.network.tasks.items()
        },
        network.num_parameters(trained.variables["params"]),
        compaction.total(compaction.layer_costs(trained.network.model, size)).macs,
        costs.call(trained.network.model, trained.variables, size),
    )


def chosen(signs: Signs, metrics: Sequence[str]) -> Signs:
    """Returns the signs of the metrics ("task.metric") that are named, of all if none is; raises `UserError`."""
    if not metrics:
        return signs
    wanted: Signs = {}
    for name in metrics:
        task, _, metric = name.partition(".")
        if metric not in signs.get(task, {}):
            known = ", ".join(f"{task}.{metric}" for task, of in signs.items() for metric in of)
            raise UserError(f"--metrics has {name!r}: the runs have {known}")
        wanted.setdefault(task, {})[metric] = signs[task][metric]
    return wanted


def mean_results(
    results: Sequence[Mapping[str, Mapping[str, float | None]]],
) -> dict[str, dict[str, float | None]]:
    """Returns each task's metrics, averaged over the runs that have it; None where one of them has none."""
    tasks = dict.fromkeys(task for each in results for task in each)
    return {task: _mean([each[task] for each in results if task in each]) for task in tasks}


def one_per_task(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the runs that it takes to have every task, given `{run: {task: ...}}`; of the same tasks the first."""
    covered: set[str] = set()
    needed = []
    for run, tasks in results.items():
        if not covered.issuperset(tasks):
            needed.append(run)
            covered.update(tasks)
    return needed


def _mean(of_task: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for metric in of_task[0]:
        values = [value for each in of_task if (value := each.get(metric)) is not None]
        means[metric] = statistics.fmean(values) if len(values) == len(of_task) else None
    return means


def _results(workdir: pathlib.Path) -> dict[str, dict[str, float | None]]:
    """Returns the results on the test split that training or `evaluate` left."""
    files: dict[str, Callable[[Any], Any]] = {
        "results.json": lambda content: content.get("test_last_epochs", {}).get("mean") or content["test"],
        "evaluation_test.json": lambda content: content,
    }
    for name, test_of in files.items():
        path = workdir / name
        if path.is_file():
            try:
                return {task: dict(metrics) for task, metrics in test_of(json.loads(path.read_text())).items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                why = f"{path} is damaged ({one_line(error)})"
                raise UserError(f"{why}: copy it again, or evaluate that run again") from error
    raise UserError(
        f"{workdir} holds no results: let its training finish, or run lim-jax evaluate --workdir={workdir} first"
    )


def _latencies(calls: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    from lim_jax import compaction

    logger.info("measuring the latency of %d network(s)", len(calls))
    return compaction.latencies(calls, _ROUNDS, min_seconds=_SECONDS * len(calls))


if __name__ == "__main__":
    cli.run(main, define_flags)
