import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lim_jax.tasks import sums


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"), [(1, 4, 0.25), (0, 0, None), (np.float64(3), 2, 1.5)]
)
def test_ratio(numerator, denominator, expected):
    assert sums.ratio(numerator, denominator) == expected


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_histogram_median_lies_within_a_bin_of_the_median(values):
    counts = np.zeros(100)
    np.add.at(counts, np.minimum((np.array(values) * 100).astype(int), 99), 1)
    assert sums.histogram_median(counts, 1.0) == pytest.approx(np.median(values), abs=0.01)


def test_histogram_counts_valid_values_and_keeps_the_ends():
    values = jnp.array([0.0, 0.05, 0.1, 0.55, 1.0, 0.3])
    counts = sums.histogram(values, jnp.array([True] * 5 + [False]), 1.0, 10)
    assert counts.dtype == jnp.int32
    np.testing.assert_array_equal(counts, [2, 1, 0, 0, 0, 1, 0, 0, 0, 1])
    assert sums.histogram_median(np.zeros(10), 1.0) is None
