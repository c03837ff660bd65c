"""Faults of a real run, from the outside: it goes on, or says in one line why not, and never with other numbers."""

import json
import shutil

import jax
import numpy as np
import pytest

from lim_jax.config import files
from lim_jax.errors import UserError
from lim_jax.training import checkpoints, loop, stored
from tests.training.interrupted import train_until
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def diverged(tmp_path_factory, data_dir):
    """A run whose learning rate was too high at first, and then was not; what it said."""
    workdir = tmp_path_factory.mktemp("run")
    config = tiny_config(data_dir)
    config.tasks, config.learning_rate, config.num_epochs = ("depth",), 1e30, 1
    with pytest.raises(UserError, match="not finite") as error:
        loop.train_and_evaluate(config, workdir)
    noted = json.loads((workdir / files.DIVERGED).read_text())
    config.learning_rate = 1e-4
    loop.train_and_evaluate(config, workdir)
    return workdir, config, str(error.value), noted


def test_a_run_that_diverged_goes_on_in_its_workdir(diverged):
    workdir, config, said, noted = diverged
    assert "lower config.learning_rate (now 1e+30)" in said
    assert "\n" not in said
    assert noted["learning_rate"] == 1e30
    assert not (workdir / files.DIVERGED).exists()
    assert (workdir / "results.json").is_file()
    assert json.loads((workdir / "config.json").read_text())["learning_rate"] == config.learning_rate
    config = config.copy_and_resolve_references()
    config.learning_rate = 1e-3
    with pytest.raises(UserError, match="learning_rate"):
        loop.train_and_evaluate(config, workdir)


def flip_weights(workdir, step):
    for path in (workdir / "checkpoints" / str(step) / "weights").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)


def save_among_bad_steps(workdir, step):
    """As if the run had been stopped there, and had diverged when it went on."""
    path = workdir / "checkpoints" / str(step) / "meta" / "metadata"
    content = json.loads(path.read_text())
    del content["digests"]
    path.write_text(json.dumps(content | {"bad_in_a_row": 2}))
    (workdir / files.DIVERGED).write_text(json.dumps({"step": step + 1}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [(flip_weights, "damaged (weights: "), (save_among_bad_steps, "from when steps were no longer finite")],
)
def test_an_unusable_checkpoint_is_passed_over(diverged, tmp_path, caplog, harm, said):
    """Of two epochs the second is harmed: the run repeats it, and ends as if nothing had been."""
    workdir, config, _, _ = diverged
    config = config.copy_and_resolve_references()
    config.num_epochs = 2
    for name in ("whole", "damaged"):
        shutil.copytree(workdir, tmp_path / name)
    expected = loop.train_and_evaluate(config, tmp_path / "whole")
    loop.train_and_evaluate(config, tmp_path / "damaged")
    harm(tmp_path / "damaged", 6)
    with caplog.at_level("WARNING", logger="lim_jax"):
        results = loop.train_and_evaluate(config, tmp_path / "damaged")
    (line,) = [record.message for record in caplog.records if "the checkpoint" in record.message]
    assert f"the checkpoint at step 6 is {said}" in line
    assert line.endswith(": going on from step 3")
    assert results == expected
    one, other = (checkpoints.load_network(tmp_path / name, stored.LATEST).variables for name in ("whole", "damaged"))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_run_that_was_stopped_among_bad_steps_starts_anew(diverged, tmp_path, caplog, monkeypatch):
    """SIGTERM in the first steps of a learning rate that is too high: what was saved then is no place to go on from."""
    workdir, config, _, _ = diverged
    config = config.copy_and_resolve_references()
    config.learning_rate = 1e30
    train_until(config, tmp_path, monkeypatch, step=1)
    with pytest.raises(UserError, match="it starts anew in"):
        loop.train_and_evaluate(config, tmp_path)
    config.learning_rate = 1e-4
    results = loop.train_and_evaluate(config, tmp_path)
    assert "is from when steps were no longer finite: starting anew" in caplog.text
    assert results == json.loads((workdir / "results.json").read_text())


def test_other_data_is_refused_before_anything_changes(diverged, tmp_path):
    workdir, config, _, _ = diverged
    shutil.copytree(workdir, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "3" / "meta" / "metadata"
    content = json.loads(path.read_text())
    content["data"]["examples"]["train"] = 23
    del content["digests"]
    path.write_text(json.dumps(content))
    config = config.copy_and_resolve_references()
    config.num_epochs = 5
    before = {each: each.read_bytes() for each in (tmp_path / "run").rglob("*") if each.is_file()}
    with pytest.raises(UserError, match=r"24 train images, not 23.*init_from"):
        loop.train_and_evaluate(config, tmp_path / "run")
    assert {each: each.read_bytes() for each in (tmp_path / "run").rglob("*") if each.is_file()} == before
