"""What a data set says about its targets, and how arrays encode "not labelled".

Every example is `{"image": uint8 H×W×3, "targets": {name: array}}`. A target carries its own validity,
so a missing label, an invalid pixel and the padding of a last batch are one and the same thing to losses
and metrics:

| kind         | array           | dtype   | unit, range                                  | invalid       |
|--------------|-----------------|---------|----------------------------------------------|---------------|
| segmentation | H×W             | uint8   | class index, 0 .. len(class_names)-1         | `IGNORE` 255  |
| depth        | H×W             | float32 | metres, > 0                                  | 0             |
| normals      | H×W×3           | float32 | unit vectors: x right, y into the scene, z up | (0, 0, 0)    |
| attribute    | scalar          | int8    | 0 or 1                                       | -1            |
| category     | scalar          | int16   | class index, 0 .. len(class_names)-1         | -1            |
| number       | scalar          | float32 | the target's own                             | NaN           |
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

IGNORE = 255
Example = dict[str, Any]  # {"image": uint8 H×W×3, "targets": {name: array}}
KINDS = ("segmentation", "depth", "normals", "attribute", "category", "number")
_WITH_CLASSES = ("segmentation", "category")


@dataclasses.dataclass(frozen=True)
class TargetSpec:
    """One target of a data set: everything a task needs to know before it sees an example.

    Attributes:
      name: the task's name, as in `config.tasks`.
      kind: one of `KINDS`.
      class_names: segmentation and category only: the classes in the order of their indices.
      colors: segmentation only: one (red, green, blue) triple of 0..255 per class; empty = chosen by the task.
      unit: number only: of what, for people; may be empty.
    """

    name: str
    kind: str
    class_names: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()
    unit: str = ""

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"target {self.name!r} has kind {self.kind!r}; kinds are {', '.join(KINDS)}")
        if (self.kind in _WITH_CLASSES) != bool(self.class_names):
            raise ValueError(
                f"target {self.name!r}: class names belong to {' and '.join(_WITH_CLASSES)}, and only there"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON-serialisable dict; `from_json` is its inverse."""
        fields = dataclasses.asdict(self)
        if not self.unit:
            del fields["unit"]  # as it was before there were units: a run knows its targets again by this
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "TargetSpec":
        """Rebuilds a spec from `to_json`'s dict (lists stand for tuples)."""
        return cls(
            name=fields["name"],
            kind=fields["kind"],
            class_names=tuple(fields["class_names"]),
            colors=tuple(tuple(color) for color in fields["colors"]),
            unit=fields.get("unit", ""),
        )

    def missing(self, image_size: tuple[int, int]) -> np.ndarray:
        """Returns the target of an example that has no label of this kind, for images of `(height, width)`."""
        height, width = image_size
        if self.kind == "segmentation":
            return np.full((height, width), IGNORE, np.uint8)
        if self.kind == "depth":
            return np.zeros((height, width), np.float32)
        if self.kind == "normals":
            return np.zeros((height, width, 3), np.float32)
        if self.kind == "number":
            return np.array(np.nan, np.float32)
        return np.array(-1, np.int16 if self.kind == "category" else np.int8)
