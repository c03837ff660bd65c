"""Converts NYU-v2's official MATLAB file into the NYUD-MT layout that `--config=nyu` reads.

    pip install 'lim_jax[convert]'
    python scripts/convert_nyu_mat.py --mat=nyu_depth_v2_labeled.mat --splits=splits.mat \
        --classes=classMapping40.mat --output=DIR
    python -m lim_jax.main --config=nyu --config.dataset.source_dir=DIR

`nyu_depth_v2_labeled.mat` (2.8 GB) and `splits.mat` are on the data set's page
(cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html), `classMapping40.mat` is in Gupta et al.'s repository
(github.com/s-gupta/rcnn-depth, eccv14-data/benchmarkData/metadata). The file is HDF5 with its arrays transposed; it is
read frame by frame. Depth is the in-painted one; normals are computed from it (`lim_jax.data.surface_normals`) and
are valid where the sensor measured. DIR appears when it is complete.
"""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from lim_jax.data import surface_normals
from lim_jax.errors import UserError

_ARRAYS = {"images": 4, "depths": 3, "rawDepths": 3, "labels": 3}
_THREADS = 4  # each takes up to 150 MB
_FOLDERS = ("images", "segmentation", "normals", "depth", "gt_sets")


def convert(mat: pathlib.Path, splits: pathlib.Path, classes: pathlib.Path, output: pathlib.Path) -> int:
    """Writes the frames of `mat` to `output`, and returns how many.

    Raises:
      UserError: a file is missing or not what it should be, or `output` exists.
    """
    h5py = _h5py()
    if output.exists():
        raise UserError(f"{output} exists already: give another --output, or delete it")
    numbers = {
        "train": _values(splits, "trainNdxs").astype(int).tolist(),
        "val": _values(splits, "testNdxs").astype(int).tolist(),
    }
    to_class = np.concatenate([[0], _values(classes, "mapClass")]).astype(np.uint8)
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with h5py.File(mat, "r") as file:
            arrays = _checked_arrays(file, mat)
            _check_splits(numbers, len(arrays["images"]), splits)
            for folder in _FOLDERS:
                (partial / folder).mkdir(parents=True)
            _write_frames(arrays, sorted(numbers["train"] + numbers["val"]), to_class, partial)
        for split, members in numbers.items():
            (partial / "gt_sets" / f"{split}.txt").write_text("".join(f"{number:04d}\n" for number in sorted(members)))
        partial.rename(output)
    except OSError as error:
        raise UserError(
            f"cannot convert {mat} to {output} ({error}): check both paths, the file and the disk"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # there is none after success
    return len(numbers["train"]) + len(numbers["val"])


def read_frame(arrays: dict[str, Any], index: int) -> dict[str, np.ndarray]:
    """Reads one frame and undoes the transposition.

    Args:
      arrays: the file's data sets: images (N, 3, W, H), the others (N, W, H).
      index: from 0.

    Returns:
      images uint8 H×W×3, depths and rawDepths float32 H×W in metres, labels uint16 H×W (0 = not labelled).
    """
    return {name: np.ascontiguousarray(array[index].T) for name, array in arrays.items()}


def _write_frames(arrays: dict[str, Any], numbers: Sequence[int], to_class: np.ndarray, output: pathlib.Path) -> None:
    def write(number: int) -> int:
        frame = read_frame(arrays, number - 1)
        if frame["labels"].max(initial=0) >= len(to_class):
            raise UserError(f"frame {number} has the label {frame['labels'].max()}, which the class mapping lacks")
        depth = frame["depths"].astype(np.float32)
        normals = surface_normals.from_depth(depth, surface_normals.NYU)
        normals[frame["rawDepths"] == 0] = 0
        name = f"{number:04d}"
        cv2.imwrite(str(output / f"images/{name}.png"), frame["images"][..., ::-1])
        cv2.imwrite(str(output / f"segmentation/{name}.png"), to_class[frame["labels"]])
        np.save(output / f"normals/{name}.npy", normals)
        np.save(output / f"depth/{name}.npy", depth)
        return number

    with concurrent.futures.ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        try:
            for done, _ in enumerate(pool.map(write, numbers), start=1):
                if done % 50 == 0 or done == len(numbers):
                    print(f"{done} of {len(numbers)} frames", file=sys.stderr)
        finally:
            pool.shutdown(cancel_futures=True)


def _checked_arrays(file: Any, path: pathlib.Path) -> dict[str, Any]:
    for name, rank in _ARRAYS.items():
        if name not in file or file[name].ndim != rank:
            raise UserError(f"{path} has no array {name!r} of {rank} dimensions: is it nyu_depth_v2_labeled.mat?")
    arrays = {name: file[name] for name in _ARRAYS}
    frames, channels, width, height = arrays["images"].shape
    for name, array in arrays.items():
        if name != "images" and array.shape != (frames, width, height):
            raise UserError(
                f"{path}: {name} has shape {array.shape}, images {arrays['images'].shape}: download it again"
            )
    if channels != 3:
        raise UserError(f"{path}: images have {channels} channels instead of 3: is it nyu_depth_v2_labeled.mat?")
    return arrays


def _check_splits(numbers: dict[str, list[int]], frames: int, path: pathlib.Path) -> None:
    both = numbers["train"] + numbers["val"]
    if len(set(both)) != len(both):
        raise UserError(f"{path} lists a frame twice: download it again")
    if not both or min(both) < 1 or max(both) > frames:
        raise UserError(f"{path} lists frame {max(both, default=0)}, but there are frames 1 to {frames}")


def _values(path: pathlib.Path, name: str) -> np.ndarray:
    import scipy.io  # of the extra "convert"

    try:
        return np.ravel(scipy.io.loadmat(path)[name])
    except (OSError, ValueError, NotImplementedError, scipy.io.matlab.MatReadError) as error:
        raise UserError(f"cannot read {path} as a MATLAB file ({error}): download it again") from error
    except KeyError as error:
        raise UserError(f"{path} has no variable {name!r}: is it the right file?") from error


def _h5py() -> Any:
    try:
        import h5py
        import scipy.io  # noqa: F401
    except ImportError as error:
        raise UserError("this script needs h5py and scipy: pip install 'lim_jax[convert]'") from error
    return h5py


def main() -> None:
    """Parses the command line and converts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("mat", "splits", "classes", "output"):
        parser.add_argument(f"--{flag}", type=pathlib.Path, required=True)
    options = parser.parse_args()
    try:
        frames = convert(options.mat, options.splits, options.classes, options.output)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{frames} frames in {options.output}")


if __name__ == "__main__":
    main()
