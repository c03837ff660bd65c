"""The results of a sweep, one row for the runs that differ in their seed alone; also of a sweep that is half done."""

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lim_jax.errors import UserError, one_line
from sweeps import records
from sweeps.records import Run, State, Sweep

_KNOWN = ("tasks", "seed", "sparsity.strength", "sparsity.target", "sparsity.target_macs", "sparsity.penalty")
LAST_EPOCH = "last epoch"
Results = Mapping[str, Mapping[str, float | None]]


class Value(NamedTuple):
    """Numbers of several runs.

    Attributes:
      mean: of them.
      deviation: the standard deviation of a sample; None of a single number.
      count: how many.
    """

    mean: float
    deviation: float | None
    count: int


@dataclasses.dataclass(frozen=True)
class Row:
    """Runs that differ in their seed alone.

    Attributes:
      tasks: that they train.
      setting: what else is special, for people: "dense", "λ = 1e-5", "target 70 %, learning_rate = 0.001", or a label
        of the plan.
      others: of that, what is neither λ nor a target: "learning_rate = 0.001", or the label.
      runs: all of them, by seed.
      results: the content of `results.json` of those that are done, by seed.
      missing: the state of the others, by the run's name.
    """

    tasks: tuple[str, ...]
    setting: str
    others: str
    runs: Mapping[int, Run]
    results: Mapping[int, Mapping[str, Any]]
    missing: Mapping[str, State]

    @property
    def run(self) -> Run:
        """The run of the first seed."""
        return next(iter(self.runs.values()))

    @property
    def is_dense(self) -> bool:
        """Whether nothing drives groups to zero."""
        return self.run.is_dense

    @property
    def name(self) -> str:
        """What the row is, for people."""
        return f"{tasks_text(self.tasks)}, {self.setting}"

    def finished(self) -> list[str]:
        """Returns the names of the runs that are done."""
        return [self.runs[seed].name for seed in self.results]

    def metric(self, task: str, metric: str, which: str = "test") -> dict[int, float]:
        """Returns a metric by seed, of the runs that have it."""
        found = {seed: of(content, which).get(task, {}).get(metric) for seed, content in self.results.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def sparsity(self, key: str) -> dict[int, float]:
        """Returns `group_percent` or `parameter_percent` by seed; of l1 all zero parameters, in whatever group."""
        if key == "parameter_percent" and self.run.penalty == "l1":
            key = "zero_parameter_percent"
        return {seed: float(content["sparsity"][key]) for seed, content in self.results.items()}


def of(content: Mapping[str, Any], which: str) -> Results:
    """Returns the metrics of a run.

    Args:
      content: of `results.json`.
      which: "test", or "test_best_per_task", the best epoch of each task by itself; of a run without a validation split
        the mean of its last epochs is taken for both, and for `LAST_EPOCH` the last one alone.
    """
    mean = {} if which == LAST_EPOCH else content.get("test_last_epochs", {}).get("mean")
    return mean or content.get(which) or content["test"]


def rows(sweep: Sweep) -> list[Row]:
    """Returns the rows of a sweep, in the order of its plan."""
    common = _common(sweep.runs.values())
    grouped: dict[str, list[Run]] = {}
    for run in sweep.runs.values():
        key = json.dumps([run.label, {**run.overrides, "seed": 0, "tasks": run.tasks}], sort_keys=True)
        grouped.setdefault(key, []).append(run)
    return [_row(sweep, runs, common) for runs in grouped.values()]


def value(numbers: Iterable[float]) -> Value | None:
    """Returns mean and standard deviation; None of nothing."""
    values = list(numbers)
    if not values:
        return None
    return Value(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def tasks_text(tasks: Sequence[str]) -> str:
    """Returns task names as a reader sees them."""
    return " + ".join(tasks)


def strength_text(strength: float) -> str:
    """Returns a strength as people write it: "1e-6"."""
    factor, power = f"{strength:.2e}".split("e")
    return f"{float(factor):g}e{int(power)}"


def missing_lines(all_rows: Iterable[Row]) -> list[str]:
    """Returns a line for each run that is not done: its name, what became of it, and a failed one's last words."""
    return [
        f"{name}: {state.kind}" + (f" ({state.last_line})" if state.last_line else "")
        for row in all_rows
        for name, state in row.missing.items()
    ]


def _row(sweep: Sweep, runs: Sequence[Run], common: set[str]) -> Row:
    results, missing = {}, {}
    for run in runs:
        state = records.state(sweep.root, run.name)
        if state.kind == records.DONE:
            results[run.seed] = _content(sweep, run)
        else:
            missing[run.name] = state
    setting, others = _setting(runs[0], common)
    return Row(runs[0].tasks, setting, others, {run.seed: run for run in runs}, results, missing)


def _content(sweep: Sweep, run: Run) -> dict[str, Any]:
    path = sweep.root / run.name / records.RESULTS
    try:
        content = json.loads(path.read_text())
        float(content["sparsity"]["group_percent"])
        of(content, "test")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({one_line(error)}): remove it, and go on") from error
    return content


def _setting(run: Run, common: set[str]) -> tuple[str, str]:
    """Returns `Row.setting` and `Row.others`."""
    if run.label:
        return run.label, run.label
    penalty = [] if run.is_dense or run.penalty == "group_lasso" else [run.penalty]
    if run.target or run.target_macs:
        share, of = (run.target, "") if run.target else (run.target_macs, " of the MACs left")
        sparsity = f"target {100 * share:.3g} %{of}"
    else:
        sparsity = f"λ = {strength_text(run.strength)}"
    changed = {key: value for key, value in run.overrides.items() if key not in common and key not in _KNOWN}
    others = [f"{key} = {value}" for key, value in changed.items()]
    setting = [*penalty, "dense" if run.is_dense else sparsity, *others]
    return ", ".join(setting), ", ".join([*penalty, *others])


def _common(runs: Iterable[Run]) -> set[str]:
    """Returns the keys that all runs override with the same value."""
    values = [{key: json.dumps(value) for key, value in run.overrides.items()} for run in runs]
    return {key for key, one in values[0].items() if all(each.get(key) == one for each in values)} if values else set()
