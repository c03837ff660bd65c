"""Writes small data sets in CelebAMask-HQ's official layout, with faces whose contents are known."""

import pathlib

import cv2
import numpy as np

from lim_jax.data.sources import celebamask_hq

SIZE = (16, 16)  # of the images; masks are half of it, as in the original


def parts(overlapping: bool) -> dict[str, np.ndarray]:
    """Returns the masks of a face, bool 8×8: drawn over each other as in the original, or cut out of a label map."""
    masks = {name: np.zeros((8, 8), bool) for name in ("skin", "nose", "eye_g", "l_eye", "hair", "neck")}
    masks["nose"][4, 4] = True
    masks["eye_g"][2, 2:6] = True
    masks["l_eye"][2, 4:6] = True
    masks["hair"][:2] = True
    masks["neck"][7] = True
    masks["skin"][1:8, 1:7] = True
    if overlapping:
        return masks
    seen = np.zeros((8, 8), bool)
    for name in ("neck", "hair", "l_eye", "eye_g", "nose", "skin"):
        masks[name] &= ~seen
        seen |= masks[name]
    return masks


def classes() -> np.ndarray:
    """Returns what `parts` should become, uint8 8×8: skin 0, hair 1, rest 2."""
    expected = np.full((8, 8), 2, np.uint8)
    expected[2:7, 1:7] = 0
    expected[2, 2:4] = 2  # glasses; the eye that is seen through them belongs to the face
    expected[:2] = 1
    return expected


def attribute(identity: int, index: int) -> int:
    """Returns attribute `index` of a face, 1 or -1."""
    return 1 if (identity + index) % 3 == 0 else -1


def write(root: pathlib.Path, identities: list[int], overlapping: bool = True) -> pathlib.Path:
    """Writes the faces `identities` to `root`; image i is filled with i."""
    (root / celebamask_hq.IMAGES).mkdir(parents=True)
    names = [name.title() for name in celebamask_hq.ATTRIBUTE_NAMES]
    lines = [str(len(identities)), " ".join(names)]
    for identity in identities:
        image = np.full((*SIZE, 3), identity % 256, np.uint8)
        cv2.imwrite(str(root / celebamask_hq.IMAGES / f"{identity}.jpg"), image)
        folder = root / celebamask_hq.MASKS / str(identity // 2000)
        folder.mkdir(parents=True, exist_ok=True)
        for part, mask in parts(overlapping).items():
            cv2.imwrite(str(folder / f"{identity:05d}_{part}.png"), np.repeat(mask[..., None], 3, -1) * np.uint8(255))
        values = " ".join(str(attribute(identity, index)) for index in range(len(names)))
        lines.append(f"{identity}.jpg  {values}")
    (root / celebamask_hq.ATTRIBUTES).write_text("\n".join(lines) + "\n")
    return root
