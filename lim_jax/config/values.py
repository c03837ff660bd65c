"""The values of a configuration by their dotted keys."""

from typing import Any, TypeAlias

import ml_collections

# An `ml_collections.ConfigDict` or `FrozenConfigDict`; type checkers cannot know what attributes it has.
Config: TypeAlias = Any

SECTION = (ml_collections.ConfigDict, ml_collections.FrozenConfigDict)


def flat(config: Config) -> dict[str, Any]:
    """Returns `{"sparsity.strength": 1e-5, ...}`: every value by its dotted key."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, SECTION):
            values.update({f"{key}.{inner}": leaf for inner, leaf in flat(value).items()})
        else:
            values[key] = value
    return values


def with_value(config: Config, key: str, value: Any) -> Config:
    """Returns a copy of `config` with another value for a dotted key."""
    changed = ml_collections.ConfigDict(config.to_dict())
    changed.update_from_flattened_dict({key: value})
    return ml_collections.FrozenConfigDict(changed)
