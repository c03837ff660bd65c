"""Trained networks that come with lim_jax: `--workdir=shipped:rooms`, `lim_jax.load("shipped:rooms")`.

Each folder here is the workdir of a compact network, as `lim_jax.compact` wrote it; its `config.json` says how it was
trained. Nothing is written there. `rooms`, of 483,395 parameters, is what is left after

    lim-jax train --config=rooms --config.num_epochs=60 --config.sparsity.target=0.5
        --config.augmentation.horizontal_flip=True
"""

import pathlib

from lim_jax.errors import UserError
from lim_jax.runtime.suggestions import nearest

_PREFIX = "shipped:"
_FOLDER = pathlib.Path(__file__).parent


def names() -> list[str]:
    """Returns the names of all networks, without the prefix."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/config.json"))


def workdir(given: pathlib.Path | str, *, written: bool = False) -> pathlib.Path:
    """Returns the folder that is meant by a workdir: itself, unless it is `shipped:NAME`.

    Args:
      given: as the user typed it.
      written: whether something will be written into it.

    Raises:
      UserError: there is no network of that name, or it would be written to.
    """
    if not str(given).startswith(_PREFIX):
        return pathlib.Path(given)
    name, known = str(given).removeprefix(_PREFIX), names()
    if name not in known:
        meant = nearest(name, known) or ", ".join(known)
        raise UserError(f"no network of that name comes with lim_jax: {given}; did you mean {_PREFIX}{meant}?")
    if written:
        raise UserError(
            f"{given} is a part of lim_jax, into which nothing is written: predict, export and lim_jax.load take it"
        )
    return _FOLDER / name
