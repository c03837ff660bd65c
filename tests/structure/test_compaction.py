"""Smaller functions of whole networks: what they can be used for, and training on while they shrink."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from lim_jax.errors import UserError
from lim_jax.structure import compact, macs, shrink, take, trace
from tests.structure.networks import ResNet, apply_mlp, mlp_params
from tests.structure.test_tracing import NETWORKS


@pytest.fixture(scope="module")
def mlp():
    """An MLP of which two hidden channels are read by nobody, and one channel of the stream by the last layer alone."""
    params = mlp_params(jax.random.key(0))
    params["w3"] = params["w3"].at[jnp.array([1, 2])].set(0)
    params["w2"] = params["w2"].at[4].set(0)
    params["w4"] = params["w4"].at[0].set(0)
    return params, compact(apply_mlp, params, jnp.ones((4, 3)))


def test_each_reader_takes_what_it_needs(mlp):
    _, compacted = mlp
    shapes = {name: leaf.shape for name, leaf in compacted.params.items()}
    # Channel 0 ends before the last layer: the second layer still reads it, but nothing is added to it any more.
    assert shapes == {"w1": (3, 6), "b1": (6,), "w2": (5, 5), "b2": (5,), "w3": (5, 5), "w4": (5, 2)}
    assert compacted.num_parameters == (127, 89)


def test_costs_are_counted(mlp):
    _, compacted = mlp
    assert compacted.macs == (4 * (18 + 42 + 42 + 12), 4 * (18 + 25 + 25 + 10))
    assert "w2 (6, 7) -> (5, 5)" in str(compacted) and "MACs 456 -> 312" in str(compacted)


def test_convolutions_and_loops_are_counted():
    def fn(x, kernel):
        y = jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.lax.scan(lambda h, _: (h @ jnp.ones((5, 5)), None), y, None, length=3)

    assert macs(fn, jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5))) == 4 * 5 * 18 + 3 * 4 * 25


def test_goes_through_transformations(mlp):
    params, compacted = mlp
    x = jax.random.normal(jax.random.key(1), (5, 3))  # not the batch size that it was made with
    expected = apply_mlp(params, x)
    close = {"atol": 1e-5}
    np.testing.assert_allclose(jax.jit(compacted.fn)(compacted.params, x), expected, **close)
    each = jax.vmap(lambda row: compacted.fn(compacted.params, row))(x)
    np.testing.assert_allclose(each, expected, **close)
    gradient = jax.grad(lambda p: compacted.fn(p, x).sum())(compacted.params)
    whole = take(jax.grad(lambda p: apply_mlp(p, x).sum())(params), compacted.cuts)
    for name in gradient:
        np.testing.assert_allclose(gradient[name], whole[name], atol=1e-4)


def test_goes_through_export_with_any_batch_size(mlp):
    params, compacted = mlp
    (batch,) = export.symbolic_shape("batch")
    exported = export.export(jax.jit(compacted.fn))(compacted.params, jax.ShapeDtypeStruct((batch, 3), jnp.float32))
    x = jax.random.normal(jax.random.key(1), (7, 3))
    np.testing.assert_allclose(exported.call(compacted.params, x), apply_mlp(params, x), atol=1e-5)


def test_what_other_shapes_may_need_stays():
    params = {
        "w": jnp.ones((3, 6)).at[:, 1].set(0),
        "positions": jnp.ones((9, 6)).at[:, 1].set(0),
        "o": jnp.ones((6, 2)),
    }

    def fn(p, x):
        return (x @ p["w"] + p["positions"][: x.shape[0]]) @ p["o"]

    compacted = compact(fn, params, jnp.ones((4, 3)))
    assert compacted.params["positions"].shape == (9, 5)
    longer = jnp.ones((8, 3))
    np.testing.assert_allclose(compacted.fn(compacted.params, longer), fn(params, longer), rtol=1e-6)


def test_widths_are_rounded_up():
    params = mlp_params(jax.random.key(0))
    params["w3"] = params["w3"].at[:4].set(0)
    compacted = compact(apply_mlp, params, jnp.ones((4, 3)), round_to=4)
    assert compacted.params["w3"].shape == (4, 6) and compacted.difference < 1e-6


def test_what_vanishes_has_size_zero():
    params = mlp_params(jax.random.key(0))
    params["w3"] = jnp.zeros_like(params["w3"])
    compacted = compact(apply_mlp, params, jnp.ones((4, 3)))
    assert [compacted.params[name].shape for name in ("w2", "b2", "w3")] == [(0, 0), (0,), (0, 0)]


def test_a_compact_function_can_be_traced_and_compacted_again(mlp):
    _, compacted = mlp
    structure = trace(compacted.fn, compacted.params, jnp.ones((4, 3)))
    assert structure.opaque == ()
    assert structure.groups() == {"w1": None, "b1": None, "w2": 0, "b2": None, "w3": 0, "w4": 0}
    again = compact(compacted.fn, compacted.params, jnp.ones((4, 3)))
    assert jax.tree.map(jnp.shape, again.params) == jax.tree.map(jnp.shape, compacted.params)


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_with_zero_groups(name, share):
    fn, params, x = NETWORKS[name]()
    groups = trace(fn, params, x).groups()
    rng = np.random.default_rng(0)

    def zeroed(axis, leaf):
        axes = axis if isinstance(axis, int) else axis.axes
        axes = axes if isinstance(axes, tuple) else (axes,)
        shape = [n if i in axes else 1 for i, n in enumerate(leaf.shape)]
        return leaf * (rng.random(shape) > share)

    is_none = lambda node: node is None  # noqa: E731
    params = jax.tree.map(
        lambda axis, leaf: leaf if axis is None else zeroed(axis, leaf), groups, params, is_leaf=is_none
    )
    compacted = compact(fn, params, x)
    assert compacted.difference < 1e-5 and compacted.macs[1] < compacted.macs[0]
    assert compacted.num_parameters[1] < (1 - share / 2) * compacted.num_parameters[0]


def test_training_goes_on_with_what_is_left():
    """Batch statistics, Adam's moments and gradients are those of the whole network whose zero groups stay zero."""
    fn, variables, x = NETWORKS["resnet"]()
    groups = trace(fn, variables, x).groups()
    variables["params"]["Conv_2"]["kernel"] = variables["params"]["Conv_2"]["kernel"].at[:, :, :5].set(0)
    variables["params"]["Conv_4"]["kernel"] = variables["params"]["Conv_4"]["kernel"].at[:].set(0)
    shrunk = shrink(fn, variables, x, groups=groups)
    assert shrunk.params["params"]["Conv_1"]["kernel"].shape == (3, 3, 8, 3)
    assert shrunk.params["params"]["Conv_3"]["kernel"].size == 0
    assert shrunk.params["params"]["BatchNorm_4"]["bias"].shape == (8,)  # learned, though nothing varies there
    tx = optax.adam(1e-2)

    def train(variables, x):
        return ResNet().apply(variables, x, train=True, mutable=["batch_stats"])

    def step(fn, variables, state):
        def loss(params):
            out, new = fn({"params": params, "batch_stats": variables["batch_stats"]}, x)
            return jnp.sum(out**2), new

        gradients, new = jax.grad(loss, has_aux=True)(variables["params"])
        updates, state = tx.update(gradients, state)
        return {"params": optax.apply_updates(variables["params"], updates), **new}, state, gradients

    state = tx.init(variables["params"])
    whole, whole_state, _ = step(train, variables, state)
    params_cuts = {path.removeprefix("params/"): cut for path, cut in shrunk.cuts.items()}
    small, small_state, gradients = step(shrunk.fn.also(train), shrunk.params, take(state, params_cuts))
    assert gradients["Conv_2"]["kernel"].shape == (3, 3, 3, 8)
    pairs = [(small["batch_stats"], take(whole, shrunk.cuts)["batch_stats"])]
    frozen = ("Conv_2", "Conv_4")  # Adam's first step moves what is zero for good in the whole network, too
    pairs += [
        (small["params"][name], take(whole, shrunk.cuts)["params"][name])
        for name in small["params"]
        if name not in frozen
    ]
    pairs += [(small_state[0].nu["BatchNorm_1"], take(whole_state, params_cuts)[0].nu["BatchNorm_1"])]
    for actual, expected in pairs:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), actual, expected)


@jax.custom_vjp
def straight_through(x):
    return jnp.round(x)


straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (2 * g,))


@pytest.mark.parametrize("activation", [jax.nn.relu, straight_through])
def test_derivatives_that_a_function_has_of_its_own_stay(activation):
    """At 0, where `maximum` has another derivative than `relu`, and `round` has none."""
    params = {"w": jnp.zeros((3, 6)), "o": jnp.ones((6, 2)).at[jnp.array([0, 4])].set(0)}
    shrunk = shrink(lambda p, x: activation(x @ p["w"]) @ p["o"], params, jnp.ones((2, 3)), groups={"w": None, "o": 0})
    assert shrunk.params["w"].shape == (3, 4)
    gradient = jax.jit(jax.grad(lambda p: shrunk.fn(p, jnp.ones((2, 3))).sum()))(shrunk.params)
    np.testing.assert_array_equal(gradient["w"], 0 if activation is jax.nn.relu else 8)


def test_needing_more_than_was_left_is_told(mlp):
    _, compacted = mlp
    other = compacted.fn.also(lambda p, x: x @ p["w1"] @ p["w2"])
    with pytest.raises(UserError, match="more of w2 is needed"):
        other(compacted.params, jnp.ones((2, 3)))


def test_optimizer_state_is_cut_like_the_parameters(mlp):
    params, compacted = mlp
    state = take(optax.adam(1e-3).init(params), compacted.cuts)
    assert jax.tree.map(jnp.shape, state[0].mu) == jax.tree.map(jnp.shape, compacted.params)
    assert state[0].count.shape == ()
