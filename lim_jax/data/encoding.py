"""Examples as they are stored: as they are used (`specs`), but normals as int16."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lim_jax.data.specs import Example, TargetSpec

_NORMAL_SCALE = 32767  # normals to a hundredth of a degree at worst, and half the reading


def encode(example: Example, specs: Mapping[str, TargetSpec]) -> Example:
    """Returns an example (see `specs`) as it is stored; one that was stored before loses nothing."""
    targets = {
        name: encode_normals(target) if specs[name].kind == "normals" else target
        for name, target in example["targets"].items()
    }
    return {"image": example["image"], "targets": targets}


def encode_normals(normals: np.ndarray) -> np.ndarray:
    """Returns normals as int16."""
    return np.round(normals * _NORMAL_SCALE).astype(np.int16)


def decode(spec: TargetSpec, stored: Any) -> Any:
    """Returns a stored target, an array of NumPy or JAX, as it is used."""
    if spec.kind == "normals":
        return stored.astype(np.float32) * np.float32(1 / _NORMAL_SCALE)
    return stored
