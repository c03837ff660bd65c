"""The values of a configuration by their dotted keys."""

import difflib
from collections.abc import Iterable
from typing import Any, TypeAlias

import ml_collections

# An `ml_collections.ConfigDict` or `FrozenConfigDict`; type checkers cannot know what attributes it has.
Config: TypeAlias = Any

SECTION = (ml_collections.ConfigDict, ml_collections.FrozenConfigDict)
_ALIKE = 0.6  # of 1: what counts as a slip of the finger


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


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Returns the one of `words` that is most like `word`, None if none is much like it.

    Where words have dots, the part after the last one may be all that was typed, or all that is right.
    """
    whole = list(words)
    close = difflib.get_close_matches(word.lower(), whole, n=1, cutoff=_ALIKE)
    last = {name.rpartition(".")[2]: name for name in whole}
    exact = last.get(word.rpartition(".")[2].lower())
    if exact or close:
        return exact or close[0]
    close = difflib.get_close_matches(word.rpartition(".")[2].lower(), last, n=1, cutoff=_ALIKE)
    return last[close[0]] if close else None
