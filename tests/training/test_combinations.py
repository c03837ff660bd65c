"""What meets in one run: a budget of MACs, healing, shrinking, cosines of gradients, an interruption."""

import shutil

import pytest

from lim_jax import config as config_lib
from lim_jax import data
from lim_jax.training import checkpoints, loop
from tests import untrained
from tests.training.interrupted import assert_same_variables, history_of, train_in_two_parts
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow


def healing_config(data_dir):
    config = tiny_config(data_dir)
    config.num_epochs = 4
    config.model.backbone = "resnet18d"
    config.sparsity.strength = 0.0
    config.sparsity.target_macs = 0.6
    config.sparsity.healing_epochs = 1
    config.sparsity.compact_every_epochs = 3
    config.sparsity.patience_epochs = 1
    config.log_gradient_cosines = True
    return config


@pytest.fixture(scope="module")
def healed(tmp_path_factory, data_dir):
    """A finished run: its workdir, its history and the results."""
    workdir = tmp_path_factory.mktemp("run")
    results = loop.train_and_evaluate(healing_config(data_dir), workdir)
    return workdir, history_of(workdir), results


def test_macs_fall_to_the_budget_and_healing_keeps_them_there(healed):
    _, history, results = healed
    assert [record["healing"] for record in history] == [False, False, False, True]
    assert [record["strength"] > 0 for record in history[1:]] == [True, True, False]
    macs = [record["sparsity"]["macs_percent"] for record in history]
    assert 100 > macs[2] == macs[3]
    assert history[-1]["sparsity"]["revived"] == 0
    assert history[0]["network"]["parameters"] > history[-1]["network"]["parameters"] == results["parameters"]


def test_a_budget_goes_by_what_the_run_began_with(data_dir, tmp_path):
    """Not by what `init_from` holds when it goes on, which may be another network by then, or gone."""
    config = tiny_config(data_dir)
    config.num_epochs, config.sparsity.strength, config.sparsity.target_macs = 1, 0.0, 0.6
    source = untrained.make(config_lib.checked(config), data.load(config.dataset, config.tasks).specs)
    untrained.save(tmp_path / "source", config_lib.checked(config), source)
    config.init_from = str(tmp_path / "source")
    loop.train_and_evaluate(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "source")
    config.num_epochs = 2
    loop.train_and_evaluate(config, tmp_path / "run")
    before, after = (record["sparsity"]["macs_percent"] for record in history_of(tmp_path / "run"))
    assert before > 90 and after == pytest.approx(60, abs=3)


def test_the_cosine_of_the_tasks_gradients_is_in_every_record(healed):
    for record in healed[1]:
        (cosine,) = record["gradient_cosines"].values()
        assert set(record["gradient_cosines"]) == {"depth normals"} and -1 <= cosine <= 1 and cosine != 0


def test_a_run_that_was_interrupted_while_it_healed_ends_as_if_it_had_not_been(healed, data_dir, tmp_path, monkeypatch):
    workdir, history, expected = healed
    assert train_in_two_parts(healing_config(data_dir), tmp_path, monkeypatch, step=11) == expected
    assert history_of(tmp_path) == history
    assert_same_variables(workdir, tmp_path, checkpoints.LATEST)
