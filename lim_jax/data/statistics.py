"""What is in a data set, in numbers, and what looks wrong with it.

`describe` reads examples and counts; `warnings` says in plain sentences what a person should look at before
training. Both see the targets as training does, so they also find mistakes of our own reading.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lim_jax.data import pipeline
from lim_jax.data.pipeline import Source
from lim_jax.data.sources import files
from lim_jax.data.specs import IGNORE, TargetSpec

if TYPE_CHECKING:  # importing it imports TFDS
    from lim_jax.data.datasets import Dataset

LOOKED_AT = 256  # examples of a split that training looks at for its warnings
_METRES = 60.0  # a median depth beyond this is hardly a scene in metres
_MOSTLY = 0.9
_ALONE = 0.99  # share of one class that leaves next to nothing to learn of the others
CELL = 8  # pixels, each way: the losses of dense tasks look at the target of every 8th one
_WHERE_CELLS_ARE = f"it looks at every {CELL}th pixel of every {CELL}th row"
_FAR = 3.0  # times an image's 99th percentile: relative depth is measured by the farthest pixel
_AWAY = 0.1  # share of normals that may point away from the camera
_DOWN = -0.1  # mean height of normals below which up is probably down: floors are seen more than ceilings

Statistics = dict[str, dict[str, Any]]  # {task: numbers}


def describe(source: Source, specs: Mapping[str, TargetSpec], limit: int | None = None) -> Statistics:
    """Counts what the examples of a split hold.

    Args:
      source: the split.
      specs: its targets by name.
      limit: look only at so many examples, spread evenly; None = all.

    Returns:
      Per task "examples" (looked at), "labelled" (have a label anywhere) and, over the labelled ones: "invalid"
      (share of pixels), "classes" ({name: share of valid pixels}), "depth" ([smallest, median, largest], metres),
      "mean_normal" ([x, y, z]), "away" (share of normals that point away from the camera), "positive" (share of
      attributes), "categories" ({class: share of the labelled examples}), "numbers" ([smallest, median, largest]).
      What the losses' cells see of dense tasks: "seen" (examples with a valid cell) and "seen_classes" ({name:
      cells}). "far": examples whose largest depth is beyond `_FAR` times the 99th percentile. "noted": what was noted
      of the whole split's files when the records were prepared ({what: {"examples": n, "pixels": n}}).
    """
    indices = pipeline.evenly_spaced(source, limit)
    kinds = {name: _KINDS.get(spec.kind, _ANY_KIND) for name, spec in specs.items()}
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in specs}
    for index in indices:
        targets = source[index]["targets"]
        for name, spec in specs.items():
            numbers = kinds[name].measure(targets[name], spec)
            if numbers is not None:
                measured[name].append(numbers)
    noted = getattr(source, "noted", {})
    described = {
        name: {"examples": len(indices), "labelled": len(rows)} | kinds[name].summarize(rows, specs[name])
        for name, rows in measured.items()
    }
    for name, numbers in described.items():
        found = noted.get(name, {}) | (noted.get("image", {}) if specs[name].missing((1, 1)).shape else {})
        if found:
            numbers["noted"] = found
    return described


def _measure_segmentation(target: np.ndarray, spec: TargetSpec) -> dict[str, Any] | None:
    counts = np.bincount(target.reshape(-1), minlength=256)
    if counts[IGNORE] == target.size:
        return None
    number = len(spec.class_names)
    cells = np.bincount(_cells(target).reshape(-1), minlength=256)[:number]
    return {"counts": counts[:number], "cells": cells, "invalid": counts[IGNORE] / target.size, "seen": cells.any()}


def _measure_depth(target: np.ndarray, spec: TargetSpec) -> dict[str, Any] | None:
    del spec
    valid = target[target > 0]
    if valid.size == 0:
        return None
    largest = valid.max()
    depth = (valid.min(), np.median(valid), largest)
    far = largest > _FAR * np.quantile(valid, 0.99, method="lower")
    return {"depth": depth, "invalid": 1 - valid.size / target.size, "seen": (_cells(target) > 0).any(), "far": far}


def _measure_normals(target: np.ndarray, spec: TargetSpec) -> dict[str, Any] | None:
    del spec
    valid = target[np.any(target != 0, axis=-1)]
    if valid.size == 0:
        return None
    return {
        "mean": valid.mean(axis=0),
        "away": np.mean(valid[:, 1] > 0.25),
        "invalid": 1 - valid.size / target.size,
        "seen": _cells(target).any(),
    }


def _cells(target: np.ndarray) -> np.ndarray:
    """Returns the pixels of a target that the losses look at."""
    return target[::CELL, ::CELL]


def _measure_attribute(target: np.ndarray, spec: TargetSpec) -> dict[str, Any] | None:
    del spec
    return None if target < 0 else {"positive": float(target)}


def _measure_category(target: np.ndarray, spec: TargetSpec) -> dict[str, Any] | None:
    del spec
    return None if target < 0 else {"class": int(target)}


def _measure_number(target: np.ndarray, spec: TargetSpec) -> dict[str, Any] | None:
    del spec
    return {"number": float(target)} if np.isfinite(target) else None


def _mean(rows: list[dict[str, Any]], key: str) -> float | None:
    return float(np.mean([row[key] for row in rows])) if rows else None


def _count(rows: list[dict[str, Any]], key: str) -> int:
    return sum(bool(row[key]) for row in rows)


def _summarize_segmentation(rows: list[dict[str, Any]], spec: TargetSpec) -> dict[str, Any]:
    counts = np.sum([row["counts"] for row in rows], axis=0) if rows else np.zeros(len(spec.class_names))
    shares = (counts / max(counts.sum(), 1)).tolist()
    cells = np.sum([row["cells"] for row in rows], axis=0) if rows else np.zeros(len(spec.class_names))
    seen_classes = dict(zip(spec.class_names, map(int, cells), strict=True))
    classes = dict(zip(spec.class_names, shares, strict=True))
    return {
        "invalid": _mean(rows, "invalid"),
        "classes": classes,
        "seen_classes": seen_classes,
        "seen": _count(rows, "seen"),
    }


def _summarize_depth(rows: list[dict[str, Any]], spec: TargetSpec) -> dict[str, Any]:
    del spec
    low, middle, high = np.array([row["depth"] for row in rows]).reshape(-1, 3).T
    depth = [float(low.min()), float(np.median(middle)), float(high.max())] if rows else None
    return {"invalid": _mean(rows, "invalid"), "depth": depth, "seen": _count(rows, "seen"), "far": _count(rows, "far")}


def _summarize_normals(rows: list[dict[str, Any]], spec: TargetSpec) -> dict[str, Any]:
    del spec
    mean = np.mean([row["mean"] for row in rows], axis=0).tolist() if rows else None
    away = _mean(rows, "away")
    return {"invalid": _mean(rows, "invalid"), "mean_normal": mean, "away": away, "seen": _count(rows, "seen")}


def _summarize_attribute(rows: list[dict[str, Any]], spec: TargetSpec) -> dict[str, Any]:
    del spec
    return {"positive": _mean(rows, "positive")}


def _summarize_category(rows: list[dict[str, Any]], spec: TargetSpec) -> dict[str, Any]:
    counts = np.bincount([row["class"] for row in rows], minlength=len(spec.class_names))
    return {"categories": dict(zip(spec.class_names, (counts / max(len(rows), 1)).tolist(), strict=True))}


def _summarize_number(rows: list[dict[str, Any]], spec: TargetSpec) -> dict[str, Any]:
    del spec
    values = [row["number"] for row in rows]
    return {"numbers": [min(values), float(np.median(values)), max(values)]} if values else {}


def _measure_any(target: np.ndarray, spec: TargetSpec) -> dict[str, Any] | None:
    return None if np.array_equal(target, spec.missing(target.shape[:2] or (1, 1))) else {}


def _summarize_nothing(rows: list[dict[str, Any]], spec: TargetSpec) -> dict[str, Any]:
    del rows, spec
    return {}


class _Kind(NamedTuple):
    """How targets of one kind are counted.

    Attributes:
      measure: (target, spec) -> numbers of one example; None if it is not labelled.
      summarize: (numbers of the labelled examples, spec) -> JSON-serialisable numbers of all.
    """

    measure: Callable[[np.ndarray, TargetSpec], dict[str, Any] | None]
    summarize: Callable[[list[dict[str, Any]], TargetSpec], dict[str, Any]]


_KINDS = {
    "segmentation": _Kind(_measure_segmentation, _summarize_segmentation),
    "depth": _Kind(_measure_depth, _summarize_depth),
    "normals": _Kind(_measure_normals, _summarize_normals),
    "attribute": _Kind(_measure_attribute, _summarize_attribute),
    "category": _Kind(_measure_category, _summarize_category),
    "number": _Kind(_measure_number, _summarize_number),
}
_ANY_KIND = _Kind(_measure_any, _summarize_nothing)  # of those that are not in `_KINDS`, only labels are counted


def training_warnings(dataset: "Dataset") -> list[str]:
    """Returns `warnings` from a look at some examples of each split: what is said before training starts."""
    return warnings({s: describe(source, dataset.specs, LOOKED_AT) for s, source in dataset.sources.items()})


def warnings(splits: Mapping[str, Statistics]) -> list[str]:
    """Returns what looks wrong, one sentence each.

    Args:
      splits: `describe`'s results for "train", "validation" and "test".
    """
    found = []
    for split, statistics in splits.items():
        for task, numbers in statistics.items():
            found += [f"{task}: {sentence}" for sentence in _of_one_task(split, numbers)]
        turned = [n["noted"][files.TURNED] for n in statistics.values() if files.TURNED in n.get("noted", {})]
        if turned:
            found.append(
                f"{turned[0]['examples']} images of {split} are turned as their EXIF orientation says, and their "
                "labels with them: check in a picture of the examples that they fit (python -m lim_jax.look)"
            )
    for task, numbers in splits["train"].items():
        elsewhere = {split: statistics[task] for split, statistics in splits.items() if split != "train"}
        found += [f"{task}: {sentence}" for sentence in _between_splits(numbers, elsewhere)]
    return found


def _of_one_task(split: str, numbers: Mapping[str, Any]) -> list[str]:
    noted = _noted(split, numbers)
    if not numbers["labelled"]:
        consequence = "it cannot be learned" if split == "train" else "there are no figures for it there"
        return [*noted, f"no label among the {numbers['examples']} examples of {split} looked at: {consequence}"]
    found = [sentence for kind in _SENTENCES for sentence in kind(split, numbers)]
    return found + noted


def _about_pixels(split: str, numbers: Mapping[str, Any]) -> list[str]:
    found = []
    if numbers.get("invalid", 0) > _MOSTLY:
        found.append(f"{100 * numbers['invalid']:.0f} % of the pixels in {split} are invalid")
    if numbers.get("seen", 1) == 0:
        found.append(
            f"no cell of the loss sees a label in {split}: {_WHERE_CELLS_ARE}, where there is none: "
            "label densely, or choose another dataset.image_size"
        )
    return found


def _about_classes(split: str, numbers: Mapping[str, Any]) -> list[str]:
    if split != "train" or "classes" not in numbers:
        return []
    found = []
    shares = numbers["classes"]
    largest = max(shares, key=shares.__getitem__)
    if len(shares) > 1 and shares[largest] >= _ALONE:
        found.append(
            f"{100 * shares[largest]:.1f} % of the labelled pixels in train are {largest!r}: the rest is hard to learn"
        )
    unseen = [name for name, share in shares.items() if share > 0 and numbers["seen_classes"][name] == 0]
    if unseen and numbers["seen"]:
        found.append(
            f"no cell of the loss sees {_listed(unseen)} in train: {_WHERE_CELLS_ARE}, and small "
            "things fall between them: choose a larger dataset.image_size"
        )
    return found


def _about_depth(split: str, numbers: Mapping[str, Any]) -> list[str]:
    found = []
    if "depth" in numbers and numbers["depth"][1] > _METRES:
        found.append(
            f"the median depth in {split} is {numbers['depth'][1]:.4g}: these look like millimetres, not metres "
            "(a folder's tasks file has 'scale: 0.001' for that)"
        )
    if numbers.get("far"):
        found.append(
            f"in {numbers['far']} of {numbers['labelled']} examples of {split} looked at some pixel is more than "
            f"{_FAR:g} times as far as 99 % of the others, and relative depth is measured by it: check these pixels "
            "(a folder's tasks file has 'range' for that)"
        )
    return found


def _about_normals(split: str, numbers: Mapping[str, Any]) -> list[str]:
    if "away" in numbers and numbers["away"] > _AWAY:
        return [
            f"{100 * numbers['away']:.0f} % of the normals in {split} point away from the camera: y must point into "
            "the scene, so that of visible surfaces it is negative (a folder's tasks file has 'axes' for that)"
        ]
    if "mean_normal" in numbers and numbers["mean_normal"][2] < _DOWN:
        return [
            f"more normals in {split} point down than up (mean z {numbers['mean_normal'][2]:.2f}): z must point up, "
            "and floors are seen more often than ceilings (a folder's tasks file has 'axes' for that)"
        ]
    return []


def _about_answers(split: str, numbers: Mapping[str, Any]) -> list[str]:
    positive = numbers.get("positive", 0.5)
    answer, share = ("yes", positive) if positive >= 0.5 else ("no", 1 - positive)
    if share == 1:
        return [f"all {numbers['labelled']} examples of {split} looked at say {answer}"]
    if share >= _ALONE and split == "train":
        return [f"{100 * share:.1f} % of the examples of train looked at say {answer}: the rest is hard to learn"]
    return []


_SENTENCES = (_about_pixels, _about_classes, _about_depth, _about_normals, _about_answers)


def _noted(split: str, numbers: Mapping[str, Any]) -> list[str]:
    """Returns what was noted of the task's files while the records were prepared."""
    noted, found = numbers.get("noted", {}), []
    for reason in files.UNKNOWN_DEPTHS:
        if reason in noted:
            n = noted[reason]
            found.append(
                f"{n['pixels']} pixels of {n['examples']} depth maps of {split} are {reason} and were taken as unknown"
            )
    if files.LARGEST_BYTE in noted:
        n = noted[files.LARGEST_BYTE]
        found.append(
            f"{n['pixels']} pixels of {n['examples']} depth maps of {split} have the largest depth that 8 bits hold: "
            "if 255 means 'farther' or 'unknown', store 0 there (a folder's tasks file has 'range' for that)"
        )
    if files.ONLY_0_AND_255 in noted and numbers["labelled"] <= noted[files.ONLY_0_AND_255]["examples"]:
        found.append(
            f"the label maps of {split} hold only 0 and 255, and 255 is ignored by default: if it is a class, write "
            "'ignore: []' and 'labels: [255]' in the tasks file; if not, 'ignore: [255]'"
        )
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _between_splits(train: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if "classes" not in train or not train["labelled"]:
        return []
    never = [name for name, share in train["classes"].items() if share == 0]
    if not never:
        return []
    wanted = [name for name in never if any(numbers["classes"][name] > 0 for numbers in others.values())]
    who = "1 class never occurs" if len(never) == 1 else f"{len(never)} classes never occur"
    text = f"{who} in the {train['examples']} training examples looked at: "
    text += _listed(never)
    return [text + (f"; of them {', '.join(wanted[:8])} occur in validation or test" if wanted else "")]
