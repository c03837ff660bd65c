"""The images that a user names: which files they are, how their results are called, and reading them ahead."""

import collections
import glob
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from lim_jax.data.sources import headers, paths
from lim_jax.errors import UserError

# What a folder is searched for; a file that is named itself may be called anything.
SUFFIXES = {".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}

_UNSUPPORTED = {".heic", ".heif", ".avif"}
_PIXELS_AHEAD = 5e8  # of all images that are being read or wait, as long as that is more than one

Item = TypeVar("Item")
Result = TypeVar("Result")


def find(names: Iterable[str], output: pathlib.Path | None = None) -> tuple[list[pathlib.Path], list[str]]:
    """Returns the files that `names` stand for, each once, in their order; and a sentence per name without any.

    Args:
      names: files; folders, whose images are taken in alphabetical order, with those of folders inside, but not of
        hidden ones; patterns with *, ?, [...] or **. A file need not exist.
      output: a folder whose content is left out of other folders'.
    """
    found: dict[pathlib.Path, None] = {}
    problems = []
    for name in filter(None, (name.strip() for name in names)):
        path = pathlib.Path(name).expanduser()
        if path.is_dir():
            entries = _inside(path, output)
            matches = [entry for entry in entries if entry.suffix.lower() in SUFFIXES]
            problem = f"{path} is a folder without images ({', '.join(sorted(SUFFIXES))})"
            problems += [
                f"{entry} is a {entry.suffix[1:].upper()} image, which is not supported: save it as JPEG or PNG"
                for entry in entries
                if entry.suffix.lower() in _UNSUPPORTED
            ]
        elif glob.has_magic(name) and not path.exists():
            matched = map(pathlib.Path, glob.glob(str(path), recursive=True))
            matches = [path for path in matched if not path.is_dir() and not paths.is_litter(path.name)]
            problem = f"{name} matches no file"
        else:
            matches, problem = [path], None
        if problem is not None and not matches:
            problems.append(problem)
        found.update(dict.fromkeys(sorted(matches)))
    return list(found), problems


def _inside(folder: pathlib.Path, output: pathlib.Path | None) -> list[pathlib.Path]:
    """Returns the files in a folder and in its folders, apart from hidden ones, litter, and those in `output`."""
    found = []
    for root, folders, files in os.walk(folder):
        here = pathlib.Path(root)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (output is None or not _same(here / name, output))
        )
        found += [here / name for name in sorted(files) if not paths.is_litter(name)]
    return [path for path in found if path.is_file()]


def _same(path: pathlib.Path, other: pathlib.Path) -> bool:
    return other.exists() and path.samefile(other)


def result_names(
    paths: Sequence[pathlib.Path], output: pathlib.Path, endings: Sequence[str], reserved: Iterable[str] = ()
) -> list[str]:
    """Returns a name per image, its stem, such that no result overwrites another one, an image, or a reserved file.

    Results are `output / (name + ending)`. Where a stem is taken it gets a number: `kitchen`, `kitchen_2`.

    Args:
      paths: the images.
      output: the folder of the results.
      endings: of all files that an image results in.
      reserved: names of other files in `output`.
    """
    folder = output.resolve()
    taken = {name.casefold() for name in reserved}
    taken.update(path.name.casefold() for path in map(pathlib.Path.resolve, paths) if path.parent == folder)
    names = []
    for path in paths:
        number, name = 1, path.stem
        while any((name + ending).casefold() in taken for ending in endings):
            number += 1
            name = f"{path.stem}_{number}"
        taken.update((name + ending).casefold() for ending in endings)
        names.append(name)
    return names


def pixels(path: pathlib.Path) -> int:
    """Returns how many pixels an image has, from its header; 0 where that cannot be read (`read` will say why)."""
    try:
        return headers.read_header(path).pixels
    except UserError:
        return 0


def read_ahead(
    read: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
    ahead: int,
    size: Callable[[Item], int] = lambda item: 0,
) -> Iterator[tuple[Item, Future[Result]]]:
    """Yields the items in order, each with the finished future of `read(item)`.

    Args:
      read: reads an item; called from several threads.
      items: what to read.
      threads: that read.
      ahead: items kept ready, at most.
      size: pixels of an item (see `pixels`): of large ones fewer are read at once and kept ready.
    """
    with ThreadPoolExecutor(threads) as pool:
        pending: collections.deque[tuple[Item, int, Future[Result]]] = collections.deque()
        try:
            for item in items:
                wanted = size(item)
                while pending and (
                    len(pending) == ahead or wanted + sum(pixels for _, pixels, _ in pending) > _PIXELS_AHEAD
                ):
                    yield _finished(*pending.popleft())
                pending.append((item, wanted, pool.submit(read, item)))
            while pending:
                yield _finished(*pending.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _finished(item: Item, pixels: int, future: "Future[Result]") -> "tuple[Item, Future[Result]]":
    del pixels
    future.exception()  # waits
    return item, future
