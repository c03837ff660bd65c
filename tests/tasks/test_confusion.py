import numpy as np
import pytest

from lim_jax.data.specs import IGNORE
from lim_jax.tasks import confusion

MATRIX = np.array([[6.0, 2, 0, 0], [1, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(("dtype", "none"), [(np.uint8, IGNORE), (np.int16, -1), (np.int8, -1), (np.int32, 4)])
def test_what_is_no_class_counts_nowhere(dtype, none):
    target, answer = np.array([0, 0, 3, none, none], dtype), np.array([0, 2, 3, 0, 3], np.uint8)
    expected = np.zeros((4, 4))
    expected[[0, 0, 3], [0, 2, 3]] = 1
    np.testing.assert_array_equal(confusion.counts(target, answer, 4), expected)


def test_per_class():
    found = confusion.per_class(MATRIX)
    assert found.hits.tolist() == [6, 4, 0, 0]
    assert found.labelled.tolist() == [8, 5, 0, 0]
    assert found.answered.tolist() == [7, 6, 0, 0]
    assert found.union.tolist() == [9, 7, 0, 0]
    assert found.mean(found.hits, found.union) == pytest.approx((6 / 9 + 4 / 7) / 2)
    nothing = confusion.per_class(np.zeros((2, 2)))
    assert nothing.mean(nothing.hits, nothing.union) is None


def test_details_are_what_json_can_hold():
    found = confusion.per_class(MATRIX)
    details = confusion.details("abcd", MATRIX, class_iou=(found.hits, found.union))
    assert details["class_iou"] == {"a": 6 / 9, "b": 4 / 7, "c": None, "d": None}
    assert details["confusion"][0] == [6, 2, 0, 0] and type(details["confusion"][0][0]) is int
