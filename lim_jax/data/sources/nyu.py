"""`nyu`: NYU-v2's 1449 labelled frames with classes, depth and normals, from all `nyu_layouts` in which people have it.

All of them use the official 795 training and 654 test frames, and the same axes for normals (see
`lim_jax.data.rooms.rendering`). Where the source has no validation split, a share of the training frames becomes it,
drawn by a fixed seed; of sources with very few frames, which can only be meant for a trial, training and validation
are the same frames.

There are 40 classes or 13. A source that has 40 gives both; MTAN's has 13. Records hold the chosen tasks' targets,
and those of the others whose files are all there.
"""

import functools
import logging
import os
import pathlib
from collections.abc import Collection, Mapping

import numpy as np

from lim_jax.data import nyu40, preparation, transforms
from lim_jax.data.problems import Problems
from lim_jax.data.sources import files, fingerprints, nyu_layouts, overlap
from lim_jax.data.sources.nyu_layouts import Frame, Layout
from lim_jax.data.specs import IGNORE, Example
from lim_jax.errors import UserError

_LOG = logging.getLogger(__name__)

CLASSES = {40: nyu40.SPECS, 13: nyu40.SPECS_13}  # the targets by the number of classes
VALIDATION_SHARE = 0.1  # of the training frames
SPLIT_SEED = 0
FEWEST_TO_SPLIT = 10  # with fewer training frames validation uses all of them


def num_classes(source_dir: str | None, wanted: int = 0) -> int:
    """Returns how many classes there are: 40 or 13.

    Args:
      source_dir: the data set as downloaded, if that is known.
      wanted: 0 for as many as the source has, 40 where there is none.

    Raises:
      UserError: the source has fewer than wanted.
    """
    is_mtan = bool(source_dir) and nyu_layouts.is_mtan(pathlib.Path(str(source_dir)).expanduser())
    if wanted == 40 and is_mtan:
        raise UserError(f"dataset.source_dir={source_dir} has 13 classes: set dataset.classes to 13")
    return wanted or (13 if is_mtan else 40)


def with_validation(splits: dict[str, list[Frame]], share: float) -> dict[str, list[Frame]]:
    """Returns "train", "validation" and "test", where need be with `share` of the training frames for validation.

    With fewer than `FEWEST_TO_SPLIT` training frames validation is all of them, and training keeps them all.
    """
    if splits.get("validation"):
        return splits
    train = splits["train"]
    if len(train) < FEWEST_TO_SPLIT:
        _LOG.warning(
            "nyu: only %d training frames and no validation split: validation uses the training frames, "
            "so its figures say nothing about unseen images",
            len(train),
        )
        return {**splits, "validation": train}
    count = max(1, round(share * len(train)))
    chosen = set(np.random.default_rng(SPLIT_SEED).permutation(len(train))[:count].tolist())
    return {
        "train": [frame for i, frame in enumerate(train) if i not in chosen],
        "validation": [train[i] for i in sorted(chosen)],
        "test": splits["test"],
    }


def read_frame(
    frame: Frame,
    layout: Layout,
    image_size: tuple[int, int],
    targets: Collection[str] = tuple(nyu40.SPECS),
    classes: int = 40,
) -> Example:
    """Reads one frame and brings it to `image_size`.

    Args:
      frame: its files.
      layout: that it is from.
      image_size: (height, width) of the result.
      targets: those to read; the files of others need not be there.
      classes: 40 or 13.

    Raises:
      UserError: a file is missing, unreadable, of another size than the image, or holds values that it should not.
    """
    problems = Problems()
    photo = files.read_photo(frame.image)
    found: dict[str, np.ndarray] = {}
    noted = {"image": files.noted_of(photo)}
    for name in targets:
        with problems.gathered():
            path = frame.labels[name]
            target, noted[name] = _READERS[name](path, photo, layout, classes)
            files.check_same_size(photo, target, path)
            found[name] = _RESIZERS[name](target, image_size)
    problems.raise_any()
    return {"image": transforms.resize_image(photo.pixels, image_size), "targets": found, "noted": noted}


def _read_segmentation(
    path: pathlib.Path, photo: files.Photo, layout: Layout, classes: int
) -> tuple[np.ndarray, dict[str, int]]:
    labels = files.read_labels(path, photo)
    last = layout.first_class + layout.num_classes - 1
    void = (labels == layout.void) | (labels == files.NO_LABEL)
    wrong = ~void & ((labels < layout.first_class) | (labels > last))
    if wrong.any():
        raise UserError(
            f"{path} holds the label {labels[wrong][0]}: the {layout.name} layout has {layout.first_class}..{last} "
            f"and {layout.void} for void"
        )
    indices = np.where(void, IGNORE, labels - layout.first_class).astype(np.uint8)
    return indices if classes == layout.num_classes else nyu40.to_13(indices), {}


def _read_depth(
    path: pathlib.Path, photo: files.Photo, layout: Layout, classes: int
) -> tuple[np.ndarray, dict[str, int]]:
    del layout, classes
    depth = files.read_depth(path, photo)
    return depth.metres, dict(depth.noted)


def _read_normals(
    path: pathlib.Path, photo: files.Photo, layout: Layout, classes: int
) -> tuple[np.ndarray, dict[str, int]]:
    del layout, classes
    return files.read_normals(path, photo, odd_is_void=True), {}


_READERS = {"segmentation": _read_segmentation, "depth": _read_depth, "normals": _read_normals}
_FINGERPRINTED = ("segmentation", "normals", "depth")  # in the order that the names of earlier records were made of
_RESIZERS = {
    "segmentation": transforms.resize_labels,
    "depth": transforms.resize_depth,
    "normals": transforms.resize_normals,
}


def available_targets(splits: Mapping[str, list[Frame]], tasks: Collection[str]) -> tuple[str, ...]:
    """Returns the targets to read, in the order of `nyu40.SPECS`: `tasks`, and others whose files are all there."""
    frames = [frame for split in splits.values() for frame in split]

    def is_there(name: str) -> bool:
        return all(os.path.exists(frame.labels[name]) for frame in frames)

    return tuple(name for name in nyu40.SPECS if name in tasks or is_there(name))


class Nyu(preparation.SourceBuilder, skip_registration=True):
    """NYU-v2 with 40 or 13 classes, depth and normals."""


def prepare(
    data_dir: str | None,
    source_dir: str | None,
    image_size: tuple[int, int],
    validation_share: float = VALIDATION_SHARE,
    follow_links: bool = False,
    *,
    tasks: Collection[str] = tuple(nyu40.SPECS),
    classes: int = 0,
) -> pathlib.Path:
    """Returns the directory of the prepared records, which it prepares from `source_dir` if need be.

    Records carry a fingerprint of the files that they were made from, so that another source, or a changed one, is
    prepared anew. Without `source_dir` the records that exist for this image size are used, if they are one set.

    Args:
      data_dir: where records are kept; None is TFDS's own place.
      source_dir: the data set as downloaded.
      image_size: (height, width).
      validation_share: of the training frames, see `with_validation`.
      follow_links: whether the source's lists and links may lead out of its folder.
      tasks: the targets that are needed.
      classes: 40 or 13; 0 for as many as the source has.

    Raises:
      UserError: there is no data, or something is wrong with it.
    """
    classes = num_classes(source_dir, classes)
    variant = "" if classes == 40 else f"x{classes}"
    if not source_dir:
        return preparation.prepared(Nyu, data_dir, image_size, nyu_layouts.HOW_TO_GET, variant)
    folder = pathlib.Path(source_dir).expanduser().resolve()
    layout = nyu_layouts.find_layout(folder, follow_links)
    images = [(frame.image, split) for split, frames in layout.splits.items() for frame in frames]
    overlap.refuse_listed_twice(images)
    splits = with_validation(layout.splits, validation_share)
    targets = available_targets(layout.splits, tasks)
    config = preparation.SourceConfig(
        name="",  # `prepare_source` gives it one
        image_size=image_size,
        specs={name: CLASSES[classes][name] for name in targets},
        splits=splits,
        read=functools.partial(read_frame, layout=layout, image_size=image_size, targets=targets, classes=classes),
        check=functools.partial(overlap.refuse_copies_between_splits, images),
        source=str(folder),
    )
    named = [
        (f"{layout.name} {split} {path.parent.name}/{path.name}", path)
        for split, frames in sorted(splits.items())
        for frame in frames
        for path in (frame.image, *(frame.labels[name] for name in _FINGERPRINTED if name in targets))
    ]
    former = functools.partial(fingerprints.former_digest, named)
    fingerprint = fingerprints.fingerprint(named)
    return preparation.prepare_source(Nyu, config, data_dir, fingerprint, former, variant)
