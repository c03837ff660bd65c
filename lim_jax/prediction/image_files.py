"""The images that a user names: which files they are, how their results are called, and reading them ahead."""

import collections
import glob
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

# What a folder is searched for; a file that is named itself may be called anything.
SUFFIXES = {".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}

Item = TypeVar("Item")
Result = TypeVar("Result")


def find(names: Iterable[str]) -> tuple[list[pathlib.Path], list[str]]:
    """Returns the files that `names` stand for, each once, in their order; and a sentence per name without any.

    Args:
      names: files; folders, whose images are taken in alphabetical order, without those of folders inside; patterns
        with *, ?, [...] or **. A file need not exist.
    """
    found: dict[pathlib.Path, None] = {}
    problems = []
    for name in filter(None, (name.strip() for name in names)):
        path = pathlib.Path(name).expanduser()
        if path.is_dir():
            matches = [entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES and entry.is_file()]
            problem = f"{path} is a folder without images ({', '.join(sorted(SUFFIXES))})"
        elif glob.has_magic(name) and not path.exists():
            matches = [path for path in map(pathlib.Path, glob.glob(str(path), recursive=True)) if not path.is_dir()]
            problem = f"{name} matches no file"
        else:
            matches, problem = [path], None
        if problem is not None and not matches:
            problems.append(problem)
        found.update(dict.fromkeys(sorted(matches)))
    return list(found), problems


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


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int
) -> Iterator[tuple[Item, Future[Result]]]:
    """Yields the items in order, each with the finished future of `read(item)`; at most `ahead` are kept ready."""
    with ThreadPoolExecutor(threads) as pool:
        pending: collections.deque[tuple[Item, Future[Result]]] = collections.deque()
        try:
            for item in items:
                pending.append((item, pool.submit(read, item)))
                if len(pending) == ahead:
                    yield _finished(*pending.popleft())
            while pending:
                yield _finished(*pending.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _finished(item: Item, future: "Future[Result]") -> "tuple[Item, Future[Result]]":
    future.exception()  # waits
    return item, future
