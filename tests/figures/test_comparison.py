"""The table of several runs, in each of its forms."""

import csv

import pytest

from lim_jax import compare
from lim_jax.figures import comparison
from lim_jax.figures.comparison import Column

SIGNS = {"segmentation": {"miou": True}, "depth": {"abs_err": False}}
COLUMNS = [
    Column("baseline", {"segmentation": {"miou": 0.4}, "depth": {"abs_err": 0.5}}, 2_000_000, 10**9, 30.0, None),
    Column("runs/a_b", {"segmentation": {"miou": 1 / 3}}, 12, 10**6, None, -2.25),
]


def test_text():
    lines = comparison.table(COLUMNS, SIGNS).splitlines()
    assert [line.split() for line in lines] == [
        ["baseline", "runs/a_b"],
        ["segmentation", "miou", "↑", "0.4", "0.3333"],
        ["depth", "abs_err", "↓", "0.5", "-"],
        ["parameters", "2,000,000", "12"],
        ["MACs", "1,000,000,000", "1,000,000"],
        ["latency,", "ms", "30", "-"],
        ["Δm,", "%", "-", "-2.25"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_csv_has_all_digits():
    rows = list(csv.reader(comparison.table(COLUMNS, SIGNS, "csv").splitlines()))
    assert rows[1] == ["segmentation miou", "0.4", repr(1 / 3)]
    assert rows[2] == ["depth abs_err", "0.5", ""]
    assert rows[3] == ["parameters", "2000000", "12"]
    assert rows[-1] == ["Δm, %", "", "-2.25"]


def test_markdown_and_latex():
    markdown = comparison.table(COLUMNS, SIGNS, "markdown").splitlines()
    assert markdown[:2] == ["|  | baseline | runs/a_b |", "|---|---:|---:|"]
    assert all(line.count("|") == 4 for line in markdown)
    latex = comparison.table(COLUMNS, SIGNS, "latex").splitlines()
    assert latex[:3] == [r"\begin{tabular}{lrr}", r" & baseline & runs/a\_b \\", r"\hline"]
    assert r"depth abs\_err $\downarrow$ & 0.5 & - \\" in latex
    assert latex[-2:] == [r"$\Delta_m$, \% & - & -2.25 \\", r"\end{tabular}"]


def test_what_nobody_measured_has_no_row():
    text = comparison.table([Column("a", {}, 1, 1, None, None)], {"depth": {"abs_err": False}})
    assert "latency" not in text and "Δm" not in text


@pytest.mark.parametrize("form", comparison.FORMS)
def test_the_verb_knows_all_forms(form):
    assert form in compare._FORMS and len(compare._FORMS) == len(comparison.FORMS)
