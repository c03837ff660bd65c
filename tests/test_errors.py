import pytest

from lim_jax.errors import one_line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("one\n  two\n\nthree "), "one two three"),
        (OSError(), "OSError"),
        ("no error\nbut a text", "no error but a text"),
        (ValueError("a" * 5000), "a" * 300),
    ],
)
def test_what_another_library_says_becomes_a_part_of_a_line(error, expected):
    assert one_line(error) == expected
