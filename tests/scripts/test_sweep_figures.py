"""Figures of sweeps: what they show, that it can be read, and overlaps counted by hand."""

import figures
import numpy as np
import pytest
from sweeps import drawings, overlap
from sweeps.rows import rows
from sweeps.series import series

from lim_jax.errors import UserError
from lim_jax.figures import compaction
from tests.figures.legibility import assert_legible, drawn, texts
from tests.scripts import made_up_sweep

TASKS = ("segmentation", "normals", "depth")
SIGNS = {"segmentation": {"iou": True}, "normals": {"cosine_similarity": True}, "depth": {"mae": False}}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figure3")
    waiting = {f"{'+'.join(TASKS)}_lambda1e-4_seed{seed}" for seed in range(5)}
    return made_up_sweep.made_up(folder, "figure3", "nyu", waiting, {f"{'+'.join(TASKS)}_dense_seed1"})


def test_a_series_goes_from_dense_to_the_strongest(sweep):
    found = series(rows(sweep))
    assert list(found.labels) == ["dense", *(f"$10^{{{power}}}$" for power in range(-7, -2))]
    assert [len(row.results) for row in found.rows] == [4, 5, 5, 5, 0, 5] and found.axis == "strength λ"
    assert series(rows(sweep), ["depth"]) is None


def test_a_series_over_targets(tmp_path):
    made = made_up_sweep.made_up(tmp_path, "rooms", "rooms", failed={"depth_target30_seed0"})
    found = series(rows(made), ["depth"])
    assert list(found.labels) == ["dense", "30", "50", "70", "90"] and "target" in found.axis
    assert series(rows(made)).rows[0].tasks == TASKS


def test_a_series_over_macs_goes_from_many_to_few(tmp_path):
    runs = {f"macs{share}": {"sparsity.target_macs": share, "sparsity.strength": 0.0} for share in (0.0, 0.3, 0.8)}
    (tmp_path / "plan.py").write_text(f"RUNS = {runs}")
    found = series(rows(made_up_sweep.made_up(tmp_path / "root", str(tmp_path / "plan.py"), "nyu")))
    assert list(found.labels) == ["dense", "80", "30"] and "MACs" in found.axis


def test_rows_that_differ_in_something_else_too_are_all_shown(tmp_path):
    plan = tmp_path / "rates.py"
    runs = {
        f"{rate}_seed{s}": {"learning_rate": rate, "sparsity.target": 0.7, "seed": s}
        for rate in (1e-3, 3e-4)
        for s in (0, 1)
    }
    plan.write_text(f"RUNS = {runs}")
    sweep = made_up_sweep.made_up(tmp_path / "sweep", str(plan), "rooms")
    found = series(rows(sweep))
    assert list(found.labels) == ["70\nlearning_rate = 0.001", "70\nlearning_rate = 0.0003"]
    for figure in (drawn(drawings.sparsity, found), drawn(drawings.performance, found, SIGNS, sweep.metrics, "test")):
        assert_legible(figure)
        assert set(found.labels) <= {text.get_text() for text in texts(figure)}
        joined = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 1]
        assert joined and {line.get_linestyle() for line in joined} == {"None"}


@pytest.mark.parametrize("name", ["performance", "sparsity", "epochs", "latency"])
def test_figures_over_the_strength(sweep, name):
    found = series(rows(sweep))
    costs = [{"latency_ms": {"dense": 9.0, "compact": 8.0 - place}} if place != 2 else None for place in found.places]
    histories = [drawings.longest_history(sweep.root, row) for row in found.rows]
    draw = {
        "performance": lambda: drawings.performance(found, SIGNS, sweep.metrics, "test"),
        "sparsity": lambda: drawings.sparsity(found),
        "epochs": lambda: drawings.over_epochs(found, histories),
        "latency": lambda: drawings.latency(found, costs),
    }[name]
    figure = drawn(draw)
    assert_legible(figure)
    assert figure.get_figwidth() == drawings.COLUMN
    if name == "latency":
        lines = [line for line in figure.axes[0].get_lines() if line.get_marker() in ("o", "s")]
        assert [list(line.get_xdata()) for line in lines] == [[0, 1, 3, 4, 5]] * 2
    if name == "performance":
        y = figure.axes[2].get_lines()[0].get_ydata()
        expected = [np.mean(list(row.metric("depth", "mae").values())) for row in found.rows if row.results]
        assert list(y) == pytest.approx(expected)


def test_layers_of_several_networks():
    layers = {
        f"backbone/layer{i // 9 + 1}_{i % 9}/conv1": {"groups": 4 ** (i % 6 + 1), "zero_groups": i % 2}
        for i in range(70)
    }
    figure = drawn(compaction.groups_of_networks, {"depth": layers, "depth + normals": layers})
    assert_legible(figure)
    assert any("depth + normals: 0." in text.get_text() for text in texts(figure))


def test_overlap_by_hand():
    one = {"a": np.array([1, 1, 0, 0], bool), "b": np.array([1, 0], bool)}
    other = {"a": np.array([1, 0, 0, 0], bool), "b": np.array([1, 1], bool)}
    none = {name: np.zeros_like(live) for name, live in one.items()}
    shares, chance = overlap.overlap([one, other, none])
    assert shares[0] == pytest.approx([100, 200 / 3, 0])
    assert shares[1] == pytest.approx([200 / 3, 100, 0])
    assert np.isnan(shares[2]).all()
    assert chance[0, 1] == pytest.approx(100 * (2 / 4 + 1 * 1) / 3)
    names = ["segmentation", "normals", "segmentation + normals + depth"]
    assert_legible(drawn(overlap.draw, overlap.Overlap(names, shares, chance, 2)))


def test_the_script_draws_what_half_a_sweep_allows(sweep):
    figures.main([f"--root={sweep.root}", "--nolatency"])
    names = {path.stem for path in (sweep.root / "figures").glob("*.png")}
    assert names == {path.stem for path in (sweep.root / "figures").glob("*.pdf")}
    assert names == {"performance", "sparsity", "epochs", *(f"layers_lambda_1e-{n}" for n in (7, 6, 5, 3))}
    with pytest.raises(UserError, match="no run of depth"):
        figures.write(sweep.root, ["depth"])


def test_metrics_that_the_combination_lacks(tmp_path):
    made_up_sweep.made_up(tmp_path, "table1", "nyu")
    with pytest.raises(UserError, match="depth has none of these metrics: give --tasks"):
        figures.write(tmp_path, ["depth"], ["normals.cosine_similarity"], latency=False)
