"""`manifest.csv` (or `manifest.jsonl`) of one's own images: a row per image, also as spreadsheets and Windows write it.

    image,split,segmentation,depth,smiling
    images/1.jpg,train,masks/1.png,,yes
    images/2.jpg,test,masks/2.png,depth/2.npy,

Cells may be separated by commas, semicolons or tabs; the first line may be in any case; empty rows and columns are
left out; folders in paths may be separated by backslashes.
"""

import csv
import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping

from lim_jax.data.problems import Problems
from lim_jax.data.sources import overlap, paths, raw
from lim_jax.data.sources.task_file import Target
from lim_jax.data.specs import TargetSpec
from lim_jax.errors import UserError

NAMES = ("manifest.csv", "manifest.jsonl")
_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_ANSWERS = {"1": 1, "1.0": 1, "yes": 1, "true": 1, "0": 0, "0.0": 0, "no": 0, "false": 0}
_LARGEST = 1e15  # number of a label: its square is still one

Entry = tuple[int, dict[str, str]]  # the number of the line, and the cells by column


@dataclasses.dataclass(frozen=True)
class Row:
    """One image of the manifest: a path or a value per task that it is labelled for."""

    image: pathlib.Path
    split: str
    labels: Mapping[str, pathlib.Path | float]


def read(path: pathlib.Path, targets: Mapping[str, Target], follow_links: bool = False) -> list[Row]:
    """Reads the manifest `path`, whose paths are relative to its folder.

    Args:
      path: the file.
      targets: the tasks.
      follow_links: whether paths and links may lead out of the folder.

    Raises:
      UserError: rows are not as they should be, an image is listed twice, or a split or task is empty.
    """
    columns = ("image", "split", *targets)
    entries = _csv_entries(path, columns) if path.suffix == ".csv" else _json_entries(path)
    resolve = None if follow_links else paths.resolver()
    problems, rows = Problems(), []
    for number, cells in entries:
        if paths.is_litter(cells.get("image", "")):
            continue
        with problems.gathered():
            rows.append(_row(f"{path}, line {number}", path.parent, cells, targets, resolve))
    problems.raise_any()
    for split in ("train", "validation", "test"):
        if not any(row.split == split for row in rows):
            raise UserError(f"{path} has no image of the {split} split: training needs train, validation and test")
    for task in targets:
        if not any(task in row.labels for row in rows):
            raise UserError(f"{path} labels no image for the task {task!r}: fill that column, or remove the task")
    overlap.refuse_listed_twice((row.image, row.split) for row in rows)
    return rows


def _csv_entries(path: pathlib.Path, columns: tuple[str, ...]) -> list[Entry]:
    lines = raw.read_text(path).splitlines()
    header = next(iter(lines), "")
    separator = max(",;\t", key=header.count)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    problems, entries = Problems(), []
    try:
        names = ",".join(name.strip().lower() for name in next(reader, [])).rstrip(",").split(",")
        absent = [column for column in columns if names.count(column) != 1]
        if absent:
            problem = "two columns" if absent[0] in names else "no column"
            raise UserError(f"{path} has {problem} {absent[0]!r}: its first line names image, split and the tasks")
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells[len(names) :]) or (len(cells) < len(names) and any(cells)):
                problems.add(f"{path}, line {reader.line_num}: not as many cells as the first line has columns")
            elif any(cells):
                entries.append((reader.line_num, dict(zip(names, cells, strict=False))))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num} is not CSV ({error}): save the table again") from error
    problems.raise_any()
    return entries


def _json_entries(path: pathlib.Path) -> list[Entry]:
    problems, entries = Problems(), []
    for number, line in enumerate(raw.read_text(path).splitlines(), start=1):
        if line.strip():
            with problems.gathered():
                entries.append((number, _json_cells(f"{path}, line {number}", line)))
    problems.raise_any()
    return entries


def _json_cells(where: str, line: str) -> dict[str, str]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not JSON ({error}): write one object a line") from error
    if not isinstance(entry, dict):
        raise UserError(f"{where} is not a JSON object: write {{'image': ..., 'split': ...}}")
    nested = [name for name, value in entry.items() if isinstance(value, dict | list)]
    if nested:
        raise UserError(f"{where}: {nested[0]!r} is no single value: write a path, or yes or no")
    return {name.strip().lower(): "" if value is None else str(value).strip() for name, value in entry.items()}


def _answer(what: str, cell: str, spec: TargetSpec) -> int:
    del spec
    if cell.lower() not in _ANSWERS:
        raise UserError(f"{what}: write yes or no (1 or 0), or nothing where it is not known")
    return _ANSWERS[cell.lower()]


def _class_index(what: str, cell: str, spec: TargetSpec) -> int:
    names = [name.lower() for name in spec.class_names]
    if cell.lower() not in names:
        raise UserError(f"{what}: write one of {', '.join(spec.class_names)}, or nothing where it is not known")
    return names.index(cell.lower())


def _number(what: str, cell: str, spec: TargetSpec) -> float:
    del spec
    try:
        value = float(cell)
    except ValueError:
        value = math.inf
    if not math.isfinite(value) or abs(value) > _LARGEST:
        raise UserError(f"{what}: write a number such as 31.5, or nothing where it is not known")
    return value


_VALUES = {"attribute": _answer, "category": _class_index, "number": _number}  # kinds whose label stands in the cell


def _row(
    where: str,
    root: pathlib.Path,
    cells: Mapping[str, str],
    targets: Mapping[str, Target],
    resolve: paths.Resolve | None,
) -> Row:
    if not cells.get("image"):
        raise UserError(f"{where} names no image: write its path, relative to the manifest")
    split = _SPLITS.get(cells.get("split", "").lower())
    if split is None:
        raise UserError(f"{where}: split is {cells.get('split', '')!r}: write train, validation or test")
    labels: dict[str, pathlib.Path | float] = {}
    for name, target in targets.items():
        cell = cells.get(name, "")
        if not cell:
            continue
        if target.spec.kind in _VALUES:
            labels[name] = _VALUES[target.spec.kind](f"{where}: {name} is {cell!r}", cell, target.spec)
        else:
            labels[name] = paths.inside(root, cell, where, resolve)
    return Row(paths.inside(root, cells["image"], where, resolve), split, labels)
