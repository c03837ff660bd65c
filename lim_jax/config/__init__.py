"""Configurations: read from the command line, checked before anything runs, kept with the run.

What the room offers:

    define_flag()                                the flag `--config=NAME[:variant]`, with `--config.key=value`
    checked(config)                              a frozen copy; says all that is wrong with its values at once
    check_resources(config, devices)             refuses what no memory can hold, before anything is started
    check_start(config, dataset, workdir)        what only the opened data set can tell; then the workdir may be made
    refuse_changes(config, workdir)              protects a run from being resumed with other settings
    save, load                                   the configuration as `config.json` in a workdir
    flat(config), with_value(config, key, value) every value by its dotted key; a copy with another one

Importing it imports no JAX: names of backbones, penalties, tasks and data sets are asked of the rooms that have them
when they are needed.
"""

from lim_jax.config.checks import check_start, checked
from lim_jax.config.estimates import check_resources
from lim_jax.config.files import load, refuse_changes, save
from lim_jax.config.flag import define_flag
from lim_jax.config.values import Config, flat, with_value

__all__ = [
    "Config",
    "check_resources",
    "check_start",
    "checked",
    "define_flag",
    "flat",
    "load",
    "refuse_changes",
    "save",
    "with_value",
]
