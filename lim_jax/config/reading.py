"""Reads a configuration: one that comes with lim_jax by its name, from any folder, or anybody's by its path."""

import importlib.machinery
import importlib.util
import pathlib
from types import ModuleType

import ml_collections

from lim_jax.config.values import SECTION
from lim_jax.errors import UserError, one_line
from lim_jax.runtime.suggestions import nearest

FOLDER = pathlib.Path(__file__).parents[1] / "configs"  # in a clone a link to the repository's configs/
_EXAMPLE = "see lim_jax/configs/rooms.py"


def names() -> list[str]:
    """Returns the names of the configurations that come with lim_jax."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def read(text: str) -> ml_collections.ConfigDict:
    """Returns what `get_config` of a configuration returns.

    Args:
      text: `NAME[:variant]` or `PATH[:variant]`, as `--config` takes them.

    Raises:
      UserError: there is no such configuration or variant, or the file is none; one line.
    """
    name, colon, variant = text.partition(":")
    module = _loaded(name, _located(name))
    if not callable(getattr(module, "get_config", None)):
        raise UserError(f"{name} is no configuration: it has no function get_config; {_EXAMPLE}")
    try:
        config = module.get_config(*([variant] if colon else []))
    except UserError:
        raise
    except ValueError as error:  # how our own say that there is no such variant
        raise UserError(one_line(error)) from error
    except Exception as error:
        raise UserError(_no_configuration(name, error)) from error
    if not isinstance(config, SECTION):
        raise UserError(f"get_config of {name} returns {config!r}, no ConfigDict; {_EXAMPLE}")
    return config


def default_workdir(config_flag: str) -> pathlib.Path:
    """Returns `runs/<name>`, after the configuration's name, or its file's, and variant: `nyu_as_published`."""
    path, _, variant = config_flag.partition(":")
    parts = [pathlib.Path(path).stem, *(pathlib.Path(part).name for part in variant.split(":"))]
    return pathlib.Path("runs") / "_".join(filter(None, parts))


def _located(name: str) -> pathlib.Path:
    """Returns the file that is meant: a name of ours goes before a file of that name without an ending."""
    if name in names():
        return FOLDER / f"{name}.py"
    path = pathlib.Path(name).expanduser()
    if path.is_file():
        return path
    meant = nearest(path.stem, names())
    hint = f"did you mean --config={meant}?" if meant else "try --config=rooms, or the path of a file of yours"
    raise UserError(f"there is no configuration {name!r}: {hint} (lim_jax has {', '.join(names())})")


def _loaded(name: str, path: pathlib.Path) -> ModuleType:
    try:
        loader = importlib.machinery.SourceFileLoader("lim_jax_config_file", str(path))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))  # pyright: ignore[reportArgumentType]
        loader.exec_module(module)
    except Exception as error:  # whatever a file that is anything can do
        raise UserError(_no_configuration(name, error)) from error
    return module


def _no_configuration(name: str, error: Exception) -> str:
    said = f"{error.msg}, line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else error
    return f"{name} is no configuration ({type(error).__name__}: {one_line(said)}); {_EXAMPLE}"
