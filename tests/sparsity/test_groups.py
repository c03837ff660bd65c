"""Groups go by path, on any tree; mistakes are named."""

import equinox
import flax.core
import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx

from lim_jax.errors import UserError
from lim_jax.sparsity import COLUMNS, INPUT_CHANNELS, ROWS, WHOLE_LEAF, GroupAxis, match_groups
from lim_jax.sparsity import groups as groups_lib

PARAMS = {
    "conv1": {"kernel": jnp.zeros((3, 3, 4, 8)), "bias": jnp.zeros(8)},
    "conv2": {"kernel": jnp.zeros((1, 1, 8, 6))},
    "dense": {"kernel": jnp.zeros((6, 2))},
}


def shapes(groups, params=PARAMS) -> dict[str, tuple[int, int]]:
    return {layer.name: (layer.num_groups, layer.num_parameters) for layer in groups_lib.layers(groups, params)}


def test_first_rule_that_matches_wins():
    rules = [("conv1/kernel", None), (r"conv\d/kernel", INPUT_CHANNELS), ("dense/kernel", COLUMNS)]
    expected = {"conv1": {"kernel": None, "bias": None}, "conv2": {"kernel": -2}, "dense": {"kernel": -1}}
    assert match_groups(PARAMS, rules) == expected
    assert shapes(rules) == {"conv2": (8, 48), "dense": (2, 12)}


@pytest.mark.parametrize(
    "axis, groups",
    [(ROWS, 6), (COLUMNS, 2), (0, 6), (WHOLE_LEAF, 1), (GroupAxis((0, 1)), 12), (GroupAxis(-1), 2)],
)
def test_axes(axis, groups):
    assert shapes([("dense/kernel", axis)]) == {"dense": (groups, 12)}


def test_a_tree_a_callable_and_rules_say_the_same():
    rules = [("kernel", INPUT_CHANNELS)]
    tree = match_groups(PARAMS, rules)
    assert shapes(rules) == shapes(tree) == shapes(lambda params: match_groups(params, rules))


def test_parameters_that_share_a_name_share_groups():
    found = shapes([("conv2/kernel", GroupAxis(-1, "joint")), ("dense/kernel", GroupAxis(-2, "joint"))])
    assert found == {"joint": (6, 48 + 12)}


@pytest.mark.parametrize(
    "groups, message",
    [
        ([("conv9", -2)], "'conv9' matches no parameter; the paths look like conv1/bias"),
        ([("bias", -2)], "conv1/bias has shape .8,.: group axis -2 is out of range"),
        ({"conv3": {"kernel": -2}}, "'conv3/kernel' is not among the parameters"),
        ({"conv1": {"kernel": 1.5}}, "'conv1/kernel' is 1.5; it must be an axis"),
        ([("conv1/kernel", GroupAxis(-2, "a")), ("conv2/kernel", GroupAxis(-2, "a"))], "conv2/kernel and conv1/kernel"),
    ],
)
def test_mistakes_are_named(groups, message):
    with pytest.raises(UserError, match=message):
        groups_lib.layers(groups, PARAMS)


def nnx_params():
    class Model(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.conv1 = nnx.Conv(4, 8, (3, 3), rngs=rngs)

    return nnx.state(Model(nnx.Rngs(0)), nnx.Param)


def equinox_params():
    class Model(equinox.Module):
        conv1: equinox.nn.Linear
        name: str

    return equinox.filter(Model(equinox.nn.Linear(3, 5, key=jax.random.key(0)), "a"), equinox.is_inexact_array)


class LinenModel(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Conv(8, (3, 3), name="conv1")(x)


@pytest.mark.parametrize(
    "make, rules, expected",
    [
        (lambda: LinenModel().init(jax.random.key(0), jnp.zeros((1, 8, 8, 4)))["params"], [("kernel$", -2)], (4, 288)),
        (lambda: flax.core.freeze(PARAMS), [("conv1/kernel", -2)], (4, 288)),
        (nnx_params, [("conv1/kernel$", -2)], (4, 288)),
        (equinox_params, [("conv1/weight", -1)], (3, 15)),
    ],
    ids=["linen", "frozen", "nnx", "equinox"],
)
def test_trees_of_any_type(make, rules, expected):
    params = make()
    assert list(shapes(rules, params).values()) == [expected]
    tree = match_groups(params, rules)
    assert shapes(tree, params) == shapes(rules, params)


def test_description_lists_what_matched():
    text = groups_lib.describe(groups_lib.layers([("kernel", -2)], PARAMS))
    assert text.splitlines()[:2] == [
        "layer  groups  size  parameters",
        "conv1       4    72  conv1/kernel",
    ]
