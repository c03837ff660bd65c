"""The forms in which people have NYU-v2, recognised by looking, and the files of each frame.

* "3-task", the download of three-task papers (AdaShare and others): `nyu_v2_3task.json` lists, per split, (image,
  labels, normals, depth); labels 0..39 and 255 = void; normals as PNG, n = v / 127.5 - 1, with (255, 255, 255) and
  (127, 127, 127) invalid.
* "NYUD-MT" of multi-task benchmarks: `gt_sets/{train,val}.txt`, `images`, `segmentation` (0 = void, 1..40), `normals`
  and `depth` as npy. Its archive NYUDv2.tar.gz (ATRC, InvPT, TaskPrompter) has 425×560 pixels, images and normals as
  PNG, of which any length far from 1 is void.
* "MTAN" (also LibMTL's): `{train,val}/{image,label,depth,normal}/N.npy` with 13 classes at 288×384; images are floats
  0..1, -1 is void.

The first two have 40 classes. "val" is the official test split in the last two.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from lim_jax.data import nyu40
from lim_jax.data.sources import files, paths, raw
from lim_jax.data.specs import IGNORE
from lim_jax.errors import UserError

HOW_TO_GET = (
    "download it (three-task archive: github.com/sunxm2357/AdaShare; NYUD-MT archive NYUDv2.tar.gz: "
    "github.com/prismformore/Multi-Task-Transformer; npy folders: github.com/lorenmt/mtan), unpack it, and pass "
    "--config.dataset.source_dir=FOLDER"
)
_THREE_TASK_FILE = "nyu_v2_3task.json"
_MTAN_FOLDERS = {"segmentation": "label", "normals": "normal", "depth": "depth"}
_OFFICIAL_SPLITS = {"train": "train", "test": "val"}  # and what NYUD-MT and MTAN call them


@dataclasses.dataclass(frozen=True)
class Frame:
    """The files of one frame; `labels` by target, and some may not be there."""

    image: pathlib.Path
    labels: Mapping[str, pathlib.Path]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The frames of each split ("train", "test", perhaps "validation"), and how labels are stored."""

    name: str
    splits: dict[str, list[Frame]]
    void: int  # the stored value of "no class"
    first_class: int  # the stored value of class 0
    num_classes: int = len(nyu40.CLASS_NAMES)


def find_layout(source_dir: pathlib.Path, follow_links: bool = False) -> Layout:
    """Recognises the layout of `source_dir` and lists its frames.

    Args:
      source_dir: the folder.
      follow_links: whether its lists and links may lead out of it.

    Raises:
      UserError: no such folder, no known layout in it, or a list of frames that cannot be read.
    """
    if not source_dir.is_dir():
        raise UserError(f"dataset.source_dir={source_dir} is not a folder; {HOW_TO_GET}")
    resolve = None if follow_links else paths.resolver()
    if (source_dir / _THREE_TASK_FILE).is_file():
        return Layout("3-task", _three_task_splits(source_dir, resolve), void=IGNORE, first_class=0)
    if (source_dir / "gt_sets").is_dir():
        return Layout("NYUD-MT", _nyud_mt_splits(source_dir, resolve), void=0, first_class=1)
    if is_mtan(source_dir):
        classes = len(nyu40.CLASS_NAMES_13)
        return Layout("MTAN", _mtan_splits(source_dir, resolve), files.NO_LABEL, first_class=0, num_classes=classes)
    raise UserError(
        f"dataset.source_dir={source_dir} holds neither {_THREE_TASK_FILE} (3-task layout) nor gt_sets/ (NYUD-MT "
        "layout) nor train/image/ and val/image/ (MTAN layout): point it to the folder that does"
    )


def is_mtan(source_dir: pathlib.Path) -> bool:
    """Returns whether a folder is MTAN's, which has 13 classes."""
    if (source_dir / _THREE_TASK_FILE).is_file() or (source_dir / "gt_sets").is_dir():
        return False
    return all((source_dir / split / "image").is_dir() for split in _OFFICIAL_SPLITS.values())


def _three_task_splits(source_dir: pathlib.Path, resolve: paths.Resolve | None) -> dict[str, list[Frame]]:
    listing = source_dir / _THREE_TASK_FILE

    def frame(row: Sequence[str]) -> Frame:
        image, segmentation, normals, depth = (paths.inside(source_dir, p, str(listing), resolve) for p in row)
        return Frame(image, {"segmentation": segmentation, "normals": normals, "depth": depth})

    try:
        entries = json.loads(raw.read_text(listing))
        splits = {split: [frame(row) for row in rows] for split, rows in entries.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{listing} is not {{split: [[image, labels, normals, depth], ...]}} ({error}): download it again"
        ) from error
    return _complete({"validation" if split == "val" else str(split): rows for split, rows in splits.items()}, listing)


def _nyud_mt_splits(source_dir: pathlib.Path, resolve: paths.Resolve | None) -> dict[str, list[Frame]]:
    splits = {}
    for split, name in _OFFICIAL_SPLITS.items():
        listing = source_dir / "gt_sets" / f"{name}.txt"
        if not listing.is_file():
            raise UserError(f"{listing} is missing: unpack the archive again")
        file = _finder(source_dir, str(listing), resolve)
        splits[split] = [_nyud_mt_frame(file, name) for name in raw.read_text(listing).split()]
    return _complete(splits, source_dir / "gt_sets")


def _nyud_mt_frame(file: Callable[..., pathlib.Path], name: str) -> Frame:
    labels = {
        "segmentation": file(f"segmentation/{name}", ".png"),
        "normals": file(f"normals/{name}", ".npy", ".png"),
        "depth": file(f"depth/{name}", ".npy"),
    }
    return Frame(file(f"images/{name}", ".jpg", ".png"), labels)


def _mtan_splits(source_dir: pathlib.Path, resolve: paths.Resolve | None) -> dict[str, list[Frame]]:
    splits = {}
    for split, name in _OFFICIAL_SPLITS.items():
        folder = source_dir / name
        file = _finder(source_dir, str(folder / "image"), resolve)
        numbers = [path.stem for path in (folder / "image").glob("*.npy") if not paths.is_litter(path.name)]
        splits[split] = [
            Frame(
                file(f"{name}/image/{number}", ".npy"),
                {target: file(f"{name}/{part}/{number}", ".npy") for target, part in _MTAN_FOLDERS.items()},
            )
            for number in sorted(numbers, key=lambda number: (len(number), number))  # 10 after 9
        ]
    return _complete(splits, source_dir)


def _finder(source_dir: pathlib.Path, where: str, resolve: paths.Resolve | None) -> Callable[..., pathlib.Path]:
    """Returns a function of a name without ending and of endings: the first file that there is, or the first."""

    def file(name: str, *endings: str) -> pathlib.Path:
        found = [paths.inside(source_dir, name + ending, where, resolve) for ending in endings]
        return next(filter(os.path.exists, found), found[0])

    return file


def _complete(splits: dict[str, list[Frame]], listing: pathlib.Path) -> dict[str, list[Frame]]:
    for split in ("train", "test"):
        if not splits.get(split):
            raise UserError(f"{listing} lists no frames of the {split} split: download it again")
    return {split: frames for split, frames in splits.items() if split in ("train", "validation", "test")}
