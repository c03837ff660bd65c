from typing import ClassVar

import numpy as np

from lim_jax.data import composed


class _Numbers(list):
    """Examples whose images are these numbers, as a source."""

    noted: ClassVar[dict] = {}

    def __getitem__(self, index):
        return {"image": np.full((2, 2), super().__getitem__(index)), "targets": {}}

    def __repr__(self):
        return "Numbers()"


def test_sources_are_joined_unless_they_are_the_same_examples():
    joined = composed.Joined(_Numbers([1, 2]), _Numbers([3]))
    assert [int(joined[index]["image"][0, 0]) for index in range(len(joined))] == [1, 2, 3]
    assert repr(joined).startswith("Joined(Numbers()")
    assert len(composed.Joined(_Numbers([1, 2]), _Numbers([1, 2]))) == 2
