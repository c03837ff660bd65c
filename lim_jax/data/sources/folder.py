"""`folder`: anybody's own images, described by two small files in `source_dir`; no code is needed.

`manifest.csv` (see `manifest`) has a row per image: its path, its split (train, validation or test), and a column per
task: a path relative to `source_dir`, an attribute's value (yes/no, 1/0, true/false), or nothing where the image is not
labelled. Columns that are no task are left alone. Training images without a label for any of the chosen tasks
are left out. `tasks.yaml` (see `task_file`) says what the tasks are.

Images are files that OpenCV reads, TIFFs of floats, or npy; label maps are images of one channel or npy; depth too
(0 = unknown); normals are npy or an image as in `files.read_normals`.
"""

import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lim_jax.data import preparation, transforms
from lim_jax.data.problems import Problems
from lim_jax.data.sources import files, fingerprints, manifest, overlap, task_file
from lim_jax.data.sources.manifest import Row
from lim_jax.data.sources.task_file import Target
from lim_jax.data.specs import IGNORE, Example
from lim_jax.errors import UserError

_LOG = logging.getLogger(__name__)


def read_targets(source_dir: pathlib.Path) -> dict[str, Target]:
    """Reads the tasks file of `source_dir`; raises `UserError` if there is none, or it is not understood."""
    return task_file.read(_find(source_dir, task_file.NAMES, "what the tasks are"))


def read_manifest(source_dir: pathlib.Path, targets: Mapping[str, Target], follow_links: bool = False) -> list[Row]:
    """Reads the manifest of `source_dir`; raises `UserError` if there is none, or something is wrong with it."""
    return manifest.read(_find(source_dir, manifest.NAMES, "which images there are"), targets, follow_links)


def read_row(row: Row, targets: Mapping[str, Target], image_size: tuple[int, int]) -> Example:
    """Reads one image with its labels and brings it to `image_size`, as an example with all `targets`.

    Raises:
      UserError: files are unreadable, of another size than the image, or hold values that they should not.
    """
    problems = Problems()
    photo = None
    with problems.gathered():
        photo = files.read_photo(row.image)
    read: dict[str, np.ndarray] = {}
    noted: dict[str, Mapping[str, int]] = {}
    for name, target in targets.items():
        label = row.labels.get(name)
        if label is None:
            read[name] = target.spec.missing(image_size)
        elif not isinstance(label, pathlib.Path):
            read[name] = np.array(label, target.spec.missing(image_size).dtype)
        elif photo is not None:
            with problems.gathered():
                read[name], noted[name] = _READERS[target.spec.kind](label, target, photo, image_size)
    problems.raise_any()
    assert photo is not None
    image = transforms.resize_image(photo.pixels, image_size)
    return {"image": image, "targets": read, "noted": {"image": files.noted_of(photo), **noted}}


_Read = tuple[np.ndarray, Mapping[str, int]]  # a target at the size of the records, and what was noted of its pixels


def _read_classes(path: pathlib.Path, target: Target, photo: files.Photo, image_size: tuple[int, int]) -> _Read:
    labels = files.read_labels(path, photo)
    files.check_same_size(photo, labels, path)
    assert target.table is not None
    classes = np.where(labels == files.NO_LABEL, np.int16(IGNORE), target.table[labels])
    wrong = classes == task_file.UNKNOWN
    if wrong.any():
        raise UserError(
            f"{path} holds the label {labels[wrong][0]}, which no class of the task "
            f"{target.spec.name!r} has: add it to a class, or to 'ignore', in the tasks file"
        )
    noted = {}
    if target.ignores_by_default and labels.max() == IGNORE and np.isin(labels, (0, IGNORE)).all():
        noted[files.ONLY_0_AND_255] = np.count_nonzero(labels)
    return transforms.resize_labels(classes.astype(np.uint8), image_size), noted


def _read_depth(path: pathlib.Path, target: Target, photo: files.Photo, image_size: tuple[int, int]) -> _Read:
    depth = files.read_depth(path, photo, target.scale, target.range)
    files.check_same_size(photo, depth.metres, path)
    return transforms.resize_depth(depth.metres, image_size), depth.noted


def _read_normals(path: pathlib.Path, target: Target, photo: files.Photo, image_size: tuple[int, int]) -> _Read:
    normals = files.read_normals(path, photo, target.axes)
    files.check_same_size(photo, normals, path)
    return transforms.resize_normals(normals, image_size), {}


_READERS = {"segmentation": _read_classes, "depth": _read_depth, "normals": _read_normals}


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


class Folder(preparation.SourceBuilder, skip_registration=True):
    """One's own images."""


def root(source_dir: str | None) -> pathlib.Path:
    """Returns `source_dir` as a path; raises `UserError` if it is not set."""
    if not source_dir:
        raise UserError("dataset.source_dir is not set: give the folder with manifest.csv and tasks.yaml")
    return pathlib.Path(source_dir).expanduser().resolve()


@dataclasses.dataclass(frozen=True)
class Described:
    """What the two files of a folder say.

    Attributes:
      root: the folder.
      targets: the tasks.
      rows: the images.
    """

    root: pathlib.Path
    targets: Mapping[str, Target]
    rows: Sequence[Row]

    def of(self, split: str) -> list[Row]:
        """Returns the rows of a split, in the order of its records."""
        return [row for row in self.rows if row.split == split]


def describe(source_dir: str | None, follow_links: bool = False) -> Described:
    """Reads both files of a folder.

    Args:
      source_dir: the folder.
      follow_links: whether the manifest's paths and links may lead out of it.

    Raises:
      UserError: it is not set, or something is wrong with a file.
    """
    folder = root(source_dir)
    targets = read_targets(folder)
    return Described(folder, targets, read_manifest(folder, targets, follow_links))


def labelled(described: Described, tasks: Sequence[str]) -> list[int] | None:
    """Returns the positions of the training images that are labelled for one of `tasks`, None if all are.

    Training leaves the others out: a batch of them would teach nothing, and the proximal step, which takes its metric
    from the gradients, would take their zeros for groups without any use.

    Raises:
      UserError: there is no such image.
    """
    rows = described.of("train")
    kept = [index for index, row in enumerate(rows) if not row.labels.keys().isdisjoint(tasks)]
    if not kept:
        raise UserError(f"no training image in {described.root} is labelled for {', '.join(tasks)}: choose other tasks")
    if len(kept) == len(rows):
        return None
    _LOG.info(
        "folder: %d of %d training images are labelled for these tasks, the others left out", len(kept), len(rows)
    )
    return kept


def prepare(described: Described, data_dir: str | None, image_size: tuple[int, int]) -> pathlib.Path:
    """Returns the directory of the prepared records; prepares them when any file of the source is new or changed.

    Args:
      described: the folder.
      data_dir: where records are kept; None is TFDS's own place.
      image_size: (height, width).

    Raises:
      UserError: something is wrong with the data, or `data_dir` cannot be written.
    """
    folder, targets, rows = described.root, described.targets, described.rows
    paths = [path for row in rows for path in (row.image, *row.labels.values()) if isinstance(path, pathlib.Path)]
    named = [(os.path.relpath(path, folder), path) for path in paths]
    texts = [(path.name, path) for path in (_find(folder, each, "") for each in (task_file.NAMES, manifest.NAMES))]
    images = [(row.image, row.split) for row in rows]
    config = preparation.SourceConfig(
        name="",  # `prepare_source` gives it one
        image_size=image_size,
        specs={name: target.spec for name, target in targets.items()},
        splits={split: described.of(split) for split in ("train", "validation", "test")},
        read=functools.partial(read_row, targets=targets, image_size=image_size),
        check=functools.partial(overlap.refuse_copies_between_splits, images),
        source=str(folder),
    )
    meaning: list[Any] = [target.meaning() for target in targets.values()]
    former = functools.partial(fingerprints.former_digest, [*texts, *named])
    return preparation.prepare_source(Folder, config, data_dir, fingerprints.fingerprint(named, meaning, texts), former)
