"""The configuration of a run, kept as `config.json` in its workdir."""

import json
import os
import pathlib
import reprlib
from typing import Any

import ml_collections

from lim_jax.config.rules import RULES
from lim_jax.config.values import SECTION, Config, flat
from lim_jax.errors import UserError, one_line
from lim_jax.runtime import whole_files

_FILE = "config.json"
_LISTED = 6  # changes that a line names
_SHORT = reprlib.Repr()
_SHORT.maxstring, _SHORT.maxtuple = 80, 8
DIVERGED = "diverged.json"  # there as long as a run may go on with another learning rate (`training.divergence`)

# A run may be resumed with other values of these: they change how long or where it runs, not what it computes.
_FREE_TO_CHANGE = (
    "num_epochs",
    "early_stopping_patience",
    "checkpoint_every_epochs",
    "checkpoint_every_minutes",
    "max_bad_steps",
    "report_every_epochs",
    "trackers",
    "num_devices",
    "compilation_cache_dir",
    "init_from",
    "model.pretrained",
    "dataset.data_dir",
    "dataset.source_dir",
    "dataset.follow_links",
    "dataset.cache",
    "dataset.num_threads",
    "dataset.prefetch_batches",
)

# What every version wrote, and the verbs read.
_ALWAYS_THERE = (
    "batch_size",
    "dataset.data_dir",
    "dataset.image_size",
    "dataset.name",
    "dataset.source_dir",
    "learning_rate",
    "model.backbone",
    "model.width_multiplier",
    "num_devices",
)


def holds_run(workdir: pathlib.Path) -> bool:
    """Returns whether there is a configuration in a folder."""
    return os.path.isfile(workdir / _FILE)


def save(config: Config, workdir: pathlib.Path) -> None:
    """Writes `config.json`, whole or not at all."""
    whole_files.write_json(workdir / _FILE, config.to_dict())


def diverged_at(workdir: pathlib.Path) -> int | None:
    """Returns the step at which the run in `workdir` was found to be no longer finite; None: it was not, or is past it.

    A note that cannot be read says that it was.
    """
    try:
        return int(json.loads((workdir / DIVERGED).read_text())["step"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0


def load(workdir: pathlib.Path) -> Config:
    """Returns the configuration of the run in `workdir`; raises `UserError` when there is none, or it is damaged."""
    path = workdir / _FILE
    if not holds_run(workdir):
        raise UserError(f"{workdir} holds no run ({path} is missing): give the --workdir of a training run")
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        config = ml_collections.FrozenConfigDict(_with_tuples(content))
        values = flat(config)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(_damaged(path, one_line(error))) from error
    for section in {key.partition(".")[0] for key in RULES if "." in key}:
        if not isinstance(config.get(section, config), ml_collections.FrozenConfigDict):
            raise UserError(_damaged(path, f"{section} is {config[section]!r}"))
    for key in RULES:
        if isinstance(_at(config, key), SECTION):
            raise UserError(_damaged(path, f"{key} is a section"))
    for key in _ALWAYS_THERE:
        if key not in values:
            raise UserError(_damaged(path, f"{key} is missing"))
    for key, value in values.items():
        if key in RULES and not _could_be(key, value):
            raise UserError(_damaged(path, f"{key} is {value!r}"))
    return config


def _at(config: Config, key: str) -> Any:
    """Returns the value or the section at a dotted key; None if there is none."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, SECTION) else None
    return config


def _could_be(key: str, value: Any) -> bool:
    """Whether a version could have written the value: bounds may be others than today, types and lengths are not."""
    rule = RULES[key]
    return rule.has_type(value) and (not isinstance(value, (tuple, list)) or rule.accepts(value))


def refuse_changes(config: Config, workdir: pathlib.Path) -> None:
    """Raises `UserError` if `workdir` cannot be one, or holds a run that was started with other values.

    Where it holds none yet, the workdir that `config.init_from` names must.
    """
    _refuse_unwritable(workdir)
    if not holds_run(workdir):
        if config.init_from and not holds_run(pathlib.Path(config.init_from)):
            raise UserError(f"config.init_from is {config.init_from!r}, which holds no run: give the workdir of one")
        return
    old, new = flat(load(workdir)), flat(config)
    free = _FREE_TO_CHANGE if diverged_at(workdir) is None else (*_FREE_TO_CHANGE, "learning_rate")
    changed = [
        f"config.{key}={_SHORT.repr(old[key])}, not {_SHORT.repr(new[key])}"
        for key in sorted(old.keys() & new.keys())  # what an older version did not know, it did not use
        if key not in free and old[key] != new[key]
    ]
    if changed:
        listed = "; ".join(changed[:_LISTED]) + (f"; and {len(changed) - _LISTED} more" if changed[_LISTED:] else "")
        values = "value" if len(changed) == 1 else "values"
        raise UserError(
            f"{workdir} holds a run with {listed}: give another --workdir, or the old {values} to resume it"
        )


def _refuse_unwritable(workdir: pathlib.Path) -> None:
    """Raises `UserError` if the workdir can be neither made nor written to; makes nothing."""
    existing = next(path for path in (workdir, *workdir.absolute().parents) if os.path.exists(path))
    why = "is not a folder" if not existing.is_dir() else "cannot be written to"
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"cannot write to the workdir {workdir} ({existing} {why}): give another --workdir")


def _damaged(path: pathlib.Path, why: str) -> str:
    return f"{path} is damaged ({why}): copy it from another run of the same command, or give another --workdir"


def _with_tuples(value: Any) -> Any:
    """Turns JSON's lists back into the tuples that configurations hold."""
    if isinstance(value, dict):
        return {key: _with_tuples(inner) for key, inner in value.items()}
    return tuple(_with_tuples(inner) for inner in value) if isinstance(value, list) else value
