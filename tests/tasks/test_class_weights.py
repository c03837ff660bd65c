import numpy as np
import pytest

from lim_jax.tasks import class_weights


@pytest.mark.parametrize(
    ("text", "expected"), [("none", ()), ("1, 2.5,3", (1.0, 2.5, 3.0)), ("4", (4.0,)), ("balanced", "balanced")]
)
def test_texts_are_weights(text, expected):
    assert class_weights.parse(text) == expected


@pytest.mark.parametrize("text", ["", "1,", "1,0", "-1", "inf", "nan", "Balanced"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError):
        class_weights.parse(text)


def test_balanced_weights_give_each_class_that_occurs_the_same_share():
    weights = np.array(class_weights.balanced(np.array([600, 300, 90, 10, 0])))
    np.testing.assert_allclose(weights[:4] * [600, 300, 90, 10], 250, rtol=1e-3)
    assert weights[4] == 1
    assert class_weights.balanced(np.zeros(2)) == (1, 1)


def test_the_mean_weight_is_one():
    np.testing.assert_allclose(class_weights.normalized((1.0, 2.0, 6.0)), [1 / 3, 2 / 3, 2])
