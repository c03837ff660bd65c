"""The tables of sweeps, finished, half done or with failed runs, against numbers from elsewhere."""

import copy
import csv
import dataclasses
import io
import json

import numpy as np
import pytest
import tables
from scipy import stats
from sweeps import markup, paper, planning, records, significance
from sweeps import tables as tables_lib
from sweeps.rows import rows, value

from lim_jax.errors import UserError
from tests.scripts import made_up_sweep

FAILED, WAITING = "depth_lambda1e-5_seed1", "normals_dense_seed4"
ALL = "segmentation + normals + depth"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table1")
    made_up_sweep.made_up(folder, "table1", "nyu", waiting={WAITING}, failed={FAILED})
    return folder


@pytest.fixture(scope="module")
def written(root):
    return dict(tables.write(root))


def reached(root, pattern, task, metric):
    """A metric by seed, as it stands in the files."""
    files = sorted(root.glob(f"{pattern}_seed*/results.json"))
    contents = [json.loads(file.read_text()) for file in files]
    return {content["seed"]: content["test"][task][metric] for content in contents}


def test_mean_and_deviation_of_the_runs_that_are_done(root, written):
    head, *cells = written["Results (test)"]
    assert len(cells) == 21
    by_row = {cell[:2]: dict(zip(head, cell, strict=True)) for cell in cells}
    one = by_row["depth", "λ = 1e-5"]
    numbers = list(reached(root, "depth_lambda1e-5", "depth", "mae").values())
    assert one["n"] == "4 of 5" and len(numbers) == 4
    assert one["depth mae ↓"] == f"{np.mean(numbers):.4f} ± {np.std(numbers, ddof=1):.4f}"
    assert one["segmentation iou ↑"] == "-"
    assert one["paper: depth mae ↓"] == "0.1625 ± 0.0015" and one["paper: groups zero, %"] == "89.9"


def test_the_best_mean_is_bold(written):
    head, *cells = written["Results (test)"]
    bold = [
        (name, cell[0], cell[1])
        for cell in cells
        for name, text in zip(head, cell, strict=True)
        if text.startswith(markup.bold("")[0])
    ]
    best = ["segmentation iou ↑", "normals cosine_similarity ↑", "depth mae ↓", "Δm, % ↑"]
    assert bold == [(name, ALL, "λ = 1e-5") for name in best]


def test_gain_over_dense_networks_of_one_task(root):
    found = list(csv.DictReader(io.StringIO((root / "tables" / "results.csv").read_text())))
    row = next(row for row in found if row["tasks"] == "segmentation + depth" and row["sparsity"] == "λ = 1e-6")
    gains = []
    for task, metric, sign in (("segmentation", "iou", 1), ("depth", "mae", -1)):
        base = np.mean(list(reached(root, f"{task}_dense", task, metric).values()))
        runs = np.array(list(reached(root, "segmentation+depth_lambda1e-6", task, metric).values()))
        gains.append(sign * 100 * (runs - base) / base)
    expected = np.mean(gains, axis=0)
    assert float(row["Δm, % mean"]) == pytest.approx(expected.mean())
    assert float(row["Δm, % std"]) == pytest.approx(expected.std(ddof=1))
    assert (row["Δm, % n"], row["paper: segmentation iou std"]) == ("5", "0.0049")


def test_of_several_dense_rows_of_a_task_the_gain_is_over_the_first_one_that_is_done(tmp_path):
    runs = {
        f"{task}_{rate}": {"tasks": (task,), "learning_rate": rate, "sparsity.strength": 0.0}
        for task in ("depth", "normals")
        for rate in (0.1, 0.2, 0.3)
    }
    (tmp_path / "plan.py").write_text(f"RUNS = {runs}")
    root = tmp_path / "root"
    made_up_sweep.made_up(root, str(tmp_path / "plan.py"), "nyu", waiting={"depth_0.1", "depth_0.3"})
    for name, mae in (("depth_0.2", 0.4), ("normals_0.2", 0.9)):
        content = json.loads((root / name / "results.json").read_text())
        for task in content["test"].values():
            task |= dict.fromkeys(task, mae)
        (root / name / "results.json").write_text(json.dumps(content))
    _, *cells = dict(tables.write(root))["Results (test)"]
    gains = {cell[:2]: cell[-1].strip(markup.bold("")) for cell in cells}
    assert gains["depth", "dense, learning_rate = 0.2"] == gains["normals", "dense, learning_rate = 0.1"] == "0.0"
    assert gains["normals", "dense, learning_rate = 0.2"] not in ("0.0", "-")


@pytest.mark.parametrize(
    ("share", "setting", "dense"), [(0.5, "target 50 % of the MACs left", False), (0.0, "dense", True)]
)
def test_a_target_of_macs_is_sparse(share, setting, dense, tmp_path):
    runs = {"one": {"sparsity.target_macs": share, "sparsity.strength": 1e-5 if share else 0.0}, "other": {"seed": 1}}
    (tmp_path / "plan.py").write_text(f"RUNS = {runs}")
    one = planning.made(str(tmp_path / "plan.py"), "nyu", tmp_path, []).runs["one"]
    assert (one.is_dense, one.target_macs, one.strength) == (dense, share, 0.0)
    assert rows(planning.made(str(tmp_path / "plan.py"), "nyu", tmp_path, []))[0].setting == setting


def test_of_the_same_tasks_the_gain_is_over_the_first_dense_row(tmp_path):
    made_up_sweep.made_up(tmp_path, "figure3", "nyu")
    name = "segmentation+normals+depth_lambda1e-6_seed0"
    cost = {key: {"dense": 4e6, "compact": 2e6} for key in ("parameters", "macs", "latency_ms")}
    sweep = records.load(tmp_path)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "costs.json").write_text(json.dumps(dict.fromkeys(sweep.runs) | {name: cost}))
    head, *cells = dict(tables.write(tmp_path, with_costs=True))["Results (test)"]
    assert head[-4:] == ("parameters left", "MACs left, M", "latency, ms", "Δm over dense, % ↑")
    by_row = {cell[1]: cell for cell in cells}
    assert by_row["dense"][-4:-1] == ("-", "-", "-") and by_row["dense"][-1].startswith("0.0 ±")
    assert by_row["λ = 1e-6"][-4:-1] == ("2000000 (1)", "2.00 (1)", "2000000.00 (1)")
    assert float(by_row["λ = 1e-4"][-1].split(" ± ")[0]) > 1


@pytest.mark.parametrize(("penalty", "key"), [("group_lasso", ""), ("l1", "zero_")])
def test_zero_parameters_of_l1_are_those_of_any_group(penalty, key, tmp_path):
    (tmp_path / "plan.py").write_text(f"RUNS = {{'one': {{'sparsity.target': 0.5, 'sparsity.penalty': '{penalty}'}}}}")
    sweep = made_up_sweep.made_up(tmp_path / "root", str(tmp_path / "plan.py"), "rooms")
    (row,) = rows(sweep)
    assert row.sparsity("parameter_percent") == {0: row.results[0]["sparsity"][f"{key}parameter_percent"]}


def test_paired_tests_are_over_the_seeds_that_both_have(root):
    found = list(csv.DictReader(io.StringIO((root / "tables" / "tests.csv").read_text())))
    row = next(row for row in found if row["what"] == "depth: λ = 1e-5 against dense")
    sparse, dense = (reached(root, f"depth_{word}", "depth", "mae") for word in ("lambda1e-5", "dense"))
    seeds = sorted(sparse.keys() & dense.keys())
    assert seeds == [0, 2, 3, 4] and row["seeds"] == "4"
    expected = stats.ttest_rel([sparse[seed] for seed in seeds], [dense[seed] for seed in seeds])
    assert float(row["p"]) == pytest.approx(expected.pvalue)
    assert float(row["difference"]) < 0 and row["better"] == "True"
    assert any(row["what"] == f"dense: {ALL} against normals alone" and row["seeds"] == "4" for row in found)


def test_means_over_combinations_count_seeds_as_repeats(root):
    found = rows(records.load(root))
    tests = significance.comparisons(found, {"depth": {"mae": False}}, "test")
    mean = next(one for one in tests if one.what.endswith("combinations: λ = 1e-5 against dense"))
    pairs = [
        [row.metric("depth", "mae") for row in found if row.tasks == tasks and row.setting == setting]
        for tasks in {row.tasks for row in found if "depth" in row.tasks}
        for setting in ("λ = 1e-5", "dense")
    ]
    sparse, dense = ([one for (one,) in pairs[start::2]] for start in (0, 1))
    seeds = sorted(set.intersection(*(set(one) for one in sparse + dense)))
    by_seed = [np.mean([a[seed] - b[seed] for a, b in zip(sparse, dense, strict=True)]) for seed in seeds]
    assert mean.what.startswith(f"mean of {len(sparse)} ") and len(sparse) > 1 and mean.seeds == len(seeds) > 1
    assert mean.difference == pytest.approx(np.mean(by_seed))
    assert mean.p == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue)


def test_each_kind_of_comparison_is_corrected_for_its_own_number(root):
    found = rows(records.load(root))
    tests = significance.comparisons(found, {"depth": {"mae": False}}, "test")
    kinds = {}
    for one in tests:
        is_mean, alone = one.what.startswith("mean of"), one.what.endswith("alone")
        kinds.setdefault((is_mean, alone), []).append(one)
    assert len(kinds) == 4
    for kind in kinds.values():
        smallest = min(kind, key=lambda one: one.p)
        assert smallest.p_holm == pytest.approx(min(1, len(kind) * smallest.p))


def test_any_setting_may_be_what_others_are_tested_against(root):
    found = rows(records.load(root))
    signs = {"depth": {"mae": False}, "normals": {"cosine_similarity": True}}
    tests = significance.comparisons(found, signs, "test", "λ = 1e-5")
    assert all(one.what.endswith(" against λ = 1e-5") and ": λ = 1e-5 against" not in one.what for one in tests)
    others = {row.setting for row in found} - {"λ = 1e-5"}
    assert {one.what for one in tests if one.what.startswith("depth:")} == {
        f"depth: {setting} against λ = 1e-5" for setting in others
    }
    dense = next(one for one in tests if one.what == "depth: dense against λ = 1e-5")
    default = significance.comparisons(found, signs, "test")
    sparse = next(one for one in default if one.what == "depth: λ = 1e-5 against dense")
    assert (dense.difference, dense.better, dense.p) == (-sparse.difference, not sparse.better, pytest.approx(sparse.p))
    with pytest.raises(UserError, match="no row is 'none'; there are dense; λ = "):
        significance.comparisons(found, signs, "test", "none")


def test_p_values_are_corrected_as_holm_does():
    names = ("what", "metric", 5, 0.1, True)
    found = significance._with_holm([significance.Comparison(*names, p) for p in (0.01, None, 0.04, 0.03)])
    assert [one.p_holm for one in found] == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]


@pytest.mark.parametrize("differences", [[0.1], [0.1, 0.1, 0.1], [0.0, 0.0]])
def test_no_p_value_without_variation(differences):
    assert significance.paired_p(differences) is None


@pytest.mark.parametrize("is_good", [True, False])
@pytest.mark.parametrize(("change", "word"), [(0.1, "better"), (-0.1, "worse"), (0.0, "same")])
def test_what_a_difference_is_goes_by_the_metric(change, word, is_good, tmp_path):
    sweep = made_up_sweep.made_up(tmp_path, "table3", "nyu")
    one, *_ = rows(sweep)
    result = one.results[0]["test"]["segmentation"]["iou"]
    moved = copy.deepcopy(one.results[0])
    moved["test"]["segmentation"]["iou"] = result + (change if is_good else -change)
    pair = significance._Pair("", "", dataclasses.replace(one, results={0: moved}), one)
    (found,) = significance._comparison("", [pair], "segmentation", "iou", is_good, "test")
    assert tables_lib.tests_table([found])[1][4] == word and found.better == (word == "better")


def test_angles_have_two_digits_after_the_point_and_shares_four(tmp_path):
    sweep = made_up_sweep.made_up(tmp_path, "table1", "nyu")
    for file in tmp_path.glob("*/results.json"):
        content = json.loads(file.read_text())
        for task in content["test"].values():
            if "angle_mean" in task:
                task["angle_mean"] = 21.6486
        file.write_text(json.dumps(content))
    signs = tables_lib.chosen_metrics(sweep, ["normals.angle_mean", "normals.cosine_similarity"])
    digits = {column.name: column.digits for column in tables_lib.columns(sweep, rows(sweep), signs, "test")}
    assert (digits["normals angle_mean ↓"], digits["normals cosine_similarity ↑"]) == (2, 4)


def test_what_is_not_done_is_listed(root, capsys):
    tables.main([f"--root={root}", "--metrics=depth.mae,segmentation.miou"])
    printed = capsys.readouterr().out
    assert f"- {FAILED}: failed (error: no data)" in printed and f"- {WAITING}: waiting" in printed
    assert "segmentation miou ↑" in printed and "paper: segmentation" not in printed


@pytest.mark.parametrize(
    ("title", "holds"),
    [
        ("Results (test)", [r"$\lambda$ = 1e-6", r"\textbf{", r"$\pm$"]),
        ("Paired tests across seeds", ["$<$ 0.001", r"against dense"]),
    ],
)
def test_latex(title, holds, written):
    text = markup.table(written[title], "latex")
    assert all(part in text for part in holds)
    assert not set("λ±↑↓Δ<>^~\ue000\ue001") & set(text.replace("$<$", ""))
    columns = {line.replace(r"\&", "").count("&") for line in text.splitlines() if line.endswith(r"\\")}
    assert columns == {len(written[title][0]) - 1}


def test_other_settings_are_rows_of_their_own(tmp_path):
    plan = {
        f"{rate}_{seed}": {"sparsity.strength": 1e-3, "num_epochs": 2, "learning_rate": rate, "seed": seed}
        for rate in (0.1, 0.2)
        for seed in (0, 1)
    }
    (tmp_path / "plan.py").write_text(f"RUNS = {plan}")
    found = rows(planning.made(str(tmp_path / "plan.py"), "rooms", tmp_path, []))
    assert [(row.setting, list(row.runs)) for row in found] == [
        ("λ = 1e-3, learning_rate = 0.1", [0, 1]),
        ("λ = 1e-3, learning_rate = 0.2", [0, 1]),
    ]


def test_nothing_done_and_damage_are_one_line(tmp_path):
    sweep = planning.made("table3", "nyu", tmp_path, [])
    records.save(sweep)
    with pytest.raises(UserError, match="is done"):
        tables.write(tmp_path)
    name = next(iter(sweep.runs))
    (tmp_path / name).mkdir()
    (tmp_path / name / records.RESULTS).write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        tables.write(tmp_path)
    with pytest.raises(UserError, match=r"'depth.miou': the sweep has segmentation\.iou"):
        tables.tables_lib.chosen_metrics(sweep, ["depth.miou"])


@pytest.mark.parametrize(
    ("plan", "config", "number"), [("table1", "nyu", 21), ("table2", "celeba", 12), ("table3", "nyu", 3)]
)
def test_the_paper_has_numbers_for_each_row_of_its_plans(plan, config, number, tmp_path):
    found = rows(planning.made(plan, config, tmp_path, []))
    entries = [paper.entry(plan, row) for row in found]
    assert len(entries) == number
    for row, entry in zip(found, entries, strict=True):
        assert all(paper.result(entry, task) for task in row.tasks) and set(entry["results"]) == set(row.tasks)
    assert paper.entry("", found[0]) is None


@pytest.mark.parametrize(
    ("flags", "number"),
    [([], "0.3000"), (["--per_task"], "0.3000"), (["--last_epoch"], "0.7000")],
)
def test_without_a_validation_split_the_last_epochs_are_averaged_or_not(flags, number, tmp_path, capsys):
    (tmp_path / "plan.py").write_text("RUNS = {'one': {'tasks': ('depth',)}}")
    root = tmp_path / "root"
    made_up_sweep.made_up(root, str(tmp_path / "plan.py"), "nyu")
    content = json.loads((root / "one" / "results.json").read_text())
    content["test"]["depth"]["mae"] = 0.7
    content["test_last_epochs"] = {"epochs": 10, "mean": {"depth": {"mae": 0.3}}}
    (root / "one" / "results.json").write_text(json.dumps(content))
    tables.main([f"--root={root}", *flags])
    assert f"| 1 | {number} |" in capsys.readouterr().out


def test_of_one_number_there_is_no_deviation():
    assert value([2.0]) == (2.0, None, 1) and value([]) is None
