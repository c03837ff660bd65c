"""The verb on networks that were never trained, and how baselines are put together."""

import json
import subprocess
import sys

import pytest

from lim_jax import compare, data
from lim_jax import config as config_lib
from lim_jax.errors import UserError
from tests import untrained
from tests.training.tiny import tiny_config

SINGLE = {"depth": {"mae": 0.2, "rmse": 0.5}}


def test_baselines_are_averaged_and_counted_once_per_task():
    seeds = [{"depth": {"mae": 0.2}}, {"normals": {"angle_mean": 20.0}}, {"depth": {"mae": 0.4}}]
    mean = compare.mean_results(seeds)
    assert mean == {"depth": {"mae": pytest.approx(0.3)}, "normals": {"angle_mean": 20.0}}
    assert compare.mean_results([{"depth": {"mae": None}}, {"depth": {"mae": 1.0}}]) == {"depth": {"mae": None}}
    assert compare.one_per_task(dict(zip("abc", seeds, strict=True))) == ["a", "b"]


def test_metrics_are_chosen_by_name():
    signs = {"depth": {"mae": False, "rmse": False}, "normals": {"angle_mean": False}}
    assert compare.chosen(signs, ()) == signs
    assert compare.chosen(signs, ["depth.rmse"]) == {"depth": {"rmse": False}}
    with pytest.raises(UserError, match=r"'depth.miou': the runs have depth\.mae, depth\.rmse"):
        compare.chosen(signs, ["depth.miou"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data_dir):
    """Workdirs of a network with two tasks and of one with depth alone."""
    results = {
        "both": {"depth": {"mae": 0.1, "rmse": 0.5}, "normals": {"angle_mean": 30.0}},
        "depth": SINGLE,
        "unfinished": None,
    }
    folders = {}
    for name, test in results.items():
        folders[name] = workdir = tmp_path_factory.mktemp(name)
        config = tiny_config(data_dir)
        config.tasks = ("depth", "normals") if name == "both" else ("depth",)
        config = config_lib.checked(config)
        config_lib.save(config, workdir)
        if test is None:
            continue
        untrained.save(workdir, config, untrained.make(config, data.load(config.dataset, config.tasks).specs))
        last = {} if name == "both" else {"test_last_epochs": {"epochs": 2, "mean": test}}
        content = {"test": test if name == "both" else {"depth": {"mae": 9.0}}, **last}
        (workdir / "results.json").write_text(json.dumps(content))
    return {name: str(folder) for name, folder in folders.items()}


@pytest.mark.slow
def test_runs_side_by_side(runs):
    text = compare.compare([runs["both"]], [runs["depth"]], latency=False)
    rows = {line.rsplit(maxsplit=2)[0].strip(): line.split()[-2:] for line in text.splitlines()[1:]}
    assert rows["depth mae ↓"] == ["0.2", "0.1"]
    assert rows["normals angle_mean ↓"] == ["-", "30"]
    assert rows["Δm, %"] == ["-", "+25.00"], "half of +50 % and 0 %; nothing to compare normals with"
    parameters, macs = ([int(number.replace(",", "")) for number in rows[name]] for name in ("parameters", "MACs"))
    assert parameters[0] < parameters[1] < 2 * parameters[0] and macs[0] < macs[1]
    with pytest.raises(UserError, match="holds no results"):
        compare.compare([runs["unfinished"]], latency=False)


@pytest.mark.slow
def test_latencies_on_the_command_line(runs):
    command = [sys.executable, "-m", "lim_jax", "compare", runs["depth"], "--format=csv", "--metrics=depth.mae"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = dict(line.rsplit(",", 1) for line in result.stdout.splitlines()[1:])
    assert float(lines.pop('"latency, ms"')) > 0
    assert lines["depth mae"] == "0.2" and lines.keys() == {"depth mae", "parameters", "MACs"}


def test_no_runs_is_one_line():
    result = subprocess.run([sys.executable, "-m", "lim_jax.compare"], capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.startswith("error: no runs")
