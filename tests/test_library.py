"""What a program types: the examples of the guides run, on a network that was trained in seconds."""

import pathlib
import re

import numpy as np
import pytest

import lim_jax
from lim_jax.errors import UserError
from tests.training.tiny import tiny_config

GUIDES = pathlib.Path(__file__).parents[1] / "docs" / "guides"
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.mark.slow
def test_the_guides_examples(data_dir, tmp_path, monkeypatch, capsys):
    """`"rooms"` is replaced by the tests' tiny rooms, trained for an epoch less; the rest is as it stands there."""
    train = lim_jax.train
    monkeypatch.chdir(tmp_path)
    tiny = tiny_config(data_dir)
    monkeypatch.setattr(lim_jax, "train", lambda name, *args, **keys: train(tiny, *args, **keys | {"num_epochs": 1}))
    blocks = re.findall(r"```python\n(.*?)```", (GUIDES / "library.md").read_text(), re.DOTALL)
    names = {"image": IMAGE}
    exec("\n".join(blocks[:2]), names)
    assert names["depth"].shape == (1, 40, 60)
    printed = capsys.readouterr().out.split()
    assert float(printed[0]) > 0 and 0 <= float(printed[1]) <= 100
    (block,) = re.findall(r"```python\n(.*?)```", (GUIDES / "predict.md").read_text(), re.DOTALL)
    exec(block.replace("runs/rooms", "runs/short"), names)
    assert names["predictions"]["depth"].shape == (40, 60)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_epoch": 3}, "did you mean config.num_epochs"),
        ({"sparsity__target": 2.0}, "config.sparsity.target is 2.0"),
    ],
)
def test_overrides_are_checked(tmp_path, overrides, message):
    with pytest.raises(UserError, match=re.escape(message)):
        lim_jax.train("rooms", tmp_path / "run", **overrides)
    assert not (tmp_path / "run").exists()


def test_nothing_to_load(tmp_path):
    for use in (lim_jax.load, lim_jax.Predictor.from_workdir):
        with pytest.raises(UserError, match="no "):
            use(tmp_path)
