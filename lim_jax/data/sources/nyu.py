"""`nyu`: NYU-v2's 1449 labelled frames with 40 classes, depth and normals, from the layouts in which people have them.

`source_dir` is recognised by looking:

* the download of three-task papers (AdaShare and others): `nyu_v2_3task.json` lists, per split, (image, labels,
  normals, depth); labels 0..39 and 255 = void; normals as PNG, n = v / 127.5 - 1, with
  (255, 255, 255) and (127, 127, 127) invalid;
* NYUD-MT of multi-task benchmarks: `gt_sets/{train,val}.txt`, `images`, `segmentation` (0 = void, 1..40),
  `normals` and `depth` as npy; its "val" is the official test split.

Both use the official 795 training and 654 test frames, and the same axes for normals (see `room_rendering`). Where
the source has no validation split, a share of the training frames becomes it, drawn by a fixed seed; of
sources with very few frames, which can only be meant for a trial, training and validation are the same frames.
"""

import dataclasses
import functools
import json
import logging
import pathlib

import numpy as np

from lim_jax.data import nyu40, records, transforms
from lim_jax.data.sources import files
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


def find_layout(source_dir: pathlib.Path) -> Layout:
    """Recognises the layout of `source_dir` and lists its frames.

    Raises:
      UserError: no such folder, no known layout in it, or a list of frames that cannot be read.
    """
    if not source_dir.is_dir():
        raise UserError(f"dataset.source_dir={source_dir} is not a folder; {_HOW_TO_GET}")
    if (source_dir / _THREE_TASK_FILE).is_file():
        return Layout("3-task", _three_task_splits(source_dir), void=IGNORE, first_class=0)
    if (source_dir / "gt_sets").is_dir():
        return Layout("NYUD-MT", _nyud_mt_splits(source_dir), void=0, first_class=1)
    raise UserError(
        f"dataset.source_dir={source_dir} holds neither {_THREE_TASK_FILE} (3-task layout) "
        "nor gt_sets/ (NYUD-MT layout): point it to the folder that does"
    )


def _three_task_splits(source_dir: pathlib.Path) -> dict[str, list[Frame]]:
    listing = source_dir / _THREE_TASK_FILE
    try:
        entries = json.loads(listing.read_text())
        splits: dict[str, list[Frame]] = {
            split: [Frame(*(source_dir / p for p in row)) for row in rows] for split, rows in entries.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{listing} is not {{split: [[image, labels, normals, depth], ...]}} ({error}): download it again"
        ) from error
    names: dict[str, str] = {"val": "validation"}
    return _complete({names.get(split, split): frames for split, frames in splits.items()}, listing)


def _nyud_mt_splits(source_dir: pathlib.Path) -> dict[str, list[Frame]]:
    splits = {}
    for split, file in (("train", "train.txt"), ("test", "val.txt")):
        listing = source_dir / "gt_sets" / file
        if not listing.is_file():
            raise UserError(f"{listing} is missing: unpack the archive again")
        splits[split] = [_nyud_mt_frame(source_dir, name) for name in listing.read_text().split()]
    return _complete(splits, source_dir / "gt_sets")


def _nyud_mt_frame(source_dir: pathlib.Path, name: str) -> Frame:
    image = source_dir / "images" / f"{name}.jpg"
    return Frame(
        image=image if image.exists() else image.with_suffix(".png"),
        segmentation=source_dir / "segmentation" / f"{name}.png",
        normals=source_dir / "normals" / f"{name}.npy",
        depth=source_dir / "depth" / f"{name}.npy",
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
    image = files.read_image(frame.image)
    labels = files.read_map(frame.segmentation)
    depth = files.read_depth(frame.depth)
    normals = files.read_normals(frame.normals)
    for path, array in ((frame.segmentation, labels), (frame.depth, depth), (frame.normals, normals)):
        files.check_same_size(image, frame.image, array, path)
    return {
        "image": transforms.resize_image(image, image_size),
        "targets": {
            "segmentation": transforms.resize_labels(_class_indices(labels, layout, frame.segmentation), image_size),
            "depth": transforms.resize_depth(depth, image_size),
            "normals": transforms.resize_normals(normals, image_size),
        },
    }


def _class_indices(labels: np.ndarray, layout: Layout, path: pathlib.Path) -> np.ndarray:
    last = layout.first_class + len(nyu40.CLASS_NAMES) - 1
    void = labels == layout.void
    wrong = ~void & ((labels < layout.first_class) | (labels > last))
    if wrong.any():
        raise UserError(
            f"{path} holds the label {labels[wrong][0]}: the {layout.name} layout has {layout.first_class}..{last} "
            f"and {layout.void} for void"
        )
    return np.where(void, IGNORE, labels.astype(np.int32) - layout.first_class).astype(np.uint8)


class Nyu(records.SourceBuilder, skip_registration=True):
    """NYU-v2 with 40 classes, depth and normals."""


def prepare(
    data_dir: str | None,
    source_dir: str | None,
    image_size: tuple[int, int],
    validation_share: float = VALIDATION_SHARE,
) -> pathlib.Path:
    """Returns the directory of the prepared records, which it prepares from `source_dir` if need be.

    Records carry a fingerprint of the files that they were made from, so that another source, or a changed one, is
    prepared anew. Without `source_dir` the records that exist for this image size are used, if they are one set.

    Args:
      data_dir: where records are kept; None is TFDS's own place.
      source_dir: the data set as downloaded.
      image_size: (height, width).
      validation_share: of the training frames, see `with_validation`.

    Raises:
      UserError: there is no data, or something is wrong with it.
    """
    height, width = image_size
    if not source_dir:
        return records.prepared(Nyu, data_dir, image_size, _HOW_TO_GET)
    layout = find_layout(pathlib.Path(source_dir).expanduser().resolve())
    records.refuse_overlap((f.image, split) for split, frames in layout.splits.items() for f in frames)
    splits = with_validation(layout.splits, validation_share)
    builder_config = records.SourceConfig(
        name=f"{height}x{width}-{_fingerprint(layout.name, splits)}",
        image_size=image_size,
        specs=SPECS,
        splits=splits,
        read=functools.partial(read_frame, layout=layout, image_size=image_size),
    )
    return records.prepare(Nyu, builder_config, data_dir)


def _fingerprint(layout: str, splits: dict[str, list[Frame]]) -> str:
    """Returns 8 hex digits that change with the split, name, size or time of change of any file."""
    return files.fingerprint(
        (f"{layout} {split} {path.parent.name}/{path.name}", path)
        for split, frames in sorted(splits.items())
        for frame in frames
        for path in dataclasses.astuple(frame)
    )
