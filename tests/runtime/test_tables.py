"""Aligned tables."""

import pytest

from lim_jax.runtime.tables import aligned

ROWS = [("layer", "groups", "read by"), ("stem", "12,345", ""), ("layer1/conv1", "7", "a, b")]


def test_numbers_at_the_right_words_at_the_left():
    assert aligned(ROWS, left=(0, 2)).split("\n") == [
        "layer         groups  read by",
        "stem          12,345",
        "layer1/conv1       7  a, b",
    ]


def test_the_first_column_is_one_of_words():
    assert aligned([("", "test"), ("depth mae", "0.1")]) == "           test\ndepth mae   0.1"


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        aligned([("a", "b"), ("c",)])
