"""How far the colours of classes are apart for readers with normal and with colour-blind vision."""

import numpy as np
import pytest

from lim_jax import tasks
from lim_jax.data import nyu40
from lim_jax.tasks import palette


def lab(colors, vision):
    """Returns CIE L*a*b* (D65) of sRGB colours 0..255 as somebody with this vision sees them."""
    srgb = np.asarray(colors) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ vision.T, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (np.cbrt(np.maximum(v, 0.008856)) for v in (linear @ to_xyz.T / [0.9505, 1, 1.089]).T)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize(("vision", "smallest"), [(0, 15), (1, 7), (2, 7)], ids=["normal", "protan", "deutan"])
def test_any_two_of_nyus_classes_can_be_told_apart(vision, smallest):
    """In ScanNet's colours, which were used before, the smallest distances are 4.4, 0.9 and 0.8."""
    colors = tasks.create(nyu40.SPECS["segmentation"]).colors
    seen = lab(colors, palette._VISIONS[vision])
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)[~np.eye(len(colors), dtype=bool)]
    assert len(colors) == 40
    assert distances.min() > smallest
