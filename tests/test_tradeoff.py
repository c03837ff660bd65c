"""The verb on tiny rooms: what it plans, that it resumes, what it writes and concludes."""

import itertools
import json

import pytest

from lim_jax import tradeoff
from lim_jax.errors import UserError
from lim_jax.figures import tradeoff as figure
from lim_jax.prediction import costs
from lim_jax.training import loop
from tests.figures.legibility import assert_legible, drawn
from tests.training.tiny import tiny_config


def made_up(gains):
    """The content of tradeoff.json with networks of these gains over the first, each smaller than the one before."""
    networks = {
        "dense" if not place else f"target{30 + 10 * place}": {
            "group_percent": 10.0 * place,
            "test": {
                "depth": {"mae": 0.1 - (gain or 0) / 1000},
                "normals": {"cosine_similarity": None if place else 0.9},
            },
            "delta_m": gain,
            "parameters": 1000 - 100 * place,
            "macs": 10**6,
            "latency_ms": 10.0 - place,
        }
        for place, gain in enumerate(gains)
    }
    metrics = {
        "depth": {"metric": "mae", "label": "MAE", "higher_is_better": False},
        "normals": {"metric": "cosine_similarity", "label": "cosine similarity", "higher_is_better": True},
    }
    return {"image_size": [64, 64], "metrics": metrics, "networks": networks}


def test_all_networks_after_the_first_start_from_it_and_train_as_long(tmp_path):
    config = tiny_config(tmp_path)
    config.num_epochs, config.sparsity.healing_epochs = 9, 1
    configs = tradeoff.plan(config, tmp_path, [0.5, 0.825])
    assert list(configs) == ["start", "dense", "target50", "target82.5"]
    assert [each.num_epochs for each in configs.values()] == [9, 4, 4, 4]
    assert [each.init_from for each in configs.values()] == ["", *[str(tmp_path / "start")] * 3]
    assert [each.sparsity.target for each in configs.values()] == [0, 0, 0.5, 0.825]
    assert {(each.sparsity.strength, each.sparsity.healing_epochs) for each in configs.values()} == {(0, 0)}
    assert config.sparsity.strength == 3e-3, "what was given is as it was"


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([0.0, 2.0, -0.5, -4.0], "target50, with 80 % of its parameters, 80 % of its latency"),
        ([0.0, -2.0, -3.0], "no sparse network is within 1 %"),
        ([0.0, None], "no sparse network is within 1 %"),
    ],
)
def test_the_smallest_network_that_is_as_good_is_named(gains, expected):
    assert expected in tradeoff.conclusion(made_up(gains))


def test_figure_and_table():
    content = made_up([0.0, 2.0, -0.5, -4.0])
    drawing = drawn(figure.draw, content)
    assert_legible(drawing)
    line = next(line for line in drawing.axes[1].get_lines() if line.get_marker() == "o")
    assert list(line.get_xdata()) == [9, 8, 7] and list(line.get_ydata()) == pytest.approx([0.098, 0.1005, 0.104])
    rows = figure.table(content).splitlines()
    assert rows[2].split() == ["target40", "10.0", "0.098", "-", "+2.0", "900", "1,000,000", "9"]


@pytest.mark.parametrize("gains", [[0.0, 2.0, 2.0, 2.0], [0.0, 2.0, 2.05, -30.0], [0.0, 3.0, 1.0, -1.0, -3.0]])
@pytest.mark.parametrize("smaller_by", [100, 20, 0])
def test_percentages_hide_neither_each_other_nor_points(gains, smaller_by):
    content = made_up(gains)
    for place, network in enumerate(content["networks"].values()):
        network["parameters"] = 1000 - smaller_by * place
    drawing = drawn(figure.draw, content)
    axes = drawing.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(gains) - 1
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    line = next(line for line in axes.get_lines() if line.get_marker() == "o")
    points = axes.transData.transform(line.get_xydata())
    assert not any(box.contains(*point) for box in boxes for point in points)


@pytest.mark.parametrize(
    ("texts", "message"), [(["x"], "'x': write shares"), (["1"], "more than 0 and less than 1"), ([], "no targets")]
)
def test_mistakes_in_targets(texts, message):
    with pytest.raises(UserError, match=message):
        tradeoff._parsed(texts)


@pytest.mark.slow
def test_trains_measures_and_resumes(data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(costs, "_SECONDS", 0.1)
    config = tiny_config(data_dir)
    config.tasks, config.num_epochs = ("depth",), 2
    content = tradeoff.tradeoff(config, tmp_path, [0.5])
    assert json.loads((tmp_path / "tradeoff.json").read_text()) == content
    assert (tmp_path / "tradeoff.png").is_file() and "for one image" in capsys.readouterr().out
    dense = content["networks"]["dense"]
    assert dense["delta_m"] == 0 and dense["group_percent"] == 0 and dense["parameters"] > 0 and dense["latency_ms"] > 0
    trained = json.loads((tmp_path / "target50" / "results.json").read_text())
    assert content["networks"]["target50"]["test"] == trained["test"] and trained["epochs"] == 1

    monkeypatch.setattr(loop, "train_and_evaluate", lambda *_: pytest.fail("nothing is left to train"))
    assert tradeoff.tradeoff(config, tmp_path, [0.5])["networks"].keys() == {"dense", "target50"}
    config.num_epochs = 4
    with pytest.raises(UserError, match=r"other lengths \(start: 2 epochs, not 4\)"):
        tradeoff.tradeoff(config, tmp_path, [0.5, 0.7])
    config.num_epochs, config.batch_size = 2, 4
    with pytest.raises(pytest.fail.Exception):
        tradeoff.tradeoff(config, tmp_path, [0.5])
