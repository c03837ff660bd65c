"""Small files that are there whole or not at all, whenever the process or the machine stops."""

import json
import os
import pathlib
from typing import Any


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file beside `path` and, once it is on the disk, moves it there; what was there before is replaced."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes `content` as JSON that people can read, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")
