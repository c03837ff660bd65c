"""The tables of a sweep: results, one row per tasks and setting, and paired tests."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import lim_jax
from lim_jax.errors import UserError
from sweeps import markup, paper, significance
from sweeps.records import Sweep
from sweeps.rows import Row, Value, of, tasks_text, value

_ARROWS = {True: "↑", False: "↓"}
_SPARSITY = {"group_percent": "groups zero, %", "parameter_percent": "parameters zero, %"}
_PUBLISHED = "paper: "
_COSTS = {
    "parameters": ("parameters left", 1, 0),
    "macs": ("MACs left, M", 1e-6, 2),
    "latency_ms": ("latency, ms", 1, 2),
}
Signs = dict[str, dict[str, bool]]  # {task: {metric: whether large values are good}}


class Column(NamedTuple):
    """A column of numbers.

    Attributes:
      name: above it.
      values: of each row; None: there is none.
      best: which is bold: "max", "min" or "" for none.
      digits: after the point.
    """

    name: str
    values: Sequence[Value | None]
    best: str
    digits: int


def chosen_metrics(sweep: Sweep, names: Sequence[str]) -> Signs:
    """Returns the metrics that are named ("task.metric"), the published one of each task if none is."""
    if not names:
        return {
            task: {name: of_task[name]["higher_is_better"] for name in list(of_task)[:1]}
            for task, of_task in sweep.metrics.items()
        }
    signs: Signs = {}
    for text in names:
        task, _, metric = text.partition(".")
        if metric not in sweep.metrics.get(task, {}):
            known = ", ".join(f"{task}.{metric}" for task, of_task in sweep.metrics.items() for metric in of_task)
            raise UserError(f"--metrics has {text!r}: the sweep has {known}")
        signs.setdefault(task, {})[metric] = sweep.metrics[task][metric]["higher_is_better"]
    return signs


def columns(
    sweep: Sweep, rows: Sequence[Row], signs: Signs, which: str, costs: Mapping[str, Any] | None = None
) -> list[Column]:
    """Returns the columns of numbers: metrics, zeros, Δm; after each what the paper has of it, if it has any.

    Args:
      sweep: the sweep.
      rows: of it.
      signs: the metrics to show, by task.
      which: results, as of `rows.of`.
      costs: what `costs.known` returns; columns, too, of each network without its zeros.
    """
    entries = [paper.entry(sweep.paper, row) for row in rows]
    found = []
    for task, metrics in signs.items():
        for metric, is_good in metrics.items():
            values = [value(row.metric(task, metric, which).values()) for row in rows]
            name = f"{task} {metric} {_ARROWS[is_good]}"
            digits = _digits(values)
            found.append(Column(name, values, "max" if is_good else "min", digits))
            if metric == next(iter(sweep.metrics[task])):
                found.append(Column(_PUBLISHED + name, [paper.result(entry, task) for entry in entries], "", digits))
    for key, name in _SPARSITY.items():
        found.append(Column(name, [value(row.sparsity(key).values()) for row in rows], "", 1))
        published = [Value(entry[key], None, paper.SEEDS) if entry else None for entry in entries]
        found.append(Column(_PUBLISHED + name, published, "", 1))
    for key, (name, factor, digits) in _COSTS.items() if costs else ():
        found.append(Column(name, [value(_left(costs or {}, row, key, factor)) for row in rows], "min", digits))
    base = _base(rows)
    over = f" over {base.setting}" if base else ""
    found.append(Column(f"Δm{over}, % ↑", gains(rows, signs, which), "max", 1))
    return [column for column in found if any(column.values) or not column.name.startswith(_PUBLISHED)]


def gains(rows: Sequence[Row], signs: Signs, which: str) -> list[Value | None]:
    """Returns Δm of each row over the dense networks of one task each, or over `_base`: over their means.

    Where a task alone has several dense rows, it is the first one that is done.
    """
    baseline: dict[str, dict[str, float | None]] = {}
    base = _base(rows)
    for row in [base] if base else [row for row in rows if row.is_dense and len(row.tasks) == 1]:
        for task in [task for task in row.tasks if not baseline.get(task)]:
            means = {metric: value(row.metric(task, metric, which).values()) for metric in signs.get(task, {})}
            baseline[task] = {metric: mean.mean for metric, mean in means.items() if mean}
    return [_gain(row, baseline, signs, which) for row in rows]


def _digits(values: Sequence[Value | None]) -> int:
    """Returns how many digits after the point a column of a metric needs: of shares and metres four, of angles two."""
    return 2 if any(abs(one.mean) >= 10 for one in values if one) else 4


def _base(rows: Sequence[Row]) -> Row | None:
    """Returns the first dense row of a sweep whose rows all have the same tasks, several of them; None of others."""
    if len({row.tasks for row in rows}) > 1 or len(rows[0].tasks) == 1:
        return None
    return next((row for row in rows if row.is_dense), None)


def _left(costs: Mapping[str, Any], row: Row, key: str, factor: float) -> list[float]:
    """Returns what the networks of a row cost without their zeros, of the seeds that are measured."""
    return [factor * costs[name][key]["compact"] for name in row.finished() if costs.get(name)]


def _gain(row: Row, baseline: Mapping[str, Any], signs: Signs, which: str) -> Value | None:
    if any(not baseline.get(task) for task in row.tasks):
        return None
    wanted = {task: signs[task] for task in row.tasks if task in signs}
    found = [lim_jax.delta_m(of(content, which), baseline, wanted) for content in row.results.values()]
    return value(gain for gain in found if gain is not None)


def results_table(rows: Sequence[Row], all_columns: Sequence[Column]) -> list[tuple[str, ...]]:
    """Returns the cells of the table of results, its head first; mean ± standard deviation, the best mean in bold.

    Where a number is of fewer runs than the row has, so many are in brackets.
    """
    cells = [("tasks", "sparsity", "n", *(column.name for column in all_columns))]
    for index, row in enumerate(rows):
        done = f"{len(row.results)}" + (f" of {len(row.runs)}" if row.missing else "")
        cells.append((tasks_text(row.tasks), row.setting, done, *(_cell(c, index, row) for c in all_columns)))
    return cells


def _cell(column: Column, index: int, row: Row) -> str:
    found = column.values[index]
    if found is None:
        return "-"
    text = f"{found.mean:z.{column.digits}f}"
    if found.deviation is not None:
        text += f" ± {found.deviation:.{column.digits}f}"
    if found.count != len(row.results) and not column.name.startswith(_PUBLISHED):
        text += f" ({found.count})"
    known = [one.mean for one in column.values if one is not None]
    best = {"max": max, "min": min}.get(column.best)
    return markup.bold(text) if best and len(known) > 1 and found.mean == best(known) else text


def results_csv(rows: Sequence[Row], all_columns: Sequence[Column]) -> str:
    """Returns the table of results with mean, standard deviation and number in columns of their own."""
    parts = ("mean", "std", "n")
    head = ["tasks", "sparsity", "runs", "done"]
    head += [f"{column.name.rstrip(' ↑↓')} {part}" for column in all_columns for part in parts]
    lines: list[list[object]] = [list(head)]
    for index, row in enumerate(rows):
        numbers = [part for column in all_columns for part in (column.values[index] or (None, None, 0))]
        lines.append([tasks_text(row.tasks), row.setting, len(row.runs), len(row.results), *numbers])
    return markup.as_csv(lines)


def tests_table(found: Sequence[significance.Comparison]) -> list[tuple[str, ...]]:
    """Returns the cells of the table of paired tests, its head first; p below 0.05 after correction is bold."""
    cells = [("difference", "metric", "seeds", "mean difference", "which is", "p", "p (Holm)")]
    for one in found:
        holm = _p(one.p_holm)
        is_clear = one.p_holm is not None and one.p_holm < 0.05
        word = "better" if one.better else "worse" if one.difference else "same"
        difference = f"{one.difference:+.4f}"
        cells.append(
            (one.what, one.metric, str(one.seeds), difference, word, _p(one.p), markup.bold(holm) if is_clear else holm)
        )
    return cells


def tests_csv(found: Sequence[significance.Comparison]) -> str:
    """Returns the paired tests with numbers in full."""
    return markup.as_csv([significance.Comparison._fields, *found])


def _p(p: float | None) -> str:
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
