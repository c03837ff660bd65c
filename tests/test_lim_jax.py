"""The names of the library: lazily imported, and the things that they say they are."""

import ast
import pathlib

import pytest

import lim_jax


def test_names():
    assert len(lim_jax.__all__) == 13
    assert set(lim_jax.__all__) <= set(dir(lim_jax))


@pytest.mark.parametrize("name", lim_jax.__all__)
def test_names_are_found_under_their_own_name(name):
    value = getattr(lim_jax, name)
    assert value.__name__.rpartition(".")[2] == name
    assert value.__doc__


def test_type_checkers_see_the_same_names():
    tree = ast.parse(pathlib.Path(lim_jax.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert {alias.name for node in block.body for alias in node.names} == set(lim_jax.__all__)
    assert pathlib.Path(lim_jax.__file__).with_name("py.typed").exists()


def test_other_names_are_errors():
    with pytest.raises(AttributeError, match="no attribute 'trains'"):
        lim_jax.trains  # noqa: B018
