"""`--config` and `--config.key=value`: files that are no configuration, keys and values that cannot be read."""

import subprocess
import sys

import pytest

from configs import rooms
from lim_jax.config import flag
from lim_jax.errors import UserError

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
        flag._load(str(path))
    assert message in str(error.value)
    assert "configs/rooms.py" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["configs/nothing.py", "configs", ""])
def test_a_file_that_is_not_there(path):
    with pytest.raises(UserError, match="there is no configuration file"):
        flag._load(path)


def test_a_variant_that_is_not_there():
    with pytest.raises(UserError, match="dense and as_published"):
        flag._load("configs/nyu.py:sparse")


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
