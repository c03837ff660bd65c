"""`--config` and `--config.key=value`: files that are no configuration, keys and values that cannot be read."""

import os
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
import setuptools

from configs import rooms
from lim_jax.config import flag, reading
from lim_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
FILES = {
    "a name that is not there": ("hello", "NameError"),
    "a module that is not there": ("import nothing_here", "nothing_here"),
    "not Python": ("a = (", "line 1"),
    "not text": ("\0\1", "null bytes"),
    "nothing": ("", "no function get_config"),
    "JSON": ('{"seed": 1}', "no function get_config"),
    "get_config is no function": ("get_config = 3", "no function get_config"),
    "returns nothing": ("def get_config(): pass", "returns None"),
    "returns a dict": ("def get_config(): return {'seed': 1}", "no ConfigDict"),
    "takes no variant": ("def get_config(): return 1 / 0", "ZeroDivisionError"),
    "an exit of its own": ("def get_config():\n  raise RuntimeError('a\\nb')", "a b"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_configuration_is_said_in_one_line(tmp_path, kind):
    content, message = FILES[kind]
    path = tmp_path / "settings.py"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        reading.read(str(path))
    assert message in str(error.value)
    assert "configs/rooms.py" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["configs/nothing.py", "configs", ""])
def test_a_file_that_is_not_there(path):
    with pytest.raises(UserError, match=r"there is no configuration .* \(lim_jax has celeba, "):
        reading.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("room", "did you mean --config=rooms?"),
        ("configs/rom.py", "did you mean --config=rooms?"),
        ("configs/nyu.py:sparse", "it has dense and as_published"),
        ("nyu:as_publishd", "did you mean as_published?"),
    ],
)
def test_the_nearest_name_or_variant_is_suggested(text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        reading.read(text)


def test_names_are_found_from_anywhere_whatever_else_is_called_configs(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/__init__.py").write_text("raise ImportError('somebody else')")
    (tmp_path / "mine.py").write_text("from lim_jax.configs import common\nget_config = common.get_config")
    code = "from lim_jax.config.reading import read; print(*[read(x).seed for x in ('rooms', 'celeba', 'mine.py')])"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["0", "0", "0"]


def test_the_package_has_the_repositorys_configurations_and_owns_no_other_name():
    assert reading.names() == sorted(path.stem for path in (ROOT / "configs").glob("[a-z]*.py"))
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    packages = setuptools.find_packages(ROOT, **found)
    assert "lim_jax.configs" in packages
    assert {name.partition(".")[0] for name in packages} == {"lim_jax"}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.num_epochs=many", "config.num_epochs is 'many' but must be a whole number"),
        ("--config.batch_size=1e3", "config.batch_size"),
        ("--config.learning_rate=fast", "a number"),
        ("-config.recompute=perhaps", "true or false"),
        ("--config.model.bacbone=resnet18d", "did you mean config.model.backbone"),
        ("--noconfig.published.double_sigmoids", "did you mean config.published.double_sigmoid"),
        ("--config.backbone", "did you mean config.model.backbone"),
        ("--config.sparsity=1e-5", "section"),
        ("--config.=1", "there is no key"),
    ],
)
def test_what_the_command_line_wants_to_change(argument, message):
    arguments = ["lim_jax.main", "--config=configs/rooms.py", "--config.num_epochs=3", "--workdir=x", argument]
    (found,) = flag._problems(rooms.get_config(), arguments)
    assert message in found
    two = flag._problems(rooms.get_config(), [argument, "--config.seed=x", "--config.seed=x"])
    assert len(two) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("depth", ("depth",)),
        ("64,48", (64, 48)),
        ("(64, 48)", (64, 48)),
        ("'depth','normals'", ("depth", "normals")),
        ("segmentation,5_o_clock_shadow", ("segmentation,5_o_clock_shadow",)),  # split by `checked`
        ((1, 2), (1, 2)),
        ("", ("",)),
    ],
)
def test_tuples(text, value):
    assert flag._TupleParser().parse(text) == value


PRINTS = """
import sys
from absl import app, flags
from lim_jax import config, main
config.define_flag()
flags.FLAGS(sys.argv)
print(flags.FLAGS.config.tasks, flags.FLAGS.config.dataset.image_size, "jax" in sys.modules)
"""


def test_of_a_tuple_given_twice_the_last_counts_and_no_jax_is_imported():
    changes = ["--config.tasks=depth", "--config.tasks=normals,depth", "--config.dataset.image_size=32,48"]
    command = [sys.executable, "-c", PRINTS, "--config=configs/rooms.py", *changes]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "('normals,depth',) (32, 48) False"
