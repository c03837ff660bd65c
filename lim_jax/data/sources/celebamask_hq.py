"""`celebamask_hq`: 30,000 faces with masks of their parts and 40 attributes, from the official layout.

`source_dir` holds `CelebA-HQ-img/ID.jpg`, `CelebAMask-HQ-mask-anno/{ID // 2000}/{ID:05d}_{part}.png` (a file only for
parts that are there) and `CelebAMask-HQ-attribute-anno.txt`. The attribute file says which images there are.

Three classes, as in the paper: skin, hair, and the rest. Masks are drawn over each other in the order of the data
set's own script (`face_parsing/Data_preprocessing/g_mask.py`), each with the class of its part. The parts of the face
(nose, eyes, brows, mouth, lips) are skin: officially they lie on top of the skin mask, and in copies that were
made from label maps the skin mask has holes in their place; either way the result is the same. Ears, neck,
glasses, hats, jewellery and clothes are the rest.

Images are split 60/20/20 at random by a fixed seed. The paper's own random split lies in its public code; ours is
another draw.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from lim_jax.data import preparation, transforms
from lim_jax.data.problems import Problems
from lim_jax.data.sources import files, fingerprints, paths, raw
from lim_jax.data.specs import Example, TargetSpec
from lim_jax.errors import UserError

IMAGES = "CelebA-HQ-img"
MASKS = "CelebAMask-HQ-mask-anno"
ATTRIBUTES = "CelebAMask-HQ-attribute-anno.txt"
SPLIT_SEED = 0
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}

CLASS_NAMES = ("skin", "hair", "background")
_SKIN, _HAIR, _REST = range(3)
_COLORS = ((228, 180, 148), (112, 66, 36), (214, 220, 228))
PARTS = {  # in the order of drawing, which is that of the labels 1, 2, ... of the data set's own label maps
    "skin": _SKIN,
    "nose": _SKIN,
    "eye_g": _REST,
    "l_eye": _SKIN,
    "r_eye": _SKIN,
    "l_brow": _SKIN,
    "r_brow": _SKIN,
    "l_ear": _REST,
    "r_ear": _REST,
    "mouth": _SKIN,
    "u_lip": _SKIN,
    "l_lip": _SKIN,
    "hair": _HAIR,
    "hat": _REST,
    "ear_r": _REST,
    "neck_l": _REST,
    "neck": _REST,
    "cloth": _REST,
}
LABEL_NAMES = ("background", *PARTS)
CLASS_OF_LABEL = np.array([_REST, *PARTS.values()], np.uint8)
_ATTRIBUTES = """
5_o_clock_shadow arched_eyebrows attractive bags_under_eyes bald bangs big_lips big_nose black_hair blond_hair
blurry brown_hair bushy_eyebrows chubby double_chin eyeglasses goatee gray_hair heavy_makeup high_cheekbones
male mouth_slightly_open mustache narrow_eyes no_beard oval_face pale_skin pointy_nose receding_hairline
rosy_cheeks sideburns smiling straight_hair wavy_hair wearing_earrings wearing_hat wearing_lipstick
wearing_necklace wearing_necktie young
"""
ATTRIBUTE_NAMES = tuple(_ATTRIBUTES.split())
SPECS: dict[str, TargetSpec] = {
    "segmentation": TargetSpec("segmentation", "segmentation", CLASS_NAMES, _COLORS),
    **{name: TargetSpec(name, "attribute") for name in ATTRIBUTE_NAMES},
}

_HOW_TO_GET = (
    "download CelebAMask-HQ.zip (github.com/switchablenorms/CelebAMask-HQ), unpack it, "
    "and pass --config.dataset.source_dir=FOLDER"
)


_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True)
class Face:
    """One image of the source: its file, the folder of its masks, and its attributes."""

    identity: int
    image: pathlib.Path
    masks: pathlib.Path
    attributes: Mapping[str, int]


def find_faces(source_dir: pathlib.Path) -> list[Face]:
    """Lists the faces of `source_dir`, sorted by number.

    Raises:
      UserError: a folder, the attribute file or an image is missing, or the attribute file is not as it should be.
    """
    if not source_dir.is_dir():
        raise UserError(f"dataset.source_dir={source_dir} is not a folder; {_HOW_TO_GET}")
    for name in (IMAGES, MASKS):
        if not (source_dir / name).is_dir():
            raise UserError(f"dataset.source_dir={source_dir} has no folder {name}: point it to the folder that does")
    present = {path.name for path in (source_dir / IMAGES).iterdir() if not paths.is_litter(path.name)}
    faces = []
    problems = Problems()
    for name, attributes in read_attributes(source_dir / ATTRIBUTES).items():
        if name not in present:
            problems.add(f"{ATTRIBUTES} lists {name}, which {source_dir / IMAGES} lacks: unpack the archive again")
            continue
        present.remove(name)
        identity = int(pathlib.Path(name).stem)
        masks = source_dir / MASKS / str(identity // 2000)
        faces.append(Face(identity, source_dir / IMAGES / name, masks, attributes))
    problems.raise_any()
    unlisted = sorted(name for name in present if name.endswith(".jpg"))
    if unlisted:
        raise UserError(
            f"{source_dir / ATTRIBUTES} has no row for {unlisted[0]} ({len(unlisted)} such image(s)): "
            "unpack the archive again, or remove the images"
        )
    return sorted(faces, key=lambda face: face.identity)


def read_attributes(path: pathlib.Path) -> dict[str, dict[str, int]]:
    """Reads the attribute file as {image: {attribute: 0 or 1}}.

    Raises:
      UserError: naming the line that is wrong.
    """
    lines = raw.read_text(path).splitlines()
    names = tuple(name.lower() for name in lines[1].split()) if len(lines) > 1 else ()
    if names != ATTRIBUTE_NAMES:
        raise UserError(f"{path} does not name CelebA's 40 attributes in its second line: unpack the archive again")
    rows: dict[str, dict[str, int]] = {}
    for number, line in enumerate(lines[2:], start=3):
        name, *values = line.split() or [""]
        if not name:
            continue
        if name in rows:
            raise UserError(f"{path}, line {number}: {name} is there twice: remove one of the rows")
        if not pathlib.Path(name).stem.isdigit():
            raise UserError(f"{path}, line {number}: {name} is not named by a number, such as 17.jpg")
        if len(values) != len(names):
            raise UserError(f"{path}, line {number}: {name} has {len(values)} attributes instead of {len(names)}")
        wrong = [pair for pair in zip(names, values, strict=True) if pair[1] not in ("1", "-1")]
        if wrong:
            raise UserError(f"{path}, line {number}: {wrong[0][0]} of {name} is {wrong[0][1]!r}: write 1 or -1")
        rows[name] = {attribute: int(value == "1") for attribute, value in zip(names, values, strict=True)}
    return rows


def split(faces: Sequence[_Item]) -> dict[str, list[_Item]]:
    """Returns the faces of "train", "validation" and "test", drawn by a fixed seed, each in the order that they had.

    Raises:
      UserError: there are too few for three splits.
    """
    last_train, last_validation = (
        round(len(faces) * share) for share in (SHARES["train"], SHARES["train"] + SHARES["validation"])
    )
    if not 0 < last_train < last_validation < len(faces):
        raise UserError(f"{len(faces)} face(s) are too few for training, validation and test: give 5 or more")
    order = np.random.default_rng(SPLIT_SEED).permutation(len(faces))
    parts = np.split(order, [last_train, last_validation])
    return {name: [faces[i] for i in sorted(part)] for name, part in zip(SHARES, parts, strict=True)}


def read_face(face: Face, image_size: tuple[int, int]) -> Example:
    """Reads one face and brings it to `image_size`, as an example with all `SPECS`.

    Raises:
      UserError: a file is unreadable, there are no masks, or they do not fit together or to the image.
    """
    photo = files.read_photo(face.image)
    return {
        "image": transforms.resize_image(photo.pixels, image_size),
        "targets": {
            "segmentation": transforms.resize_labels(CLASS_OF_LABEL[read_parts(face, photo)], image_size),
            **{name: np.array(value, np.int8) for name, value in face.attributes.items()},
        },
        "noted": {"image": files.noted_of(photo)},
    }


def read_parts(face: Face, photo: files.Photo) -> np.ndarray:
    """Reads the masks of a face, drawn over each other.

    Args:
      face: whose masks.
      photo: its image.

    Returns:
      uint8 H×W of the masks' own size, indices of `LABEL_NAMES`.

    Raises:
      UserError: a mask is unreadable, there are none, or they do not fit together or to the image.
    """
    image, labels = photo.pixels, None
    for label, part in enumerate(PARTS, start=1):
        path = face.masks / f"{face.identity:05d}_{part}.png"
        if not path.exists():
            continue
        mask = files.read_binary(path, photo)
        if labels is None:
            labels = np.zeros(mask.shape, np.uint8)
        if mask.shape != labels.shape or mask.shape[0] * image.shape[1] != mask.shape[1] * image.shape[0]:
            raise UserError(
                f"{path} is {files.size_text(mask)}, its image {face.image.name} {files.size_text(image)}, the masks "
                f"before it {files.size_text(labels)}: masks have one size, and the image's proportions"
            )
        labels[mask] = label
    if labels is None:
        raise UserError(f"{face.masks} has no mask {face.identity:05d}_*.png of {face.image.name}: unpack it again")
    return labels


class CelebamaskHq(preparation.SourceBuilder, skip_registration=True):
    """Faces with skin, hair and the rest, and 40 attributes."""


def prepare(data_dir: str | None, source_dir: str | None, image_size: tuple[int, int]) -> pathlib.Path:
    """Returns the directory of the prepared records, which it prepares from `source_dir` if need be.

    The records' name holds a fingerprint of the source: of the attribute file, the images and all masks.

    Args:
      data_dir: where records are kept; None is TFDS's own place.
      source_dir: the data set as downloaded; without it, records that exist for this image size are used.
      image_size: (height, width).

    Raises:
      UserError: there is no data, or something is wrong with it.
    """
    if not source_dir:
        return preparation.prepared(CelebamaskHq, data_dir, image_size, _HOW_TO_GET)
    root = pathlib.Path(source_dir).expanduser().resolve()
    faces = find_faces(root)
    config = preparation.SourceConfig(
        name="",  # `prepare_source` gives it one
        image_size=image_size,
        specs=SPECS,
        splits=split(faces),
        read=functools.partial(read_face, image_size=image_size),
        source=str(root),
    )
    folders = sorted(path for path in (root / MASKS).iterdir() if path.is_dir())
    masks = [folder / name for folder in folders for name in sorted(os.listdir(folder)) if not paths.is_litter(name)]
    images = [face.image for face in faces]
    fingerprint = fingerprints.fingerprint(_named([*images, *masks]), texts=_named([root / ATTRIBUTES]))
    former = functools.partial(fingerprints.former_digest, _named([root / ATTRIBUTES, *folders, *images]))
    return preparation.prepare_source(CelebamaskHq, config, data_dir, fingerprint, former)


def _named(files_of_it: Sequence[pathlib.Path]) -> list[fingerprints.Named]:
    """Names files so that the data set may lie anywhere."""
    return [(f"{path.parent.name}/{path.name}", path) for path in files_of_it]
