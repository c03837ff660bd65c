"""A workdir is held by one run; one that a stranger made names no place to write to."""

import json

import pytest

from lim_jax import config as config_lib
from lim_jax.config import files
from lim_jax.errors import UserError
from lim_jax.training import lock, workdir
from tests.training import saved


def with_values(**values):
    config = saved.config()
    for key, value in values.items():
        config = config_lib.with_value(config, key.replace("__", "."), value)
    return config


def test_a_held_workdir_is_refused_as_it_is(tmp_path):
    with workdir.held(tmp_path / "run", saved.config()):
        workdir.keep_config(tmp_path / "run", saved.config())
        before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
        with (
            pytest.raises(UserError, match="is in use"),
            workdir.held(tmp_path / "run", with_values(seed=3)),
        ):
            pass
        assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    with workdir.held(tmp_path / "run", saved.config()):
        pass


def test_another_configuration_that_came_meanwhile_is_refused(tmp_path):
    workdir.keep_config(tmp_path, saved.config())
    with pytest.raises(UserError, match=r"config\.seed"), workdir.held(tmp_path, with_values(seed=3)):
        pass
    assert (tmp_path / lock.FILE).read_text() == ""


def test_compiled_programs_go_where_the_users_own_go(tmp_path):
    config_lib.save(with_values(compilation_cache_dir=str(tmp_path / "theirs")), tmp_path)
    assert workdir.safe_config(tmp_path).compilation_cache_dir == "auto"


@pytest.mark.parametrize(
    ("theirs", "given", "expected"),
    [
        ("", None, ""),
        ("records", None, "records"),
        ("elsewhere", None, None),
        ("elsewhere", "mine", "mine"),
    ],
)
def test_records_are_prepared_only_where_the_user_says(tmp_path, monkeypatch, theirs, given, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "records" / "rooms").mkdir(parents=True)
    config = with_values(dataset__data_dir=theirs)
    if expected is None:
        with pytest.raises(UserError, match="add --data_dir=DIR"):
            workdir.with_records(config, given)
    else:
        assert workdir.with_records(config, given).dataset.data_dir == expected


@pytest.mark.parametrize(
    ("note", "may_change"),
    [(None, False), ('{"step": 12, "learning_rate": 1.0}', True), ("", True), ("[", True), ("{}", True), ("3", True)],
)
def test_the_learning_rate_may_change_after_the_run_diverged(tmp_path, note, may_change):
    config_lib.save(saved.config(), tmp_path)
    if note is not None:
        (tmp_path / files.DIVERGED).write_text(note)
    changed = with_values(learning_rate=1e-5)
    if may_change:
        config_lib.refuse_changes(changed, tmp_path)
    else:
        with pytest.raises(UserError, match="learning_rate"):
            config_lib.refuse_changes(changed, tmp_path)
    with pytest.raises(UserError, match="seed"):
        config_lib.refuse_changes(with_values(seed=1), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": None},
        {"dataset": None},
        {"dataset": {}},
        {"dataset": {"image_size": ["a", "b"]}},
        {"dataset": {"image_size": [64]}},
        {"dataset": {"name": ["rooms"]}},
        {"tasks": [1, 2]},
        {"tasks": "depth"},
        {"num_devices": 1.5},
        {"compilation_cache_dir": {"a": 1}},
    ],
)
def test_wrong_types_in_a_strangers_config_cost_a_line(tmp_path, change):
    content = saved.config().to_dict()
    for key, value in change.items():
        content[key] = content[key] | value if isinstance(value, dict) and value and key == "dataset" else value
    (tmp_path / "config.json").write_text(
        json.dumps({key: value for key, value in content.items() if value is not None})
    )
    with pytest.raises(UserError, match=r"config\.json is damaged") as error:
        workdir.safe_config(tmp_path)
    assert "\n" not in str(error.value)


def test_nesting_without_end_costs_a_line(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        workdir.safe_config(tmp_path)
