"""The real training loop on tiny networks: results, devices, frozen heads, interruption, another run's weights."""

import csv
import errno
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest

from lim_jax import config as config_lib
from lim_jax import data, evaluate, models, network, sparsity
from lim_jax.data import pipeline
from lim_jax.errors import UserError
from lim_jax.runtime import devices
from lim_jax.training import checkpoints, initialization, loop
from lim_jax.training.state import create_train_state, make_optimizer, sparse_groups
from lim_jax.training.step import TrainStep
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir):
    """A finished run: its workdir, its configuration and the results."""
    workdir = tmp_path_factory.mktemp("run")
    config = tiny_config(data_dir)
    config.report_every_epochs = 1
    return workdir, config, loop.train_and_evaluate(config, workdir)


def run_steps(config, num_devices, num_steps, dtype="float32", change=lambda state: state):
    """The first steps of a run on some devices; returns the states after each."""
    config = config_lib.checked(config)
    dataset = data.load(config.dataset, config.tasks)
    net = network.build(config_lib.with_value(config, "dtype", dtype), dataset.specs)
    variables = initialization.VariableInitializer(net.model, config.dataset.image_size).init(config.seed)
    optimizer = make_optimizer(config, sparse_groups(config), steps_per_epoch=3)
    state = change(create_train_state(variables, config.tasks, optimizer))
    local_devices = jax.local_devices()[:num_devices]
    step = TrainStep(net, optimizer, config, local_devices)
    batches = pipeline.train_iterator(dataset.sources["train"], batch_size=config.batch_size, seed=0)
    states = [jax.device_get(state)]
    for _ in range(num_steps):
        state, _ = step(devices.replicate(states[-1], local_devices), next(batches))
        states.append(jax.device_get(state))
    return states


def test_a_run_leaves_results_and_figures(trained):
    workdir, config, results = trained
    assert json.loads((workdir / "results.json").read_text()) == results
    assert set(results["test"]) == {"depth", "normals"}
    assert results["test"]["depth"].keys() >= {"loss", "mae", "rmse"}
    assert (results["epochs"], results["steps"], results["seed"]) == (2, 6, config.seed)
    layers = results["sparsity"]["layers"]
    assert all(0 <= layer["zero_groups"] <= layer["groups"] for layer in layers.values())
    assert results["parameters"] == sum(
        np.size(leaf) for leaf in jax.tree.leaves(checkpoints.load_network(workdir).variables["params"])
    )
    assert (workdir / "config.json").is_file()
    events = b"".join(path.read_bytes() for path in workdir.glob("events.out.tfevents.*"))
    assert b"report/predictions" in events and b"sparsity.strength" in events
    rows = list(csv.DictReader((workdir / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"] and float(rows[-1]["validation/depth/mae"]) > 0
    assert len(list((workdir / "report").glob("*.png"))) >= 4


def test_a_finished_run_is_not_trained_again(trained):
    workdir, config, results = trained
    before = sorted((workdir / "checkpoints").iterdir())
    assert loop.train_and_evaluate(config, workdir) == results
    assert sorted((workdir / "checkpoints").iterdir()) == before


@pytest.fixture(scope="module")
def one_device(data_dir):
    """A configuration, and the state after five of its steps on one device."""
    config = tiny_config(data_dir)
    config.tasks = ("depth",)
    config.learning_rate = 1e-4
    config.sparsity.metric, config.sparsity.strength = "identity", 300.0
    with jax.enable_x64(True):
        return config, run_steps(config, 1, 5, "float64")[-1]


@pytest.mark.parametrize("number", [2, 4, 8])
def test_several_devices_take_the_steps_of_one(one_device, number):
    """Computed in float64, with float32 parameters: any difference beyond their rounding is a wrong reduction.

    In float32 the order of sums shows: where a gradient is rounding error, Adam's first steps go by its sign, and the
    adaptive metric amplifies it further where groups are about to vanish. Hence the Euclidean metric, too.
    """
    config, one = one_device
    with jax.enable_x64(True):
        several = run_steps(config, number, 5, "float64")[-1]
    for tree in ("params", "batch_stats"):
        pairs = zip(jax.tree.leaves(getattr(one, tree)), jax.tree.leaves(getattr(several, tree)), strict=True)
        assert max(np.max(np.abs(a - b)) for a, b in pairs) < 1e-6, tree
    zeros = sparsity.sparsity_summary(one.params, models.backbone_groups)
    assert zeros == sparsity.sparsity_summary(several.params, models.backbone_groups)
    assert zeros.total.zero_groups > 0


def test_an_inactive_head_stays_as_it_is(data_dir):
    def freeze(state):
        return state.replace(active=dict(state.active, depth=np.bool_(False)))

    before, after = run_steps(tiny_config(data_dir), 1, 1, change=freeze)
    for tree in ("params", "batch_stats"):
        old, new = getattr(before, tree), getattr(after, tree)
        jax.tree.map(np.testing.assert_array_equal, old["heads_depth"], new["heads_depth"])
        for branch in ("heads_normals", "backbone"):
            changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), old[branch], new[branch])
            assert any(jax.tree.leaves(changed)), (tree, branch)


INTERRUPTED = """
import os, pathlib, signal, sys
from lim_jax.training import loop
from tests.training.tiny import tiny_config
done, steps, stop_at = loop.Progress.step_done, [], int(sys.argv[4])
def step_done(self, step):
    steps.append(step)
    if len(steps) == stop_at:
        os.kill(os.getpid(), signal.SIGTERM)
    return done(self, step)
loop.Progress.step_done = step_done
config = tiny_config(sys.argv[1])
config.dataset.cache = sys.argv[3]
loop.train_and_evaluate(config, pathlib.Path(sys.argv[2]))
"""


def test_an_interrupted_run_ends_as_if_it_had_not_been(trained, data_dir, tmp_path):
    """SIGTERM in the middle of epochs: nothing is lost and every bit is the same, wherever the examples are kept.

    Each part is a process of its own, as it is for people: JAX has crashed in one process that loaded the same
    compiled programs again and again.
    """
    command = [sys.executable, "-c", INTERRUPTED, str(data_dir), str(tmp_path)]
    # Where the examples are kept, and after which of its steps a part is asked to stop.
    parts = (("device", 1), ("none", 2), ("host", 9))
    codes = [
        subprocess.run([*command, *map(str, part)], cwd=ROOT, stderr=subprocess.DEVNULL).returncode for part in parts
    ]
    assert codes == [128 + signal.SIGTERM] * 2 + [0]  # they stop in the middle of the first and of the second epoch
    workdir, _, expected = trained
    assert json.loads((tmp_path / "results.json").read_text()) == expected
    for which in (checkpoints.BEST, checkpoints.LATEST):
        variables, again = (checkpoints.load_network(folder, which).variables for folder in (workdir, tmp_path))
        jax.tree.map(np.testing.assert_array_equal, variables, again)


def test_a_killed_run_ends_as_if_it_had_not_been(trained, data_dir, tmp_path):
    """SIGKILL as soon as the first checkpoint is there, then the same command again."""
    workdir, _, expected = trained
    config = f"--config=tests/training/tiny.py:{data_dir}"
    command = [sys.executable, "-m", "lim_jax.main", config, f"--workdir={tmp_path}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / "checkpoints" / "3").is_dir():
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "results.json").exists()
    subprocess.run(command, cwd=ROOT, check=True)
    assert json.loads((tmp_path / "results.json").read_text()) == expected
    variables, again = (
        checkpoints.load_network(folder, checkpoints.LATEST).variables for folder in (workdir, tmp_path)
    )
    jax.tree.map(np.testing.assert_array_equal, variables, again)


def test_a_run_goes_on_from_a_checkpoint_that_the_clock_made(trained, data_dir, tmp_path):
    """One after each step, and the last one is lost: of the second epoch two steps are done, the third is to come."""
    _, _, expected = trained
    config = tiny_config(data_dir)
    config.checkpoint_every_minutes = 1e-9
    assert loop.train_and_evaluate(config, tmp_path) == expected
    shutil.rmtree(tmp_path / "checkpoints" / "6")
    assert max(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == 5
    assert loop.train_and_evaluate(config, tmp_path) == expected


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits another process, as only Linux can")
def test_a_run_that_cannot_write_says_so_in_one_line_and_keeps_its_checkpoint(data_dir, tmp_path):
    """No file may grow once the first checkpoint is there: the next one fails as it would on a full disk."""
    config = f"--config=tests/training/tiny.py:{data_dir}"
    command = [sys.executable, "-m", "lim_jax.main", config, f"--workdir={tmp_path}"]
    command.append("--config.num_epochs=50")  # the limit comes in the middle, however late
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "checkpoints" / "3").is_dir():
        time.sleep(0.01)
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (10_000, hard))
    shown = process.communicate()[1]
    assert shown.splitlines()[-1].startswith("error: a file would get larger than is allowed"), shown
    assert "Traceback" not in shown
    assert os.strerror(errno.EFBIG) not in shown
    assert process.returncode == 2
    assert not (tmp_path / "results.json").exists()
    assert checkpoints.load_network(tmp_path, checkpoints.LATEST).step >= 3


def test_evaluate_gives_the_same_numbers_again(trained):
    workdir, _, results = trained
    command = [sys.executable, "-m", "lim_jax.evaluate", f"--workdir={workdir}", "--split=test"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert json.loads((workdir / "evaluation_test.json").read_text()) == results["test"]
    assert f"{results['test']['depth']['mae']:.4g}" in printed


def test_results_of_a_run_that_is_trained_further_go(trained, tmp_path, monkeypatch):
    workdir, config, results = trained
    shutil.copytree(workdir, tmp_path / "run")
    config = config.copy_and_resolve_references()
    config.num_epochs += 1

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.epochs, "begin", interrupted)
        loop.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run" / "results.json").exists()
    assert loop.train_and_evaluate(config, tmp_path / "run")["epochs"] == results["epochs"] + 1


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_somebody_elses_run_is_evaluated_too(number, trained, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    workdir, _, results = trained
    parsed = types.SimpleNamespace(workdir=str(workdir), split="test", verify=False, data_dir=None)
    monkeypatch.setattr(evaluate, "flags", types.SimpleNamespace(FLAGS=parsed))
    monkeypatch.setattr(evaluate.cli, "required_path", lambda *_: workdir)
    monkeypatch.setattr(evaluate.whole_files, "write_json", refuse)
    evaluate.main(["evaluate"])
    printed = capsys.readouterr().out
    assert f"{results['test']['depth']['mae']:.4g}" in printed and "not written to" in printed


def test_a_run_starts_from_another_ones_weights(trained, data_dir, tmp_path, caplog):
    workdir, _, _ = trained
    config = tiny_config(data_dir)
    config.tasks = ("segmentation",)
    config.num_epochs = 1
    config.init_from = str(workdir)
    with caplog.at_level("INFO", logger="lim_jax"):
        loop.train_and_evaluate(config, tmp_path)
    assert "['heads_segmentation']['logits']['bias']" in caplog.text
    assert "['backbone']" not in caplog.text


def test_published_habits_run(data_dir, tmp_path):
    config = tiny_config(data_dir)
    config.tasks = ("depth",)
    config.sparsity.strength = 0.0
    for habit in config.published:
        config.published[habit] = True
    config.loss_weighting = "uniform"
    assert loop.train_and_evaluate(config, tmp_path)["sparsity"]["group_percent"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 6, "num_devices": 4}, "4 devices cannot share"),
        ({"num_devices": 9}, "num_devices is 9"),
        ({"tasks": ("depth", "colour")}, "colour"),
        ({"dataset.name": "kitti"}, "kitti"),
        ({"dataset.name": "nyu"}, "source_dir"),
        ({"model.backbone": "vgg16"}, "vgg16"),
        ({"init_from": "nowhere"}, "nowhere"),
        ({"model.pretrained": "nowhere.pth"}, "nowhere.pth"),
        ({"learning_rate": 1e30}, "learning_rate"),
    ],
)
def test_mistakes_end_in_one_line(data_dir, tmp_path, changes, message):
    config = tiny_config(data_dir)
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message) as error:
        loop.train_and_evaluate(config, tmp_path)
    assert "\n" not in str(error.value)
    began = "learning_rate" in changes
    assert (tmp_path / "config.json").exists() == began, "nothing ran, so nothing is held"


def test_a_workdir_that_cannot_be_made_is_named(data_dir, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        loop.train_and_evaluate(tiny_config(data_dir), tmp_path / "file" / "run")


def test_a_workdir_of_another_run_is_refused(trained, data_dir):
    workdir, _, _ = trained
    config = tiny_config(data_dir)
    config.sparsity.strength = 1e-5
    with pytest.raises(UserError, match=r"sparsity\.strength"):
        loop.train_and_evaluate(config, workdir)
