"""Writes faces whose answers are known, as label maps and as CelebAMask-HQ has them: sources of `faces_folder`."""

import pathlib

import cv2
import numpy as np

from lim_jax.data.sources import celebamask_hq
from scripts import faces_folder
from tests.data import celeba_trees

SIZE = (16, 16)
IDENTITIES = list(range(10))
_SKIN, _MOUTH, _HAIR = (celebamask_hq.LABEL_NAMES.index(name) for name in ("skin", "mouth", "hair"))


def is_open(index: int) -> bool:
    """Whether the map of face `index` has a mouth's inside."""
    return index % 2 == 0


def write_maps(root: pathlib.Path, number: int = 10) -> pathlib.Path:
    """Writes `number` faces: hair above skin, with every second mouth open; image i is filled with 100 + i."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    (root / "labels.txt").write_text("\n".join(celebamask_hq.LABEL_NAMES) + "\n")
    for index in range(number):
        labels = np.zeros(SIZE, np.uint8)
        labels[:4], labels[4:12] = _HAIR, _SKIN
        if is_open(index):
            labels[8:10, 4:12] = _MOUTH
        cv2.imwrite(str(root / f"images/{index:04d}.jpg"), np.full((*SIZE, 3), 100 + index, np.uint8))
        cv2.imwrite(str(root / f"masks/{index:04d}.png"), labels)
    return root


def made(root: pathlib.Path) -> pathlib.Path:
    """Returns the folder that the script makes of ten faces of either source; `root` holds them, too."""
    maps, celeba = write_maps(root / "maps"), celeba_trees.write(root / "celeba", IDENTITIES)
    faces_folder.make(maps, celeba, root / "faces")
    return root / "faces"
