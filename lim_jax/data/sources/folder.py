"""`folder`: anybody's own images, described by two small files in `source_dir`; no code is needed.

`manifest.csv` (or `manifest.jsonl`, one JSON object a line) has a row per image:

    image,split,segmentation,depth,smiling
    images/1.jpg,train,masks/1.png,,yes
    images/2.jpg,test,masks/2.png,depth/2.npy,

`split` is train, validation or test; every other column is a task: a path relative to `source_dir`, an attribute's
value (yes/no, 1/0, true/false), or empty where the image is not labelled. Columns that are no task are left alone.
Training images without a label for any of the chosen tasks are left out.

`tasks.yaml` (or `tasks.json`) says what the tasks are:

    segmentation:
      type: segmentation
      classes:                       # in the order of their indices
        - {name: skin, labels: [1, 2], color: [228, 180, 148]}    # stored values that mean it; colour optional
        - {name: hair, labels: [13]}
        - {name: rest, labels: other}                             # all values not named elsewhere
      ignore: [255]                  # values that mean "not labelled" (255 by default)
    depth: {type: depth, scale: 0.001, range: [0.3, 10]}    # metres per stored unit; metres beyond are invalid
    normals: {type: normals, axes: [x, z, -y]}              # what points right, into the scene, up (default x, y, z)
    smiling: {type: attribute}

A class that is only a name stands for its own index. Label maps are images of one channel, depth is npy or such
an image (0 = unknown), normals are npy or an image as in `files.read_normals`.
"""

import csv
import dataclasses
import functools
import json
import logging
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from lim_jax.data import records, transforms
from lim_jax.data.sources import files
from lim_jax.data.specs import IGNORE, KINDS, Example, TargetSpec
from lim_jax.errors import UserError

_LOG = logging.getLogger(__name__)

_TASK_FILES = ("tasks.yaml", "tasks.yml", "tasks.json")
_MANIFESTS = ("manifest.csv", "manifest.jsonl")
_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_ANSWERS = {"1": 1, "yes": 1, "true": 1, "0": 0, "no": 0, "false": 0}
_RESERVED = ("best", "latest", "total")  # names of checkpoints and sums
_OPTIONS = {
    "segmentation": {"classes", "ignore"},
    "depth": {"scale", "range"},
    "normals": {"axes"},
    "attribute": set(),
}
_UNKNOWN = -1  # in the table of a segmentation: a label that no class has
_LABELS = 1 << 16


@dataclasses.dataclass(frozen=True)
class Target:
    """A task of the folder: its spec, and how its files are read.

    Attributes:
      spec: what the rest of lim_jax knows of it.
      table: segmentation: int16 (65536,), the class of each stored value, `IGNORE` or -1 for a value that is wrong.
      scale: depth: metres per stored unit.
      range: depth: metres from, to; beyond is invalid.
      axes: normals: per axis of ours the index of the stored one and its sign.
    """

    spec: TargetSpec
    table: np.ndarray | None = None
    scale: float = 1.0
    range: tuple[float, float] = (0.0, float("inf"))
    axes: tuple[tuple[int, int], ...] = ((0, 1), (1, 1), (2, 1))


@dataclasses.dataclass(frozen=True)
class Row:
    """One image of the manifest: a path or a value per task that it is labelled for."""

    image: pathlib.Path
    split: str
    labels: Mapping[str, pathlib.Path | int]


def read_targets(source_dir: pathlib.Path) -> dict[str, Target]:
    """Reads the tasks file of `source_dir`.

    Raises:
      UserError: there is none, or what it says is not understood.
    """
    path = _find(source_dir, _TASK_FILES, "what the tasks are")
    try:
        content = yaml.safe_load(files.read_text(path))  # JSON is YAML
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML or JSON: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} does not map task names to descriptions, such as 'depth: {{type: depth}}'")
    return {str(name): _target(f"{path}: task {name!r}", str(name), fields) for name, fields in content.items()}


def _target(where: str, name: str, fields: Any) -> Target:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in _RESERVED:
        raise UserError(f"{where}: a name has lower case letters, digits and _, and is not {', '.join(_RESERVED)}")
    kind = fields.get("type") if isinstance(fields, dict) else None
    if kind not in KINDS:
        raise UserError(f"{where} has type {kind!r}: write 'type: ' and one of {', '.join(KINDS)}")
    unknown = fields.keys() - _OPTIONS[kind] - {"type"}
    if unknown:
        known = ", ".join(sorted(_OPTIONS[kind])) or "nothing but a type"
        raise UserError(f"{where} has {sorted(map(str, unknown))[0]!r}: a task of type {kind} has {known}")
    try:
        if kind == "segmentation":
            return segmentation_target(name, fields)
        if kind == "depth":
            low, high = map(float, fields.get("range", (0, "inf")))
            scale = float(fields.get("scale", 1))
            if not (0 < scale < float("inf") and 0 <= low < high):
                raise ValueError("scale is positive, and range is [from, to] in metres")
            return Target(TargetSpec(name, kind), scale=scale, range=(low, high))
        if kind == "normals":
            return Target(TargetSpec(name, kind), axes=_axes(fields.get("axes", ("x", "y", "z"))))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{where} is not understood ({error}): see docs/guides/own_images.md") from error
    return Target(TargetSpec(name, kind))


def segmentation_target(name: str, fields: Mapping[str, Any]) -> Target:
    """Returns the target of a segmentation task; `fields` are as in the tasks file, without the type.

    Raises:
      ValueError, KeyError, TypeError: they are not understood.
    """
    classes = [{"name": entry} if isinstance(entry, str) else entry for entry in fields["classes"]]
    if not 1 <= len(classes) < IGNORE:
        raise ValueError(f"there are {len(classes)} classes, possible are 1 to {IGNORE - 1}")
    table = np.full(_LABELS, _UNKNOWN, np.int16)
    for value in fields.get("ignore", (IGNORE,)):
        table[_label(value)] = IGNORE
    others = [i for i, entry in enumerate(classes) if entry.get("labels") == "other"]
    if len(others) > 1:
        raise ValueError("only one class can have the labels 'other'")
    for index, entry in enumerate(classes):
        unknown = entry.keys() - {"name", "labels", "color"}
        if unknown:
            raise ValueError(f"a class has name, labels and color, not {sorted(map(str, unknown))[0]!r}")
        for value in () if index in others else entry.get("labels", (index,)):
            label = _label(value)
            if table[label] != _UNKNOWN:
                raise ValueError(f"the label {label} is given twice")
            table[label] = index
    if others:
        table[table == _UNKNOWN] = others[0]
    colors = [tuple(int(channel) for channel in entry["color"]) for entry in classes if "color" in entry]
    if colors and (len(colors) < len(classes) or any(len(c) != 3 or not 0 <= min(c) <= max(c) <= 255 for c in colors)):
        raise ValueError("give all classes a color [red, green, blue] of 0..255, or none")
    names = tuple(str(entry["name"]) for entry in classes)
    if len(set(names)) < len(names):
        raise ValueError("two classes have the same name")
    return Target(TargetSpec(name, "segmentation", names, tuple(colors)), table=table)  # pyright: ignore[reportArgumentType]


def _label(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LABELS:
        raise ValueError(f"{value!r} is no label: labels are whole numbers, 0..{_LABELS - 1}")
    return value


def _axes(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    axes = tuple(("xyz".index(name[-1]), -1 if name.startswith("-") else 1) for name in map(str, names))
    if sorted(index for index, _ in axes) != [0, 1, 2]:
        raise ValueError("axes are three of x, y, z, -x, -y, -z, such as [x, z, -y]")
    return axes


def read_manifest(source_dir: pathlib.Path, targets: Mapping[str, Target]) -> list[Row]:
    """Reads the manifest of `source_dir`.

    Raises:
      UserError: there is none, a row is not as it should be, an image is listed twice, or a split or task is empty.
    """
    path = _find(source_dir, _MANIFESTS, "which images there are")
    entries = _csv_entries(path) if path.suffix == ".csv" else _json_entries(path)
    rows = []
    for number, entry in entries:
        where = f"{path}, line {number}"
        if path.suffix == ".csv" and not rows:
            absent = [column for column in ("image", "split", *targets) if column not in entry]
            if absent:
                raise UserError(f"{path} has no column {absent[0]!r}: its first line names image, split and the tasks")
        rows.append(_row(where, source_dir, entry, targets))
    for split in ("train", "validation", "test"):
        if not any(row.split == split for row in rows):
            raise UserError(f"{path} has no image of the {split} split: training needs train, validation and test")
    for task in targets:
        if not any(task in row.labels for row in rows):
            raise UserError(f"{path} labels no image for the task {task!r}: fill that column, or remove the task")
    records.refuse_overlap((row.image, row.split) for row in rows)
    return rows


def _csv_entries(path: pathlib.Path) -> list[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(files.read_text(path).splitlines(), skipinitialspace=True)
    entries = []
    for entry in reader:
        if None in entry or None in entry.values():
            raise UserError(f"{path}, line {reader.line_num}: not as many cells as the first line has columns")
        entries.append((reader.line_num, entry))
    return entries


def _json_entries(path: pathlib.Path) -> list[tuple[int, dict[str, Any]]]:
    entries = []
    for number, line in enumerate(files.read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number} is not JSON ({error}): write one object a line") from error
        if not isinstance(entry, dict):
            raise UserError(f"{path}, line {number} is not a JSON object: write {{'image': ..., 'split': ...}}")
        entries.append((number, entry))
    return entries


def _row(where: str, root: pathlib.Path, entry: Mapping[str, Any], targets: Mapping[str, Target]) -> Row:
    cells = {column: "" if value is None else str(value).strip() for column, value in entry.items()}
    if not cells.get("image"):
        raise UserError(f"{where} names no image: write its path, relative to the manifest")
    split = _SPLITS.get(cells.get("split", "").lower())
    if split is None:
        raise UserError(f"{where}: split is {cells.get('split', '')!r}: write train, validation or test")
    labels: dict[str, pathlib.Path | int] = {}
    for name, target in targets.items():
        cell = cells.get(name, "")
        if not cell:
            continue
        if target.spec.kind != "attribute":
            labels[name] = root / cell
        elif cell.lower() in _ANSWERS:
            labels[name] = _ANSWERS[cell.lower()]
        else:
            raise UserError(f"{where}: {name} is {cell!r}: write yes or no (1 or 0), or nothing where it is not known")
    return Row(root / cells["image"], split, labels)


def read_row(row: Row, targets: Mapping[str, Target], image_size: tuple[int, int]) -> Example:
    """Reads one image with its labels and brings it to `image_size`, as an example with all `targets`.

    Raises:
      UserError: a file is unreadable, of another size than the image, or holds values that it should not.
    """
    image = files.read_image(row.image)
    read = {}
    for name, target in targets.items():
        label = row.labels.get(name)
        if label is None:
            read[name] = target.spec.missing(image_size)
        elif isinstance(label, int):
            read[name] = np.array(label, np.int8)
        else:
            read[name] = _read_map(label, target, row.image, image, image_size)
    return {"image": transforms.resize_image(image, image_size), "targets": read}


def _read_map(
    path: pathlib.Path, target: Target, image_path: pathlib.Path, image: np.ndarray, image_size: tuple[int, int]
) -> np.ndarray:
    if target.table is not None:
        classes = _class_indices(path, target)
        files.check_same_size(image, image_path, classes, path)
        return transforms.resize_labels(classes, image_size)
    if target.spec.kind == "depth":
        depth = files.read_depth(path, target.scale)
        files.check_same_size(image, image_path, depth, path)
        low, high = target.range
        return transforms.resize_depth(np.where((depth >= low) & (depth <= high), depth, np.float32(0)), image_size)
    normals = files.read_normals(path)
    files.check_same_size(image, image_path, normals, path)
    normals = np.stack([sign * normals[..., index] for index, sign in target.axes], axis=-1)
    return transforms.resize_normals(normals, image_size)


def _class_indices(path: pathlib.Path, target: Target) -> np.ndarray:
    labels = files.read_map(path)
    assert target.table is not None
    classes = target.table[labels]
    if classes.min(initial=0) == _UNKNOWN:
        raise UserError(
            f"{path} holds the label {labels[classes == _UNKNOWN][0]}, which no class of the task "
            f"{target.spec.name!r} has: add it to a class, or to 'ignore', in the tasks file"
        )
    return classes.astype(np.uint8)


def _find(source_dir: pathlib.Path, names: Sequence[str], what: str) -> pathlib.Path:
    if not source_dir.is_dir():
        raise UserError(f"dataset.source_dir={source_dir} is not a folder: give the one with {names[0]}")
    found = [source_dir / name for name in names if (source_dir / name).is_file()]
    if len(found) != 1:
        problem = "is missing" if not found else f"and {found[1].name} are both there"
        raise UserError(
            f"{source_dir / names[0]} {problem}: one of {', '.join(names)} says {what}; see docs/guides/own_images.md"
        )
    return found[0]


class Folder(records.SourceBuilder, skip_registration=True):
    """One's own images."""


def root(source_dir: str | None) -> pathlib.Path:
    """Returns `source_dir` as a path; raises `UserError` if it is not set."""
    if not source_dir:
        raise UserError("dataset.source_dir is not set: give the folder with manifest.csv and tasks.yaml")
    return pathlib.Path(source_dir).expanduser().resolve()


def labelled(source_dir: str | None, tasks: Sequence[str]) -> list[int] | None:
    """Returns the positions of the training images that are labelled for one of `tasks`, None if all are.

    Training leaves the others out: a batch of them would teach nothing, and the proximal step, which takes its metric
    from the gradients, would take their zeros for groups without any use.

    Raises:
      UserError: there is no such image.
    """
    folder = root(source_dir)
    rows = [row for row in read_manifest(folder, read_targets(folder)) if row.split == "train"]
    kept = [index for index, row in enumerate(rows) if not row.labels.keys().isdisjoint(tasks)]
    if not kept:
        raise UserError(f"no training image in {folder} is labelled for {', '.join(tasks)}: choose other tasks")
    if len(kept) == len(rows):
        return None
    _LOG.info(
        "folder: %d of %d training images are labelled for these tasks, the others left out", len(kept), len(rows)
    )
    return kept


def prepare(data_dir: str | None, source_dir: str | None, image_size: tuple[int, int]) -> pathlib.Path:
    """Returns the directory of the prepared records; prepares them when any file of the source is new or changed.

    Args:
      data_dir: where records are kept; None is TFDS's own place.
      source_dir: the folder with manifest and tasks.
      image_size: (height, width).

    Raises:
      UserError: something is wrong with the data, or `data_dir` cannot be written.
    """
    folder = root(source_dir)
    targets = read_targets(folder)
    rows = read_manifest(folder, targets)
    described = [_find(folder, names, "") for names in (_TASK_FILES, _MANIFESTS)]
    labels = (path for row in rows for path in (row.image, *row.labels.values()) if isinstance(path, pathlib.Path))
    digest = files.fingerprint((os.path.relpath(path, folder), path) for path in (*described, *labels))
    builder_config = records.SourceConfig(
        name="{}x{}-{}".format(*image_size, digest),
        image_size=image_size,
        specs={name: target.spec for name, target in targets.items()},
        splits={split: [row for row in rows if row.split == split] for split in ("train", "validation", "test")},
        read=functools.partial(read_row, targets=targets, image_size=image_size),
    )
    return records.prepare(Folder, builder_config, data_dir)
