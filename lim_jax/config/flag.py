"""The flag `--config=NAME[:variant]`, and `--config.key=value` beside it, with all mistakes in them said at once.

ml_collections does the work. What is done here: a file that is no configuration is named in one line; unknown keys and
values that cannot be read are collected, not reported one run at a time; of a tuple given twice the last counts.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags import config_flags as parsers
from ml_collections.config_flags import tuple_parser

from lim_jax.config import reading
from lim_jax.config.checks import as_text, unknown_key
from lim_jax.config.values import flat
from lim_jax.errors import UserError

_PARSERS = {
    bool: (flags.BooleanParser(), "true or false"),
    int: (flags.IntegerParser(), "a whole number"),
    float: (flags.FloatParser(), "a number"),
}


def define_flag() -> None:
    """Defines `--config`; its value is the configuration, with what `--config.key=value` changes, or None."""
    parsers.register_flag_parser_for_type(tuple, _TupleParser())
    config_flags.DEFINE_config_file(
        "config",
        None,
        "A configuration: rooms, nyu, nyu_libmtl, nyud_mt, celeba, folder:DIR (your own images) or the path of a file, "
        "with a variant behind a colon where it has some, as in nyu:as_published.",
    )
    flags.FLAGS["config"].parser = _ConfigParser("config")


class _TupleParser(flags.ArgumentParser):
    """Reads `depth,normals`, `64,64` and `(64, 64)`.

    No subclass of ml_collections' parser, which would make of a flag given twice the tuples of both.
    """

    def parse(self, argument: Any) -> tuple[Any, ...]:
        try:
            return tuple_parser.TupleParser().parse(argument)
        except ValueError:
            return (argument,)  # such as segmentation,5_o_clock_shadow, which Python cannot read


class _ConfigParser(parsers.ConfigFileFlagParser):
    """Loads a configuration file, and looks at what the command line wants to change in it."""

    def parse(self, path: str) -> ml_collections.ConfigDict:
        config = reading.read(path)
        found = _problems(config, flags.FLAGS.read_flags_from_files(sys.argv, force_gnu=False))
        if found:
            raise UserError(as_text(found))
        config.lock()
        return config


def _problems(config: ml_collections.ConfigDict, arguments: Sequence[str]) -> list[str]:
    """Returns what is wrong with the `--config.key=value` among the arguments."""
    values = flat(config)
    found = []
    for argument in arguments:
        match = re.fullmatch(r"--?(?:no)?config\.([^=]*)(?:=(.*))?", argument, re.DOTALL)
        if match is None:
            continue
        key, text = match.groups()
        if any(known.startswith(f"{key}.") for known in values):
            found.append(
                f"config.{key} is a section: set one of its keys, such as --config.{_first(key, values)}=VALUE"
            )
        elif key not in values:
            found.append(unknown_key(key))
        elif text is not None and type(values[key]) in _PARSERS:
            parser, wanted = _PARSERS[type(values[key])]
            try:
                parser.parse(text)
            except ValueError:
                found.append(f"config.{key} is {text!r} but must be {wanted}")
    return list(dict.fromkeys(found))


def _first(section: str, keys: Any) -> str:
    return next(key for key in keys if key.startswith(f"{section}."))
