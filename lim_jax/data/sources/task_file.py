"""`tasks.yaml` (or `tasks.json`) of one's own images: what the tasks are, and what is wrong with the description.

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
    weather: {type: category, classes: [sunny, rain, snow]}
    age: {type: number, unit: years}                        # the unit is for people, and optional

A class that is only a name stands for its own index.
"""

import dataclasses
import hashlib
import pathlib
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from lim_jax.data.sources import files, raw
from lim_jax.data.specs import IGNORE, KINDS, TargetSpec
from lim_jax.errors import UserError, one_line

NAMES = ("tasks.yaml", "tasks.yml", "tasks.json")
UNKNOWN = -1  # in the table of a segmentation: a label that no class has
_RESERVED = ("best", "latest", "total", "image", "split")  # checkpoints, sums, and columns of the manifest
_OPTIONS = {
    "segmentation": {"classes", "ignore"},
    "depth": {"scale", "range"},
    "normals": {"axes"},
    "attribute": set(),
    "category": {"classes"},
    "number": {"unit"},
}
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 2


@dataclasses.dataclass(frozen=True)
class Target:
    """A task of the folder: its spec, and how its files are read.

    Attributes:
      spec: what the rest of lim_jax knows of it.
      table: segmentation: int16 (65536,), the class of each stored value, `IGNORE` or `UNKNOWN` for a wrong one.
      ignores_by_default: segmentation: whether 255 is ignored because nobody said what is.
      scale: depth: metres per stored unit.
      range: depth: metres from, to; beyond is invalid.
      axes: normals: per axis of ours the index of the stored one and its sign.
    """

    spec: TargetSpec
    table: np.ndarray | None = None
    ignores_by_default: bool = False
    scale: float = 1.0
    range: tuple[float, float] = (0.0, float("inf"))
    axes: tuple[tuple[int, int], ...] = files.AXES

    def meaning(self) -> dict[str, Any]:
        """Returns all that the task's records depend on, as JSON can hold it."""
        table = None if self.table is None else hashlib.sha256(self.table.tobytes()).hexdigest()
        return {**self.spec.to_json(), "table": table, "scale": self.scale, "range": self.range, "axes": self.axes}


def read(path: pathlib.Path) -> dict[str, Target]:
    """Reads a tasks file; raises `UserError` if what it says is not understood."""
    try:
        content = yaml.safe_load(raw.read_text(path))  # JSON is YAML
    except UserError:
        raise
    except Exception as error:  # YAML's own errors, and Python's for dates, numbers and nesting that it cannot build
        raise UserError(f"{path} is not valid YAML or JSON: {one_line(error)}") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} does not map task names to descriptions, such as 'depth: {{type: depth}}'")
    return {str(name): _target(f"{path}: task {str(name)!r}", name, fields) for name, fields in content.items()}


def _target(where: str, name: Any, fields: Any) -> Target:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9_]*[a-z][a-z0-9_]*", name) or name in _RESERVED:
        raise UserError(f"{where}: a name has lower case letters, digits and _, and is not {', '.join(_RESERVED)}")
    kind = fields.get("type") if isinstance(fields, dict) else None
    if kind not in KINDS:
        raise UserError(f"{where} has type {_shown(kind)}: write 'type: ' and one of {', '.join(KINDS)}")
    unknown = fields.keys() - _OPTIONS[kind] - {"type"}
    if unknown:
        known = ", ".join(sorted(_OPTIONS[kind])) or "nothing but a type"
        raise UserError(f"{where} has {sorted(map(str, unknown))[0]!r}: a task of type {kind} has {known}")
    try:
        return _READERS[kind](name, fields)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{where} is not understood: {error}; see docs/guides/own_images.md") from error


def segmentation_target(name: str, fields: Mapping[str, Any]) -> Target:
    """Returns the target of a segmentation task; `fields` are as in the tasks file, without the type.

    Raises:
      ValueError: they are not understood; the text is a sentence.
    """
    classes = [_class(entry) for entry in _list(fields, "classes", '"classes: [sky, sea]"')]
    if not 1 <= len(classes) < IGNORE:
        raise ValueError(f"there are {len(classes)} classes, possible are 1 to {IGNORE - 1}")
    names = tuple(entry["name"] for entry in classes)
    if len(set(names)) < len(names):
        raise ValueError("two classes have the same name")
    table = np.full(files.LABELS, UNKNOWN, np.int16)
    by_default = "ignore" not in fields
    ignored = (IGNORE,) if by_default else _list(fields, "ignore", '"ignore: [255]", or "ignore: []" for none')
    for value in ignored:
        table[_label(value)] = IGNORE
    for index, entry in enumerate(classes):
        for label in _labels(index, entry):
            if table[label] == IGNORE and by_default:
                raise ValueError(f"{label} is a label of {names[index]!r}, but ignored by default: write 'ignore: []'")
            if table[label] != UNKNOWN:
                raise ValueError(f"the label {label} is given twice")
            table[label] = index
    others = [index for index, entry in enumerate(classes) if entry.get("labels") == "other"]
    if len(others) > 1:
        raise ValueError("only one class can have the labels 'other'")
    if others:
        table[table == UNKNOWN] = others[0]
    spec = TargetSpec(name, "segmentation", names, _colors(classes))
    return Target(spec, table=table, ignores_by_default=by_default)


def _depth_target(name: str, fields: Mapping[str, Any]) -> Target:
    scale = _number(fields.get("scale", 1), "scale", "0.001 for millimetres")
    bounds = _list(fields, "range", '"range: [0.3, 10]"') if "range" in fields else [0, float("inf")]
    if len(bounds) != 2:
        raise ValueError(f"range is {_shown(bounds)}: write two numbers of metres, from and to, such as [0.3, 10]")
    low, high = (_number(bound, "range", "0.3") for bound in bounds)
    if not (0 < scale < float("inf") and 0 <= low < high):
        raise ValueError("scale is positive, and range is [from, to] in metres")
    return Target(TargetSpec(name, "depth"), scale=scale, range=(low, high))


def _normals_target(name: str, fields: Mapping[str, Any]) -> Target:
    names = _list(fields, "axes", '"axes: [x, z, -y]"') if "axes" in fields else ["x", "y", "z"]
    axes = tuple(("xyz".find(str(axis)[-1:]), -1 if str(axis).startswith("-") else 1) for axis in names)
    if sorted(index for index, _ in axes) != [0, 1, 2] or any(len(str(axis)) > 2 for axis in names):
        raise ValueError("axes are three of x, y, z, -x, -y, -z, such as [x, z, -y]")
    return Target(TargetSpec(name, "normals"), axes=axes)


def _attribute_target(name: str, fields: Mapping[str, Any]) -> Target:
    del fields
    return Target(TargetSpec(name, "attribute"))


def _category_target(name: str, fields: Mapping[str, Any]) -> Target:
    classes = _list(fields, "classes", '"classes: [sunny, rain]"')
    names = tuple(_class(entry)["name"].strip() for entry in classes)
    if len(names) < 2 or any(isinstance(entry, dict) for entry in classes):
        raise ValueError("classes are two names or more, such as [sunny, rain]")
    if len({each.lower() for each in names}) < len(names):
        raise ValueError("two classes have the same name")
    return Target(TargetSpec(name, "category", names))


def _number_target(name: str, fields: Mapping[str, Any]) -> Target:
    unit = fields.get("unit", "")
    if not isinstance(unit, str):
        raise ValueError(f"unit is {_shown(unit)}: write a word, such as years")
    return Target(TargetSpec(name, "number", unit=unit))


_READERS = {
    "segmentation": segmentation_target,
    "depth": _depth_target,
    "normals": _normals_target,
    "attribute": _attribute_target,
    "category": _category_target,
    "number": _number_target,
}


def _list(fields: Mapping[str, Any], key: str, example: str) -> Sequence[Any]:
    if key not in fields:
        raise ValueError(f"it has no {key}: write {example}")
    value = fields[key]
    if value is None:
        raise ValueError(f"{key} is empty: write {example}")
    if not isinstance(value, list | tuple):
        raise ValueError(f"{key} is {_shown(value)}, which is no list: write {example}")
    return value


def _class(entry: Any) -> dict[str, Any]:
    """Returns a class as a dictionary with a name."""
    fields = entry if isinstance(entry, dict) else {"name": entry}
    unknown = fields.keys() - {"name", "labels", "color"}
    if unknown:
        raise ValueError(f"a class has name, labels and color, not {sorted(map(str, unknown))[0]!r}")
    name = fields.get("name")
    if isinstance(name, bool):
        raise ValueError(
            f"a class is called {str(name).lower()}, as YAML reads no, yes, off, on, false and true without quotes: "
            'write them with quotes, such as classes: ["no", "yes"]'
        )
    if name is None or isinstance(name, dict | list):
        raise ValueError(
            f"a class has the name {_shown(name)}: write a word, in quotes where YAML has another use for it"
        )
    return {**fields, "name": str(name)}


def _labels(index: int, entry: Mapping[str, Any]) -> list[int]:
    """Returns the labels of a class; of one that takes all others none."""
    if entry.get("labels") == "other":
        return []
    example = f'"labels: [{index}]", or "labels: other" for all that are not named'
    return [_label(value) for value in (_list(entry, "labels", example) if "labels" in entry else (index,))]


def _label(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < files.LABELS:
        raise ValueError(f"{_shown(value)} is no label: labels are whole numbers, 0..{files.LABELS - 1}")
    return value


def _colors(classes: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, int, int], ...]:
    colors = [entry["color"] for entry in classes if "color" in entry]
    right = all(isinstance(color, list | tuple) and len(color) == 3 for color in colors) and all(
        isinstance(channel, int) and 0 <= channel <= 255 for color in colors for channel in color
    )
    if colors and (len(colors) < len(classes) or not right):
        raise ValueError("give all classes a color [red, green, blue] of 0..255, or none")
    return tuple((int(red), int(green), int(blue)) for red, green, blue in colors)


def _number(value: Any, key: str, example: str) -> float:
    if isinstance(value, str):  # YAML reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
        fraction = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*/\s*(\d+(?:\.\d*)?)\s*", value)
        if fraction and float(fraction[2]):
            example = f"{float(fraction[1]) / float(fraction[2]):.10g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} is {_shown(value)}, which is no number: write {example}")
    return float(value)


def _shown(value: Any) -> str:
    return _SHORT.repr(value)  # a YAML of a few lines can stand for gigabytes
