import numpy as np

from lim_jax.data.specs import IGNORE
from lim_jax.figures import regions


def test_large_regions_are_named_where_they_are_deepest():
    classes = np.full((40, 60), IGNORE, np.uint8)
    classes[:, :30] = 0
    classes[10:20, 35:60] = 1
    classes[38:, 58:] = 2  # too small
    left, right = regions.find(classes, ("wall", "door", "lamp"))
    assert (left.name, left.width, right.name, right.width) == ("wall", 30, "door", 25)
    assert (left.x, right.x) == (14.5, 47.0)
    assert 13 < left.y < 26 and 13 < right.y < 16
    assert 28 < left.height < 32 and 9 < right.height < 11
