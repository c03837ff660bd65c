"""Several runs side by side: metrics, size, cost and Δm, as text, Markdown, CSV or LaTeX."""

import csv
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence

from lim_jax.figures import tables
from lim_jax.runtime.tables import aligned
from lim_jax.tasks.gain import Results

_ARROWS = {True: "↑", False: "↓"}
_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "_%&#${}"},
    **{sign: f"${sign}$" for sign in "<>"},
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "Δm": r"$\Delta_m$",
}


@dataclasses.dataclass(frozen=True)
class Column:
    """What is shown of a run, or of several baselines together.

    Attributes:
      name: above the column.
      results: its metrics.
      parameters: of the network.
      macs: for one image.
      latency_ms: for one image; None: not measured.
      delta_m: percent; None: there is nothing to compare with.
    """

    name: str
    results: Results
    parameters: int
    macs: int
    latency_ms: float | None
    delta_m: float | None


Rows = list[tuple[str, ...]]


def table(columns: Sequence[Column], higher_is_better: Mapping[str, Mapping[str, bool]], form: str = "text") -> str:
    """Returns a row per metric, a column per run.

    Args:
      columns: the runs.
      higher_is_better: the metrics to show, by task.
      form: one of `FORMS`; CSV has numbers in full.
    """
    exact = form == "csv"
    rows: Rows = [("", *(column.name for column in columns))]
    for task, signs in higher_is_better.items():
        for metric, is_good in signs.items():
            label = f"{task} {metric}" if exact else f"{task} {metric} {_ARROWS[is_good]}"
            values = [column.results.get(task, {}).get(metric) for column in columns]
            rows.append((label, *(_number(value, exact) for value in values)))
    rows.append(("parameters", *(_count(column.parameters, exact) for column in columns)))
    rows.append(("MACs", *(_count(column.macs, exact) for column in columns)))
    if any(column.latency_ms is not None for column in columns):
        rows.append(("latency, ms", *(_number(column.latency_ms, exact) for column in columns)))
    gains = [column.delta_m for column in columns]
    if any(gain is not None for gain in gains):
        rows.append(("Δm, %", *(_gain(gain, exact) for gain in gains)))
    return FORMS[form](rows)


def _number(value: float | None, exact: bool) -> str:
    if exact:
        return "" if value is None else repr(value)
    return tables.number(value)


def _count(value: int, exact: bool) -> str:
    return str(value) if exact else f"{value:,}"


def _gain(value: float | None, exact: bool) -> str:
    return _number(value, exact) if exact or value is None else f"{value:+.2f}"


def _markdown(rows: Rows) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    rule = "|---" + "|---:" * (len(rows[0]) - 1) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _csv(rows: Rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().rstrip("\n")


def _latex(rows: Rows) -> str:
    def escaped(cell: str) -> str:
        cell = "".join(_LATEX.get(sign, sign) for sign in cell)
        return cell.replace("Δm", _LATEX["Δm"])

    lines = [" & ".join(map(escaped, row)) + r" \\" for row in rows]
    columns = "l" + "r" * (len(rows[0]) - 1)
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", lines[0], r"\hline", *lines[1:], r"\end{tabular}"])


FORMS: dict[str, Callable[[Rows], str]] = {"text": aligned, "markdown": _markdown, "csv": _csv, "latex": _latex}
