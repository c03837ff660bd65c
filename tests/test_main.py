"""The command line: mistakes cost one line, exit code 2 and no traceback; the default workdir."""

import pathlib
import subprocess
import sys

import pytest

from lim_jax.main import default_workdir

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config"),
        (["--config=configs/nothing.py"], "configs/nothing.py"),
        (["--config=configs/nyu.py:as_imagined"], "as_imagined"),
        (["--config=configs/rooms.py", "--config.sparsity.strenght=1e-5"], "strenght"),
        (["--config=configs/rooms.py", "--config.num_epochs=many"], "num_epochs"),
        (["--config=configs/rooms.py", "--config.learning_rate=-1"], "learning_rate"),
        (["--config=configs/rooms.py", "--config.model.backbone=resnet50e"], "did you mean 'resnet50'"),
        (["--config=configs/celeba.py", "--config.tasks=depth", "--config.tasks=smile"], "did you mean 'smiling'"),
        (["--config=pyproject.toml"], "pyproject.toml is no configuration"),
        (["--config=configs/rooms.py", "--epochs=3"], "epochs"),
        (["--config=configs/rooms.py", "rooms"], "rooms"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(tmp_path, arguments, message):
    command = [sys.executable, "-m", "lim_jax.main", f"--workdir={tmp_path / 'run'}", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_several_mistakes_are_listed(tmp_path):
    mistakes = ["--config.seed=-1", "--config.model.width_multiplier=1e6", "--config.tasks=depth,norms"]
    command = [sys.executable, "-m", "lim_jax.main", f"--workdir={tmp_path / 'run'}", "--config=configs/rooms.py"]
    result = subprocess.run([*command, *mistakes], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: 2 things are wrong")
    assert len(result.stderr.splitlines()) == 3
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("config", "workdir"),
    [
        ("configs/rooms.py", "runs/rooms"),
        ("nyu:as_published", "runs/nyu_as_published"),
        ("folder:my/faces:gpu", "runs/folder_faces_gpu"),
    ],
)
def test_default_workdir(config, workdir):
    assert default_workdir(config) == pathlib.Path(workdir)
