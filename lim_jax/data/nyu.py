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
import hashlib
import json
import logging
import pathlib
from collections.abc import Iterator

import cv2
import numpy as np
import tensorflow_datasets as tfds

from lim_jax.data import nyu40, records, transforms
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
    image = _read_image(frame.image, cv2.IMREAD_COLOR)[..., ::-1]
    labels = _read_image(frame.segmentation, cv2.IMREAD_UNCHANGED)
    depth = _read_array(frame.depth).astype(np.float32)
    normals = _read_normals(frame.normals)
    depth = depth.reshape(depth.shape[:2])  # some archives keep a trailing axis of one
    for path, array in ((frame.segmentation, labels), (frame.depth, depth), (frame.normals, normals)):
        if array.shape[:2] != image.shape[:2]:
            raise UserError(
                f"{path} is {_size(array)} but its image {frame.image.name} is {_size(image)}: "
                "use files of one and the same archive"
            )
    if not np.isfinite(depth).all():
        raise UserError(f"{frame.depth} holds NaN or infinite depths: write 0 where depth is unknown")
    return {
        "image": transforms.resize_image(np.ascontiguousarray(image), image_size),
        "targets": {
            "segmentation": transforms.resize_labels(_class_indices(labels, layout, frame.segmentation), image_size),
            "depth": transforms.resize_depth(np.maximum(depth, 0), image_size),
            "normals": transforms.resize_normals(normals, image_size),
        },
    }


def _class_indices(labels: np.ndarray, layout: Layout, path: pathlib.Path) -> np.ndarray:
    if labels.ndim != 2:
        raise UserError(f"{path} has {labels.shape[-1]} channels: labels are a one-channel image of class indices")
    last = layout.first_class + len(nyu40.CLASS_NAMES) - 1
    void = labels == layout.void
    wrong = ~void & ((labels < layout.first_class) | (labels > last))
    if wrong.any():
        raise UserError(
            f"{path} holds the label {labels[wrong][0]}: the {layout.name} layout has {layout.first_class}..{last} "
            f"and {layout.void} for void"
        )
    return np.where(void, IGNORE, labels.astype(np.int32) - layout.first_class).astype(np.uint8)


def _read_normals(path: pathlib.Path) -> np.ndarray:
    """Reads float32 H×W×3 unit normals, zero where invalid."""
    if path.suffix == ".npy":
        normals = _read_array(path).astype(np.float32)
    else:
        stored = _read_image(path, cv2.IMREAD_COLOR)[..., ::-1]
        invalid = np.all(stored == 255, axis=-1) | np.all(stored == 127, axis=-1)
        normals = np.where(invalid[..., None], np.float32(0), stored / np.float32(127.5) - 1)
    if normals.ndim != 3 or normals.shape[-1] != 3 or not np.isfinite(normals).all():
        raise UserError(f"{path} is not a map of finite normals, height×width×3")
    return transforms.normalized(normals)


def _read_image(path: pathlib.Path, flags: int) -> np.ndarray:
    data = _read_bytes(path)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise UserError(f"{path} is not a readable image: it may be cut short; copy or unpack it again")
    return image


def _read_bytes(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): unpack the archive again") from error


def _read_array(path: pathlib.Path) -> np.ndarray:
    try:
        return np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read {path} as a NumPy array ({error}): copy or unpack it again") from error


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]}×{array.shape[1]}"


@dataclasses.dataclass
class NyuConfig(tfds.core.BuilderConfig):
    """Size of the images, (height, width), and how to find the frames, asked only when there is nothing prepared."""

    image_size: tuple[int, int] = (256, 256)
    layout: Layout | None = None


class Nyu(records.RecordsBuilder, skip_registration=True):
    """NYU-v2 with 40 classes, depth and normals."""

    VERSION = tfds.core.Version("1.0.0")
    specs = SPECS
    builder_config: NyuConfig

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the records."""
        return self.builder_config.image_size

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        del dl_manager
        assert self.builder_config.layout is not None
        return {s: self._generate_examples(s, frames) for s, frames in self.builder_config.layout.splits.items()}

    def _generate_examples(self, split: str, frames: list[Frame]) -> Iterator[tuple[int, Example]]:
        layout = self.builder_config.layout
        assert layout is not None
        return self.keyed(split, (read_frame(f, layout, self.image_size) for f in frames), len(frames))


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
        return _prepared(records.data_dir(data_dir), f"{height}x{width}")
    layout = find_layout(pathlib.Path(source_dir).expanduser().resolve())
    layout = dataclasses.replace(layout, splits=with_validation(layout.splits, validation_share))
    name = f"{height}x{width}-{_fingerprint(layout)}"
    builder_config = NyuConfig(name=name, image_size=image_size, layout=layout)
    return records.prepare(Nyu, builder_config, data_dir)


def _prepared(data_dir: pathlib.Path, size: str) -> pathlib.Path:
    found = sorted((data_dir / "nyu").glob(f"{size}-*/{Nyu.VERSION}"))
    if not found:
        raise UserError(
            f"dataset nyu is not prepared at {size} in {data_dir}, and dataset.source_dir is not set: {_HOW_TO_GET}"
        )
    if len(found) > 1:
        raise UserError(
            f"{data_dir / 'nyu'} holds records of {len(found)} sources at {size}: "
            "set dataset.source_dir to say which, or delete the others"
        )
    return found[0]


def _fingerprint(layout: Layout) -> str:
    """Returns 8 hex digits that change with the split, name, size or time of change of any file."""
    digest = hashlib.sha256(layout.name.encode())
    for split, frames in sorted(layout.splits.items()):
        for frame in frames:
            for path in dataclasses.astuple(frame):
                try:
                    status = path.stat()
                except OSError as error:
                    raise UserError(f"cannot read {path} ({error.strerror}): unpack the archive again") from error
                digest.update(
                    f"{split} {path.parent.name}/{path.name} {status.st_size} {status.st_mtime_ns}\n".encode()
                )
    return digest.hexdigest()[:8]
