"""Tells from its files whether a source is the one that records were made from."""

import concurrent.futures
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lim_jax.data.sources import raw
from lim_jax.errors import UserError

_SAMPLED_FILES = 64  # whose contents are looked at
_SAMPLED_BYTES = 1 << 16  # of each, from its start and from its end
_THREADS = 16  # that ask for sizes and times: on a network each answer takes a while
_CHUNK = 1024

Named = tuple[str, pathlib.Path]  # a name that does not depend on where the data set lies, and the file


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Of a source.

    Attributes:
      digest: 8 hex digits that change with what records are made of.
      newest: when a file was changed last, in seconds as `stat` has them.
    """

    digest: str
    newest: float


def fingerprint(named: Iterable[Named], meaning: Any = None, texts: Sequence[Named] = ()) -> Fingerprint:
    """Looks at the files that records are made of.

    The digest changes with the name, size or time of change of any file, with the contents of 64 of them, spread
    evenly (a file may be replaced with its time kept), with the contents of all `texts`, and with `meaning`.

    Args:
      named: images and labels.
      meaning: what else the records depend on; what JSON can hold.
      texts: the small files that describe the source. Their times do not count, so saving one unchanged is free.

    Raises:
      UserError: a file is missing.
    """
    files = list(named)
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode())
    statuses = _statuses([path for _, path in files])
    for (name, _), (size, changed) in zip(files, statuses, strict=True):
        digest.update(f"{name} {size} {changed}\n".encode("utf-8", "surrogatepass"))
    for index in np.unique(np.linspace(0, len(files) - 1, min(len(files), _SAMPLED_FILES)).astype(int)):
        digest.update(content_digest(files[index][1], _SAMPLED_BYTES))
    for name, path in texts:
        digest.update(name.encode() + hashlib.sha256(raw.read_bytes(path)).digest())
    newest = max((changed for _, changed in statuses), default=0)
    return Fingerprint(digest.hexdigest()[:8], newest / 1e9)


def content_digest(path: pathlib.Path, sampled: int) -> bytes:
    """Returns a digest of a file's size, its first and its last `sampled` bytes; raises `UserError`."""
    size = raw.size(path)
    digest = hashlib.sha256(str(size).encode())
    try:
        with path.open("rb") as file:
            digest.update(file.read(sampled))
            file.seek(max(size - sampled, 0))
            digest.update(file.read(sampled))
    except OSError as error:
        raise UserError(raw.unreadable(path, error)) from error
    return digest.digest()


def former_digest(named: Iterable[Named]) -> str:
    """Returns the digest that versions before this one gave to records: names, sizes and times alone."""
    digest = hashlib.sha256()
    for name, path in named:
        status = raw.status(path)
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:8]


def _statuses(paths: Sequence[pathlib.Path]) -> list[tuple[int, int]]:
    """Returns the size and the time of change in nanoseconds of each file."""
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return [status for chunk in pool.map(_chunk_statuses, chunks) for status in chunk]


def _chunk_statuses(paths: Sequence[pathlib.Path]) -> list[tuple[int, int]]:
    return [(status.st_size, status.st_mtime_ns) for status in map(raw.status, paths)]
