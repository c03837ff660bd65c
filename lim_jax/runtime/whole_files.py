"""Small files that are there whole or not at all, whenever the process or the machine stops."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
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


def write_csv(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a row per mapping, whole or not at all, with a column for each key that one of them has."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
