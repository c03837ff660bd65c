"""The field's protocols run end to end, small, on real frames where they are here and on made ones where not."""

import importlib
import pathlib
import re

import numpy as np
import pytest

from configs import common
from lim_jax import config as config_lib
from lim_jax.training import loop
from tests.data import nyu_trees

SHARED = pathlib.Path(__file__).parents[1] / "../shared/data"
PROTOCOLS = {
    # Scored at a larger size, too, which is no part of the protocol.
    "nyu_libmtl:augmented": (
        "mtan_npy_mini",
        nyu_trees.write_mtan,
        {"dataset.image_size": (40, 56), "dataset.scored_size": (60, 84)},
    ),
    "nyud_mt": (
        "nyudv2_png_mini",
        nyu_trees.write_nyudv2_png,
        {"dataset.image_size": (40, 56), "dataset.padded_size": (48, 64), "augmentation.crop_size": (48, 64)},
    ),
}


def small(name, changes):
    module, _, variant = name.partition(":")
    config = importlib.import_module(f"configs.{module}").get_config(variant)
    config.update_from_flattened_dict(
        {
            "model.backbone": "resnet18",
            "model.pretrained": "",
            "model.width_multiplier": 0.0625,
            "model.head_channels": 8,
            "batch_size": 2,
            "num_epochs": 2,
            "num_devices": 1,
            **changes,
        }
    )
    return config


@pytest.mark.slow
@pytest.mark.parametrize("name", PROTOCOLS)
def test_two_epochs(tmp_path, name):
    folder, write, changes = PROTOCOLS[name]
    source = SHARED / folder
    if not source.is_dir():
        source = write(tmp_path / "source", {"train": [0, 1], "val": [2]})
    config = small(name, {"dataset.source_dir": str(source), "dataset.data_dir": str(tmp_path / "records"), **changes})
    results = loop.train_and_evaluate(config, tmp_path / "run")
    assert results["epochs"] == 2 and results["validation"] == {}
    assert results["test_last_epochs"]["epochs"] == 2
    for task, metrics in results["test"].items():
        assert all(np.isfinite(value) for value in metrics.values()), task
    assert {"miou", "abs_err", "angle_mean"} <= {metric for of in results["test"].values() for metric in of}


@pytest.mark.parametrize(("name", "variant"), [("nyu_libmtl", "augmented"), ("nyud_mt", "")])
def test_the_docstring_names_what_the_configuration_sets(name, variant):
    module = importlib.import_module(f"configs.{name}")
    values = config_lib.flat(config_lib.checked(module.get_config(variant)))
    named = dict(
        re.findall(r"([a-z_]+(?:\.[a-z_]+)*)=(\([^)]*\)|[\w.:/-]*\w)", module.__doc__.partition("| of the")[2])
    )
    for key, value in named.items():
        assert str(values[key]) == value or float(value) == values[key], key
    defaults = config_lib.flat(config_lib.checked(common.get_config()))
    assert {key for key, value in values.items() if value != defaults[key]} <= named.keys()
