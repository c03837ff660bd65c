"""Where the files that a list names really lie, and that they lie inside the data set."""

import functools
import os
import pathlib
from collections.abc import Callable

from lim_jax.errors import UserError

Resolve = Callable[[pathlib.Path], str]


def resolver() -> Resolve:
    """Returns a function that follows all links and `..` of a path, and looks up each folder only once."""
    folder = functools.cache(os.path.realpath)

    def resolve(path: pathlib.Path) -> str:
        if path.name == "..":
            return folder(str(path))
        place = os.path.join(folder(str(path.parent)), path.name)
        return os.path.realpath(place) if os.path.islink(place) else place

    return resolve


def is_litter(name: str) -> bool:
    """Whether a file is what macOS leaves beside others: `.DS_Store`, `._1.jpg`."""
    name = name.replace("\\", "/").rpartition("/")[-1]
    return name.startswith("._") or name == ".DS_Store"


def inside(root: pathlib.Path, name: str, where: str, resolve: Resolve | None) -> pathlib.Path:
    """Returns the file that a list in `root` calls `name`.

    Args:
      root: the folder of the data set.
      name: relative to it; Windows' backslashes will do.
      where: for the error message: who names the file.
      resolve: of `resolver()`; None: the file may lie anywhere.

    Raises:
      UserError: the name is no path, or leads out of `root`, by itself or by a link.
    """
    if not name.isprintable():
        raise UserError(f"{where} names the file {name!r}: rename it without line breaks and the like")
    path = root / name
    if "\\" in name and not os.path.exists(path):
        path = root / name.replace("\\", "/")
    if resolve is not None:
        real_root, real = os.path.realpath(root), resolve(path)
        if not real.startswith(os.path.join(real_root, "")):
            raise UserError(
                f"{where} names {name}, which lies outside of {root} ({real}): copy it into the folder, or, if you "
                "trust the list, set dataset.follow_links=True"
            )
    return path
