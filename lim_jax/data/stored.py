"""The prepared records that lie on a disk: which they are, which no run will read again, and how to remove them."""

import dataclasses
import datetime
import fcntl
import pathlib
import shutil
from collections.abc import Iterator, Sequence

from lim_jax.data import datasets, records
from lim_jax.errors import UserError
from lim_jax.runtime.tables import aligned

OLD = "old"  # stands for all records that no run will read again
_IN_USE = "in use"


@dataclasses.dataclass(frozen=True)
class Stored:
    """Prepared records.

    Attributes:
      name: "<data set>/<size>-<fingerprint>".
      folder: where they lie, in one or several versions.
      state: "" of records that can be read; otherwise why not, or why no run will.
      source: the folder that they were made from, where that is known.
      written: when, in seconds since 1970.
      size: bytes.
    """

    name: str
    folder: pathlib.Path
    state: str
    source: str
    written: float
    size: int


def find(data_dir: str | None) -> list[Stored]:
    """Lists the prepared records in `dataset.data_dir` (None or empty: TFDS's own place), by name."""
    found = list(_find(records.data_dir(data_dir)))
    newest: dict[tuple[str, str], float] = {}
    for item in found:
        if item.source and not item.state:
            key = (item.source, _size_of(item))
            newest[key] = max(newest.get(key, 0.0), item.written)
    return [
        dataclasses.replace(item, state="its source has changed since")
        if item.source and not item.state and item.written < newest[item.source, _size_of(item)]
        else item
        for item in found
    ]


def report(data_dir: str | None, remove: str | None = None) -> str:
    """Lists the prepared records as text, after removing some.

    Args:
      data_dir: `dataset.data_dir`.
      remove: the name of records; "old" for all that no run will read again; None or empty for nothing.

    Raises:
      UserError: there are no records of that name, they are being written, or they cannot be removed.
    """
    found = find(data_dir)
    chosen = [item for item in found if remove and (item.name == remove or (remove == OLD and _is_old(item)))]
    if remove and remove != OLD and not chosen:
        raise UserError(f"there are no records {remove!r}: give {OLD!r}, or one of {', '.join(i.name for i in found)}")
    for item in chosen:
        _remove(item)
    kept = [item for item in found if item not in chosen]
    lines = [f"prepared records in {records.data_dir(data_dir)}: {_bytes(sum(item.size for item in kept))}"]
    lines += [_table(kept)] if kept else []
    if remove:
        lines.append(f"removed {len(chosen)}: {_bytes(sum(item.size for item in chosen))}")
    elif any(map(_is_old, found)):
        lines.append(
            f"--remove={OLD} removes those with a remark, --remove=NAME others; what is needed is prepared again"
        )
    return "\n".join(lines)


def _find(root: pathlib.Path) -> Iterator[Stored]:
    for data_set in datasets.NAMES:
        for folder in sorted(path for path in root.glob(f"{data_set}/*") if path.is_dir()):
            files = [path for path in folder.rglob("*") if path.is_file()]
            current = folder / str(records.VERSION)
            yield Stored(
                name=f"{data_set}/{folder.name}",
                folder=folder,
                state=_state(folder, current),
                source=records.read_metadata(current).source,
                written=max((path.stat().st_mtime for path in files), default=folder.stat().st_mtime),
                size=sum(path.stat().st_size for path in files),
            )


def _state(folder: pathlib.Path, current: pathlib.Path) -> str:
    if not _is_free(folder):
        return _IN_USE
    if current.is_dir():
        return _damage(current)
    versions = sorted(path.name for path in folder.iterdir() if path.is_dir() and "incomplete" not in path.name)
    return f"of version {versions[-1]}, which is not read any more" if versions else "incomplete"


def _damage(directory: pathlib.Path) -> str:
    for split in datasets.SPLITS:
        try:
            records.RecordSource(directory, split, {})
        except UserError:
            return "damaged"
    return ""


def _is_old(item: Stored) -> bool:
    return item.state not in ("", _IN_USE)


def _size_of(item: Stored) -> str:
    return item.folder.name.partition("-")[0]


def _is_free(folder: pathlib.Path) -> bool:
    """Whether no process is preparing these records."""
    lock = folder / "lock"
    if not lock.is_file():
        return True
    try:
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file that cannot be locked is of somebody else, and not being written by us
    return True


def _remove(item: Stored) -> None:
    if item.state == _IN_USE:
        raise UserError(f"{item.name} is being prepared: wait until it is, or stop that run")
    try:
        shutil.rmtree(item.folder)
    except OSError as error:
        raise UserError(f"cannot remove {item.folder} ({error.strerror}): remove it by hand") from error


def _table(items: Sequence[Stored]) -> str:
    rows = [
        (
            item.name,
            _bytes(item.size),
            datetime.datetime.fromtimestamp(item.written).strftime("%Y-%m-%d %H:%M"),
            item.source + (f" ({item.state})" if item.state else ""),
        )
        for item in items
    ]
    return aligned(rows, left=range(4))


def _bytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"
