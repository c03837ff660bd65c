"""Configurations: every bad value is refused by name; a run is not resumed with another one."""

import importlib

import pytest

from configs import common
from lim_jax import config as config_lib
from lim_jax.errors import UserError


@pytest.mark.parametrize(
    ("name", "variant"),
    [("rooms", ""), ("nyu", ""), ("nyu", "as_published"), ("celeba", ""), ("celeba", "as_published"), ("common", None)],
)
def test_shipped_configurations_are_valid(name, variant):
    get_config = importlib.import_module(f"configs.{name}").get_config
    assert config_lib.checked(get_config() if variant is None else get_config(variant)).tasks


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tasks", ()),
        ("tasks", ("depth", "depth")),
        ("dataset.image_size", (64,)),
        ("dataset.image_size", (8, 64)),
        ("dataset.split_sizes", (10, 10)),
        ("model.width_multiplier", 0.0),
        ("model.dropout_rate", 1.0),
        ("dtype", "float16"),
        ("batch_size", 0),
        ("num_epochs", 0),
        ("learning_rate", -1e-3),
        ("learning_rate", float("nan")),
        ("learning_rate_schedule", "cosine"),
        ("weight_decay", -0.1),
        ("loss_weighting", "gradnorm"),
        ("eval_every_epochs", 0),
        ("sparsity.penalty", "lasso"),
        ("sparsity.strength", -1.0),
        ("sparsity.strength", float("inf")),
        ("sparsity.metric", "sgd"),
        ("sparsity.target", 70.0),
        ("sparsity.start_epoch", -1),
        ("sparsity.compact_every_epochs", -1),
        ("sparsity.patience_epochs", 0),
        ("sparsity.scope", "heads"),
        ("num_devices", -1),
    ],
)
def test_a_bad_value_is_refused_by_its_key(key, value):
    config = common.get_config()
    with config.unlocked():
        config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=key.replace(".", r"\.")):
        config_lib.checked(config)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"sparsity.strength": 1e-5, "sparsity.start_epoch": 1000}, "sparsity.start_epoch"),
        ({"sparsity.target": 0.5, "sparsity.penalty": "none"}, "sparsity.target"),
        ({"sparsity.compact_every_epochs": 5}, "compact_every_epochs"),
        (
            {"sparsity.compact_every_epochs": 5, "sparsity.target": 0.5, "sparsity.penalty": "l1"},
            "compact_every_epochs",
        ),
        ({"sparsity.compact_every_epochs": 5, "sparsity.target": 0.5, "num_epochs": 5}, "before epoch 5"),
        ({"sparsity.target": 0.5, "published.reset_optimizer_every_epoch": True}, "reset_optimizer_every_epoch"),
    ],
)
def test_contradictions_are_refused(changes, key):
    config = common.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=key):
        config_lib.checked(config)


def test_a_missing_key_is_named():
    config = common.get_config()
    del config.sparsity.metric
    with pytest.raises(UserError, match=r"lacks sparsity\.metric"):
        config_lib.checked(config)


def test_tasks_may_be_written_with_commas():
    config = common.get_config()
    config.tasks = ("depth, normals",)
    assert config_lib.checked(config).tasks == ("depth", "normals")


def test_a_saved_configuration_comes_back_the_same(tmp_path):
    config = config_lib.checked(common.get_config())
    config_lib.save(config, tmp_path)
    assert config_lib.load(tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("num_epochs", 7, True),
        ("dataset.data_dir", "elsewhere", True),
        ("sparsity.strength", 1e-3, False),
        ("seed", 1, False),
    ],
)
def test_a_run_is_resumed_only_with_its_own_settings(tmp_path, key, value, allowed):
    config = common.get_config()
    config_lib.save(config_lib.checked(config), tmp_path)
    config.update_from_flattened_dict({key: value})
    if allowed:
        config_lib.refuse_changes(config_lib.checked(config), tmp_path)
    else:
        with pytest.raises(UserError, match=key.replace(".", r"\.")):
            config_lib.refuse_changes(config_lib.checked(config), tmp_path)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        config_lib.load(tmp_path)
