"""Folders that verbs write to, tried before minutes are spent."""

import pathlib
import tempfile

from lim_jax.errors import UserError


def made(folder: pathlib.Path) -> None:
    """Makes a folder if needed, and writes to it.

    Raises:
      UserError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}): give another --output") from error
