"""Checks a configuration before anything runs, and keeps it with the run.

`checked` refuses bad values by key; `save` and `load` keep the configuration as `config.json` in a workdir;
`refuse_changes` protects a run from being resumed with other settings than it was started with.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any, TypeAlias

import ml_collections

from lim_jax.errors import UserError

# An `ml_collections.ConfigDict` or `FrozenConfigDict`; type checkers cannot know what attributes it has.
Config: TypeAlias = Any

_FILE = "config.json"

# A run may be resumed with other values of these: they change how long or where it runs, not what it computes.
_FREE_TO_CHANGE = (
    "num_epochs",
    "early_stopping_patience",
    "checkpoint_every_epochs",
    "num_devices",
    "compilation_cache_dir",
    "init_from",
    "dataset.data_dir",
    "dataset.source_dir",
    "dataset.num_threads",
    "dataset.prefetch_batches",
)


@dataclasses.dataclass(frozen=True)
class _Rule:
    accepts: Callable[[Any], bool]
    wanted: str


def _one_of(*choices: str) -> _Rule:
    return _Rule(lambda value: value in choices, f"one of {', '.join(choices)}")


def _at_least(minimum: float) -> _Rule:
    return _Rule(lambda value: value >= minimum, f"at least {minimum}")


def _between(low: float, high: float) -> _Rule:
    return _Rule(lambda value: low <= value <= high, f"from {low} to {high}")


_POSITIVE = _Rule(lambda value: value > 0, "greater than 0")

_RULES = {
    "tasks": _Rule(lambda value: len(value) > 0 and len(set(value)) == len(value), "one or more different tasks"),
    "dataset.image_size": _Rule(
        lambda value: len(value) == 2 and all(isinstance(side, int) and side >= 16 for side in value),
        "height,width of at least 16 pixels",
    ),
    "dataset.split_sizes": _Rule(
        lambda value: len(value) == 3 and all(isinstance(size, int) and size >= 1 for size in value),
        "three counts of images: train,validation,test",
    ),
    "dataset.num_workers": _at_least(0),
    "dataset.num_threads": _at_least(1),
    "dataset.prefetch_batches": _at_least(1),
    "augmentation.max_scale": _between(1, 4),
    "augmentation.color_jitter": _Rule(lambda value: 0 <= value < 1, "at least 0 and less than 1"),
    "augmentation.zoomed_depth": _one_of("divide", "keep"),
    "model.width_multiplier": _POSITIVE,
    "model.head_channels": _at_least(1),
    "model.dropout_rate": _Rule(lambda value: 0 <= value < 1, "at least 0 and less than 1"),
    "dtype": _one_of("float32", "bfloat16"),
    "batch_size": _at_least(1),
    "num_epochs": _at_least(1),
    "learning_rate": _POSITIVE,
    "learning_rate_schedule": _one_of("constant", "plateau"),
    "plateau_patience": _at_least(1),
    "plateau_factor": _Rule(lambda value: 0 < value < 1, "greater than 0 and less than 1"),
    "weight_decay": _at_least(0),
    "loss_weighting": _one_of("uncertainty", "uniform"),
    "label_smoothing": _Rule(lambda value: 0 <= value < 1, "at least 0 and less than 1"),
    "early_stopping_patience": _at_least(0),
    "eval_every_epochs": _at_least(1),
    "checkpoint_every_epochs": _at_least(1),
    "sparsity.penalty": _one_of("group_lasso", "group_mcp", "sparse_group_lasso", "l1", "none"),
    "sparsity.strength": _Rule(lambda value: 0 <= value < float("inf"), "0 or more"),
    "sparsity.target": _Rule(lambda value: 0 <= value < 1, "a share of the groups: at least 0 and less than 1"),
    "sparsity.start_epoch": _at_least(0),
    "sparsity.scope": _one_of("backbone", "backbone_and_heads"),
    "sparsity.metric": _one_of("adam", "identity"),
    "sparsity.compact_every_epochs": _at_least(0),
    "sparsity.patience_epochs": _between(1, 255),
    "num_devices": _at_least(0),
}


def checked(config: Config) -> Config:
    """Returns a frozen copy of `config` with task names split at commas; raises `UserError` naming a bad key."""
    config = config.copy_and_resolve_references()
    config.tasks = tuple(name.strip() for task in config.tasks for name in str(task).split(",") if name.strip())
    values = flat(config)
    for key, rule in _RULES.items():
        if key not in values:
            raise UserError(f"the configuration lacks {key}: start it from configs/common.py")
        try:
            accepted = rule.accepts(values[key])
        except TypeError:
            accepted = False
        if not accepted:
            raise UserError(f"config.{key} is {values[key]!r} but must be {rule.wanted}")
    _refuse_contradictions(config)
    return ml_collections.FrozenConfigDict(config)


def _refuse_contradictions(config: Config) -> None:
    wanted = config.sparsity
    if wanted.start_epoch >= config.num_epochs and (wanted.target or wanted.strength):
        raise UserError(
            f"config.sparsity.start_epoch is {wanted.start_epoch} but must be less than config.num_epochs "
            f"({config.num_epochs})"
        )
    if wanted.target and wanted.penalty == "none":
        raise UserError("config.sparsity.target needs a penalty: config.sparsity.penalty is 'none'")
    if wanted.compact_every_epochs:
        _refuse_pointless_compaction(config)
    if config.published.reset_optimizer_every_epoch and (wanted.target or wanted.start_epoch):
        raise UserError(
            "config.published.reset_optimizer_every_epoch forgets what config.sparsity.target and "
            "config.sparsity.start_epoch count: switch it off, or give config.sparsity.strength alone"
        )


def _refuse_pointless_compaction(config: Config) -> None:
    wanted = config.sparsity
    if wanted.penalty in ("none", "l1") or not (wanted.target or wanted.strength):
        raise UserError(
            "config.sparsity.compact_every_epochs removes zero groups, but nothing makes groups zero: set "
            "config.sparsity.strength or .target, and a config.sparsity.penalty other than 'none' and 'l1'"
        )
    first = -(-wanted.patience_epochs // wanted.compact_every_epochs) * wanted.compact_every_epochs
    if first >= config.num_epochs:
        raise UserError(
            f"with config.sparsity.compact_every_epochs={wanted.compact_every_epochs} and .patience_epochs="
            f"{wanted.patience_epochs} nothing can be removed before epoch {first} of config.num_epochs="
            f"{config.num_epochs}: lower them, or set compact_every_epochs to 0"
        )


def flat(config: Config) -> dict[str, Any]:
    """Returns `{"sparsity.strength": 1e-5, ...}`: every value by its dotted key."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, (ml_collections.ConfigDict, ml_collections.FrozenConfigDict)):
            values.update({f"{key}.{inner}": leaf for inner, leaf in flat(value).items()})
        else:
            values[key] = value
    return values


def save(config: Config, workdir: pathlib.Path) -> None:
    """Writes `config.json`, whole or not at all."""
    temporary = workdir / f"{_FILE}.tmp"
    temporary.write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    temporary.replace(workdir / _FILE)


def load(workdir: pathlib.Path) -> Config:
    """Returns the configuration of the run in `workdir`; raises `UserError` when there is none."""
    path = workdir / _FILE
    if not path.is_file():
        raise UserError(f"{workdir} holds no run ({path} is missing): give the --workdir of a training run")
    return ml_collections.FrozenConfigDict(_with_tuples(json.loads(path.read_text())))


def with_value(config: Config, key: str, value: Any) -> Config:
    """Returns a copy of `config` with another value for a dotted key."""
    changed = ml_collections.ConfigDict(config.to_dict())
    changed.update_from_flattened_dict({key: value})
    return ml_collections.FrozenConfigDict(changed)


def refuse_changes(config: Config, workdir: pathlib.Path) -> None:
    """Raises `UserError` if the run in `workdir` was started with other values than `config` has."""
    if not (workdir / _FILE).is_file():
        return
    old, new = flat(load(workdir)), flat(config)
    for key in sorted(old.keys() & new.keys()):  # what an older version did not know, it did not use
        if key not in _FREE_TO_CHANGE and old[key] != new[key]:
            raise UserError(
                f"{workdir} holds a run with config.{key}={old[key]!r}, not {new[key]!r}: "
                "give another --workdir, or the old value to resume it"
            )


def _with_tuples(value: Any) -> Any:
    """Turns JSON's lists back into the tuples that configurations hold."""
    if isinstance(value, dict):
        return {key: _with_tuples(inner) for key, inner in value.items()}
    return tuple(_with_tuples(inner) for inner in value) if isinstance(value, list) else value
