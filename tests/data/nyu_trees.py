"""Writes small data sets in the layouts of NYU-v2, with frames whose contents are known."""

import json
import pathlib

import cv2
import numpy as np

from lim_jax.data import nyu40
from lim_jax.data.specs import IGNORE

SIZE = (24, 32)
PNG_VOIDS = (0, 127, 255, (127, 128, 127))


def frame(index: int) -> dict[str, np.ndarray]:
    """Returns image, classes (255 = void), normals (0 = invalid) and depth (0 = invalid) of frame `index`."""
    height, width = SIZE
    rng = np.random.default_rng(index)
    classes = np.repeat(np.repeat(rng.integers(0, 40, (height // 8, width // 8)), 8, 0), 8, 1).astype(np.uint8)
    classes[:8, :8] = 255
    classes[0, -1] = 39
    normals = np.zeros((height, width, 3), np.float32)
    normals[..., 2] = 1  # a floor
    normals[: height // 2] = [0.6, -0.8, 0.0]
    normals[:, -4:] = 0
    depth = np.tile(np.linspace(1, 4, width, dtype=np.float32), (height, 1))
    depth[-4:] = 0
    image = np.full((height, width, 3), index % 256, np.uint8)
    image[..., 0] = 200  # red, to notice swapped channels
    return {"image": image, "classes": classes, "normals": normals, "depth": depth}


def write_three_task(root: pathlib.Path, splits: dict[str, list[int]]) -> pathlib.Path:
    """Writes frames in the three-task layout; `splits` lists frame numbers."""
    for folder in ("img", "seg", "normal_mask", "depth"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    listing = {}
    for split, numbers in splits.items():
        rows = []
        for number in numbers:
            f = frame(number)
            stored = np.round((f["normals"] + 1) * 127.5).astype(np.uint8)
            stored[np.all(f["normals"] == 0, axis=-1)] = 255 if number % 2 else 127
            names = [f"{d}/{number:04d}.png" for d in ("img", "seg", "normal_mask")] + [f"depth/{number:04d}.npy"]
            cv2.imwrite(str(root / names[0]), f["image"][..., ::-1])
            cv2.imwrite(str(root / names[1]), f["classes"])
            cv2.imwrite(str(root / names[2]), stored[..., ::-1])
            np.save(root / names[3], f["depth"])
            rows.append(names)
        listing[split] = rows
    (root / "nyu_v2_3task.json").write_text(json.dumps(listing))
    return root


def write_nyud_mt(root: pathlib.Path, splits: dict[str, list[int]], image_type: str = "png") -> pathlib.Path:
    """Writes frames in the NYUD-MT layout; `splits` has "train" and "val"."""
    for folder in ("images", "segmentation", "normals", "depth", "gt_sets"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for split, numbers in splits.items():
        for number in numbers:
            f = frame(number)
            cv2.imwrite(str(root / f"images/{number:04d}.{image_type}"), f["image"][..., ::-1])
            cv2.imwrite(str(root / f"segmentation/{number:04d}.png"), f["classes"] + np.uint8(1))  # 255 wraps to 0
            np.save(root / f"normals/{number:04d}.npy", f["normals"])
            np.save(root / f"depth/{number:04d}.npy", f["depth"])
        (root / "gt_sets" / f"{split}.txt").write_text("".join(f"{number:04d}\n" for number in numbers))
    return root


def write_nyudv2_png(root: pathlib.Path, splits: dict[str, list[int]]) -> pathlib.Path:
    """Writes frames as NYUDv2.tar.gz has them: as in `write_nyud_mt`, but normals as PNG with any kind of void."""
    write_nyud_mt(root, splits)
    for numbers in splits.values():
        for number in numbers:
            normals = frame(number)["normals"]
            stored = np.round((normals + 1) * 127.5).astype(np.uint8)
            stored[~normals.any(-1)] = PNG_VOIDS[number % len(PNG_VOIDS)]
            cv2.imwrite(str(root / f"normals/{number:04d}.png"), stored[..., ::-1])
            (root / f"normals/{number:04d}.npy").unlink()
    return root


def write_mtan(root: pathlib.Path, splits: dict[str, list[int]]) -> pathlib.Path:
    """Writes frames in the layout of MTAN and LibMTL; `splits` has "train" and "val"."""
    for split, numbers in splits.items():
        for position, number in enumerate(numbers):
            f = frame(number)
            labels = np.where(f["classes"] == IGNORE, -1, nyu40.to_13(f["classes"]).astype(np.float32))
            arrays = {
                "image": f["image"] / 255.0,
                "label": labels,
                "depth": f["depth"][..., None],
                "normal": f["normals"],
            }
            for part, array in arrays.items():
                (root / split / part).mkdir(parents=True, exist_ok=True)
                np.save(root / split / part / f"{position}.npy", array)
    return root
