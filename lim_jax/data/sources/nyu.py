"""`nyu`: NYU-v2's 1449 labelled frames with 40 classes, depth and normals, from the layouts in which people have them.

`source_dir` is recognised by looking:

* the download of three-task papers (AdaShare and others): `nyu_v2_3task.json` lists, per split, (image, labels,
  normals, depth); labels 0..39 and 255 = void; normals as PNG, n = v / 127.5 - 1, with
  (255, 255, 255) and (127, 127, 127) invalid;
* NYUD-MT of multi-task benchmarks: `gt_sets/{train,val}.txt`, `images`, `segmentation` (0 = void, 1..40),
  `normals` and `depth` as npy (or normals as PNG); its "val" is the official test split.

Both use the official 795 training and 654 test frames, and the same axes for normals (see
`lim_jax.data.rooms.rendering`). Where the source has no validation split, a share of the training frames becomes it,
drawn by a fixed seed; of sources with very few frames, which can only be meant for a trial, training and validation
are the same frames.
"""

import dataclasses
import functools
import json
import logging
import os
import pathlib

import numpy as np

from lim_jax.data import nyu40, preparation, transforms
from lim_jax.data.problems import Problems
from lim_jax.data.sources import files, fingerprints, overlap, paths, raw
from lim_jax.data.specs import IGNORE, Example
from lim_jax.errors import UserError

_LOG = logging.getLogger(__name__)

SPECS = nyu40.SPECS
VALIDATION_SHARE = 0.1  # of the training frames
SPLIT_SEED = 0
FEWEST_TO_SPLIT = 10  # with fewer training frames validation uses all of them

_HOW_TO_GET = (
    "download it (three-task archive: github.com/sunxm2357/AdaShare; NYUD-MT archive NYUDv2.tar.gz: "
    "github.com/prismformore/Multi-Task-Transformer), unpack it, and pass --config.dataset.source_dir=FOLDER"
)
_THREE_TASK_FILE = "nyu_v2_3task.json"


@dataclasses.dataclass(frozen=True)
class Frame:
    """The files of one frame."""

    image: pathlib.Path
    segmentation: pathlib.Path
    normals: pathlib.Path
    depth: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Layout:
    """The frames of each split ("train", "test", perhaps "validation"), and how labels are stored."""

    name: str
    splits: dict[str, list[Frame]]
    void: int  # the stored value of "no class"
    first_class: int  # the stored value of class 0


def find_layout(source_dir: pathlib.Path, follow_links: bool = False) -> Layout:
    """Recognises the layout of `source_dir` and lists its frames.

    Args:
      source_dir: the folder.
      follow_links: whether its lists and links may lead out of it.

    Raises:
      UserError: no such folder, no known layout in it, or a list of frames that cannot be read.
    """
    if not source_dir.is_dir():
        raise UserError(f"dataset.source_dir={source_dir} is not a folder; {_HOW_TO_GET}")
    resolve = None if follow_links else paths.resolver()
    if (source_dir / _THREE_TASK_FILE).is_file():
        return Layout("3-task", _three_task_splits(source_dir, resolve), void=IGNORE, first_class=0)
    if (source_dir / "gt_sets").is_dir():
        return Layout("NYUD-MT", _nyud_mt_splits(source_dir, resolve), void=0, first_class=1)
    raise UserError(
        f"dataset.source_dir={source_dir} holds neither {_THREE_TASK_FILE} (3-task layout) "
        "nor gt_sets/ (NYUD-MT layout): point it to the folder that does"
    )


def _three_task_splits(source_dir: pathlib.Path, resolve: paths.Resolve | None) -> dict[str, list[Frame]]:
    listing = source_dir / _THREE_TASK_FILE
    try:
        entries = json.loads(raw.read_text(listing))
        splits: dict[str, list[Frame]] = {
            split: [Frame(*(paths.inside(source_dir, p, str(listing), resolve) for p in row)) for row in rows]
            for split, rows in entries.items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{listing} is not {{split: [[image, labels, normals, depth], ...]}} ({error}): download it again"
        ) from error
    names: dict[str, str] = {"val": "validation"}
    return _complete({names.get(split, split): frames for split, frames in splits.items()}, listing)


def _nyud_mt_splits(source_dir: pathlib.Path, resolve: paths.Resolve | None) -> dict[str, list[Frame]]:
    splits = {}
    for split, file in (("train", "train.txt"), ("test", "val.txt")):
        listing = source_dir / "gt_sets" / file
        if not listing.is_file():
            raise UserError(f"{listing} is missing: unpack the archive again")
        names = raw.read_text(listing).split()
        splits[split] = [_nyud_mt_frame(source_dir, name, str(listing), resolve) for name in names]
    return _complete(splits, source_dir / "gt_sets")


def _nyud_mt_frame(source_dir: pathlib.Path, name: str, where: str, resolve: paths.Resolve | None) -> Frame:
    def file(folder: str, *endings: str) -> pathlib.Path:
        """The first that there is, or the first."""
        found = [paths.inside(source_dir, f"{folder}/{name}{ending}", where, resolve) for ending in endings]
        return next(filter(os.path.exists, found), found[0])

    return Frame(
        image=file("images", ".jpg", ".png"),
        segmentation=file("segmentation", ".png"),
        normals=file("normals", ".npy", ".png"),
        depth=file("depth", ".npy"),
    )


def _complete(splits: dict[str, list[Frame]], listing: pathlib.Path) -> dict[str, list[Frame]]:
    for split in ("train", "test"):
        if not splits.get(split):
            raise UserError(f"{listing} lists no frames of the {split} split: download it again")
    return {split: frames for split, frames in splits.items() if split in ("train", "validation", "test")}


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


def read_frame(frame: Frame, layout: Layout, image_size: tuple[int, int]) -> Example:
    """Reads one frame and brings it to `image_size`, as an example with all `SPECS`.

    Raises:
      UserError: a file is missing, unreadable, of another size than the image, or holds values that it should not.
    """
    problems = Problems()
    photo = files.read_photo(frame.image)
    targets: dict[str, np.ndarray] = {}
    noted = {"image": files.noted_of(photo)}
    with problems.gathered():
        labels = files.read_labels(frame.segmentation, photo)
        files.check_same_size(photo, labels, frame.segmentation)
        classes = _class_indices(labels, layout, frame.segmentation)
        targets["segmentation"] = transforms.resize_labels(classes, image_size)
    with problems.gathered():
        depth = files.read_depth(frame.depth, photo)
        files.check_same_size(photo, depth.metres, frame.depth)
        targets["depth"], noted["depth"] = transforms.resize_depth(depth.metres, image_size), dict(depth.noted)
    with problems.gathered():
        normals = files.read_normals(frame.normals, photo)
        files.check_same_size(photo, normals, frame.normals)
        targets["normals"] = transforms.resize_normals(normals, image_size)
    problems.raise_any()
    return {"image": transforms.resize_image(photo.pixels, image_size), "targets": targets, "noted": noted}


def _class_indices(labels: np.ndarray, layout: Layout, path: pathlib.Path) -> np.ndarray:
    last = layout.first_class + len(nyu40.CLASS_NAMES) - 1
    void = (labels == layout.void) | (labels == files.NO_LABEL)
    wrong = ~void & ((labels < layout.first_class) | (labels > last))
    if wrong.any():
        raise UserError(
            f"{path} holds the label {labels[wrong][0]}: the {layout.name} layout has {layout.first_class}..{last} "
            f"and {layout.void} for void"
        )
    return np.where(void, IGNORE, labels - layout.first_class).astype(np.uint8)


class Nyu(preparation.SourceBuilder, skip_registration=True):
    """NYU-v2 with 40 classes, depth and normals."""


def prepare(
    data_dir: str | None,
    source_dir: str | None,
    image_size: tuple[int, int],
    validation_share: float = VALIDATION_SHARE,
    follow_links: bool = False,
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

    Raises:
      UserError: there is no data, or something is wrong with it.
    """
    if not source_dir:
        return preparation.prepared(Nyu, data_dir, image_size, _HOW_TO_GET)
    folder = pathlib.Path(source_dir).expanduser().resolve()
    layout = find_layout(folder, follow_links)
    images = [(frame.image, split) for split, frames in layout.splits.items() for frame in frames]
    overlap.refuse_listed_twice(images)
    splits = with_validation(layout.splits, validation_share)
    config = preparation.SourceConfig(
        name="",  # `prepare_source` gives it one
        image_size=image_size,
        specs=SPECS,
        splits=splits,
        read=functools.partial(read_frame, layout=layout, image_size=image_size),
        check=functools.partial(overlap.refuse_copies_between_splits, images),
        source=str(folder),
    )
    named = [
        (f"{layout.name} {split} {path.parent.name}/{path.name}", path)
        for split, frames in sorted(splits.items())
        for frame in frames
        for path in dataclasses.astuple(frame)
    ]
    former = functools.partial(fingerprints.former_digest, named)
    return preparation.prepare_source(Nyu, config, data_dir, fingerprints.fingerprint(named), former)
