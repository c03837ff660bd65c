"""A configuration is kept with its run: it comes back the same, and protects the run from other settings."""

import json

import pytest

from configs import common, rooms
from lim_jax import config as config_lib
from lim_jax.errors import UserError


def test_a_saved_configuration_comes_back_the_same(tmp_path):
    config = config_lib.checked(common.get_config())
    config_lib.save(config, tmp_path)
    assert config_lib.load(tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_epochs": 7}, ()),
        ({"dataset.data_dir": "elsewhere"}, ()),
        ({"sparsity.strength": 1e-3}, ("sparsity.strength",)),
        ({"seed": 1}, ("seed",)),
        ({"seed": 1, "batch_size": 8, "num_epochs": 7}, ("seed", "batch_size")),
    ],
)
def test_a_run_is_resumed_only_with_its_own_settings(tmp_path, changes, named):
    config = common.get_config()
    config_lib.save(config_lib.checked(config), tmp_path)
    config.update_from_flattened_dict(changes)
    if not named:
        config_lib.refuse_changes(config_lib.checked(config), tmp_path)
        return
    with pytest.raises(UserError) as error:
        config_lib.refuse_changes(config_lib.checked(config), tmp_path)
    assert all(f"config.{key}" in str(error.value) for key in named)
    assert "num_epochs" not in str(error.value)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        config_lib.load(tmp_path)


@pytest.mark.parametrize("place", ["file", "file/run", "file/deep/run"])
def test_a_workdir_that_cannot_be_made_is_named_before_anything_runs(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a folder"):
        config_lib.refuse_changes(config_lib.checked(common.get_config()), tmp_path / place)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1, 2]",
        "3",
        '{"seed": 0',
        '{"seed": "zero"}',
        '{"model": 3}',
        '{"dataset": {"image_size": "64"}}',
        '{"published": {"double_sigmoid": 1}}',
        '{"trackers": [{"wandb": 1}]}',
        f'{{"loss_weights": [1{"0" * 400}]}}',
        "\udcff",
    ],
)
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"config\.json is damaged") as error:
        config_lib.load(tmp_path)
    assert "\n" not in str(error.value)


def test_what_an_older_or_a_newer_version_wrote_is_read(tmp_path):
    content = config_lib.checked(common.get_config()).to_dict()
    del content["sparsity"]["scope"]
    content["dataset"]["of_tomorrow"] = 1
    content["dataset"]["num_workers"] = 1000  # more than is allowed today
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert config_lib.load(tmp_path).dataset.of_tomorrow == 1


def test_a_run_of_something_else_is_refused_in_a_line_that_can_be_read(tmp_path):
    config_lib.save(config_lib.checked(common.get_config()), tmp_path)
    other = rooms.get_config()
    other.tasks = tuple(f"attribute_with_a_long_name_{number}" for number in range(100))
    with pytest.raises(UserError, match=r"; and \d+ more: give another --workdir") as error:
        config_lib.refuse_changes(other, tmp_path)
    assert len(str(error.value)) < 1000


def test_what_a_run_starts_from_must_be_there_when_it_begins_but_not_when_it_goes_on(tmp_path):
    config = config_lib.with_value(config_lib.checked(common.get_config()), "init_from", str(tmp_path / "start"))
    with pytest.raises(UserError, match="start', which holds no run: give the workdir of one"):
        config_lib.refuse_changes(config, tmp_path / "new")
    config_lib.save(config, tmp_path)
    config_lib.refuse_changes(config, tmp_path)
    (tmp_path / "start").mkdir()
    config_lib.save(config, tmp_path / "start")
    config_lib.refuse_changes(config, tmp_path / "new")
