"""What belongs together, found from programs alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lim_jax.errors import UserError
from lim_jax.sparsity import GroupAxis
from lim_jax.sparsity.groups import layers, leaves_by_path
from lim_jax.structure import compact, trace
from tests.structure.networks import ResNet, Transformer, apply_mlp, mlp_params, randomized


def network(model, shape):
    x = jax.random.normal(jax.random.key(0), shape)
    variables = randomized(model.init(jax.random.key(1), x), jax.random.key(2))
    return lambda variables, x: model.apply(variables, x), variables, x


NETWORKS = {
    "mlp": lambda: (apply_mlp, mlp_params(jax.random.key(0)), jnp.ones((2, 3))),
    "resnet": lambda: network(ResNet(), (2, 8, 8, 3)),
    "transformer": lambda: network(Transformer(), (2, 5, 3)),
}


def test_input_channels_are_those_of_all_layers_but_the_first():
    fn, params, x = NETWORKS["mlp"]()
    assert trace(fn, params, x).groups() == {"w1": None, "b1": None, "w2": 0, "b2": None, "w3": 0, "w4": 0}


def test_coupled_groups_are_what_leaves_together():
    fn, params, x = NETWORKS["mlp"]()
    stream, hidden = "channels of b1", "channels of b2"
    assert trace(fn, params, x).groups("coupled") == {
        "w1": GroupAxis(1, stream),
        "b1": GroupAxis(0, stream),
        "w2": GroupAxis(0, stream),
        "b2": GroupAxis(0, hidden),
        "w3": GroupAxis(0, hidden),
        "w4": GroupAxis(0, stream),
    }


def test_input_channels_of_flax_networks():
    fn, variables, x = NETWORKS["resnet"]()
    groups = leaves_by_path(trace(fn, variables, x).groups())
    expected = {f"params/Conv_{i}/kernel": 2 for i in (1, 2, 3, 4, 6)} | {"params/Dense_0/kernel": 0}
    assert groups == expected
    fn, variables, x = NETWORKS["transformer"]()
    groups = leaves_by_path(trace(fn, variables, x).groups())
    attention = "params/MultiHeadDotProductAttention_0"
    assert groups == {f"{attention}/{name}/kernel": 0 for name in ("query", "key", "value")} | {
        f"{attention}/out/kernel": GroupAxis((0, 1)),
        "params/Dense_1/kernel": 0,
        "params/Dense_2/kernel": 0,
        "params/Dense_3/kernel": 0,
    }


@pytest.mark.parametrize("kind", ["input_channels", "coupled"])
@pytest.mark.parametrize("name", NETWORKS)
def test_groups_fit_the_parameters(name, kind):
    fn, params, x = NETWORKS[name]()
    assert layers(trace(fn, params, x).groups(kind), params)


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_whose_slices_are_zero_leave_everywhere(name):
    """For each group of channels: with all slices of one channel at zero, exactly these go, and whatever made them."""
    fn, params, x = NETWORKS[name]()
    structure = trace(fn, params, x)
    assert structure.channels
    for group in structure.channels:
        zeroed = {path: np.array(leaf) for path, leaf in leaves_by_path(params).items()}
        for member in group.members:
            zeroed[member.path][(slice(None),) * member.axis + (list(member.indices[-1]),)] = 0
        tree = jax.tree.unflatten(jax.tree.structure(params), list(zeroed.values()))
        compacted = compact(fn, tree, x)
        assert compacted.difference < 1e-5
        for member in group.members:
            cut = compacted.cuts[member.path]
            left = cut.compact_shape[member.axis]
            assert left <= cut.shape[member.axis] - len(member.indices[-1]), (group, member)


def test_excluded_parameters_have_no_groups():
    fn, params, x = NETWORKS["mlp"]()
    groups = trace(fn, params, x).groups(exclude=["w[23]"])
    assert groups == dict.fromkeys(params) | {"w4": 0}


def test_mistakes_are_told():
    fn, params, x = NETWORKS["mlp"]()
    structure = trace(fn, params, x)
    with pytest.raises(UserError, match="input_channels, coupled"):
        structure.groups("output_channels")
    with pytest.raises(UserError, match="'head' matches no parameter"):
        structure.groups(exclude=["head"])


def test_inputs_outputs_and_what_is_not_understood_stay():
    def fn(p, x):
        y = jnp.tanh(x @ p["w"])
        return jnp.fft.fft(y).real @ p["o"]  # the line that the report names

    params = {"w": jnp.ones((3, 4)), "o": jnp.ones((4, 2))}
    structure = trace(fn, params, jnp.ones((2, 3)))
    assert structure.channels == ()
    (opaque,) = structure.opaque
    assert opaque.name == "fft" and "test_tracing.py" in opaque.source
    report = structure.report()
    assert "w[0]: an input" in report and "o[1]: an output" in report and "w[1]: mixed by fft" in report


def test_report_says_what_is_coupled():
    fn, params, x = NETWORKS["mlp"]()
    assert "    7 × b2[0], w2[1], w3[0]\n" in trace(fn, params, x).report()


def test_flattened_images_keep_their_channels():
    """A row of the dense layer for each place belongs to one channel."""
    params = {"w": jnp.ones((2, 3)), "o": jnp.ones((12, 5)), "r": jnp.ones((5, 1))}
    structure = trace(lambda p, x: (x @ p["w"]).reshape(2, -1) @ p["o"] @ p["r"], params, jnp.ones((2, 2, 2, 2)))
    (rows,) = [
        member for group in structure.channels for member in group.members if (member.path, member.axis) == ("o", 0)
    ]
    assert rows.indices == ((0, 3, 6, 9), (1, 4, 7, 10), (2, 5, 8, 11))
    assert structure.groups() == {"w": None, "o": 0, "r": 0}
