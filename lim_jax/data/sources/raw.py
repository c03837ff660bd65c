"""The bytes and the text of files; whatever the system says against reading one becomes one clear line."""

import os
import pathlib
import stat

from lim_jax.errors import UserError

REPAIR = "copy or unpack it again"
_TEXT_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # what Excel calls "Unicode text"


def status(path: pathlib.Path) -> os.stat_result:
    """Returns the size and times of a file or folder; raises `UserError` if there is none."""
    try:
        return path.stat()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UserError(unreadable(path, error)) from error


def size(path: pathlib.Path) -> int:
    """Returns the bytes of a regular file; raises `UserError` if it is none: opening a pipe would wait for ever."""
    found = status(path)
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"cannot read {path} (it is a folder or a device): give the name of a file")
    return found.st_size


def read_bytes(path: pathlib.Path, limit: int | None = None) -> bytes:
    """Reads a regular file; raises `UserError` if it cannot be read or is larger than `limit` bytes."""
    number = size(path)
    if limit is not None and number > limit:
        raise UserError(f"{path} has {number / 1e9:.3g} GB, more than any image that is read: correct its name")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(unreadable(path, error)) from error


def read_text(path: pathlib.Path) -> str:
    """Reads a text file in UTF-8, or in UTF-16 with a byte order mark; raises `UserError`."""
    data = read_bytes(path)
    try:
        return data.decode(_TEXT_MARKS.get(data[:2], "utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8 ({error.reason}): save it as UTF-8") from error


def unreadable(path: pathlib.Path, error: Exception) -> str:
    """Returns the sentence for a file that the system does not let us read."""
    reason = getattr(error, "strerror", None) or str(error)
    return f"cannot read {path} ({reason}): {REPAIR}, or correct its name"
