"""Networks from other libraries, half of whose channels are zero, become smaller and stay the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from foreign.networks import KINDS, NETWORKS
from foreign.zeros import with_zero_groups
from jax import export

from lim_jax.sparsity.groups import layers
from lim_jax.structure import compact, take, trace


@pytest.fixture(scope="module")
def compacted():
    """Each network with half of its groups at zero, and what is left of it; made once."""
    made = {}

    def make(name):
        if name not in made:
            fn, params, x = NETWORKS[name](True)
            structure = trace(fn, params, x)
            groups = structure.groups(KINDS.get(name, "input_channels"))
            params = with_zero_groups(params, groups, 0.5, seed=0)
            made[name] = structure, fn, params, x, compact(fn, params, x)
        return made[name]

    return make


# How many layers have input channels that may leave.
LAYERS = {
    "ResNet-18 (Linen)": 20,
    "ResNet-50 (Linen)": 12,
    "MobileNetV2 (Linen)": 7,
    "U-Net (Linen)": 17,
    "ViT-S/16 (Linen)": 13,
    "LSTM (Linen)": 13,
    "residual network (NNX)": 5,
    "convolutional network (Equinox)": 5,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_become_smaller_and_stay_the_same(compacted, name):
    structure, _, params, _, small = compacted(name)
    assert structure.opaque == ()
    assert len(layers(structure.groups(), params)) == LAYERS[name]
    assert small.difference < 1e-5 and small.macs[1] < 0.75 * small.macs[0]
    assert small.num_parameters[1] < 0.75 * small.num_parameters[0]
    assert jax.tree.structure(small.params) == jax.tree.structure(params)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["U-Net (Linen)", "LSTM (Linen)", "convolutional network (Equinox)"])
def test_what_is_left_goes_through_vmap_grad_and_export(compacted, name):
    _, fn, params, x, small = compacted(name)
    expected = jax.jit(fn)(params, x)
    each = jax.jit(jax.vmap(lambda p, row: small.fn(p, row[None]), (None, 0)))(small.params, x)
    np.testing.assert_allclose(each[:, 0], expected, atol=1e-5 * np.max(np.abs(expected)))
    exported = export.export(jax.jit(small.fn))(small.params, x)
    np.testing.assert_allclose(exported.call(small.params, x), expected, atol=1e-5 * np.max(np.abs(expected)))

    def gradient(function, at):
        return jax.jit(jax.grad(lambda p: jnp.sum(function(p, x) ** 2)))(at)

    ours, whole = gradient(small.fn, small.params), take(gradient(fn, params), small.cuts)
    largest = max(np.max(np.abs(leaf), initial=0) for leaf in jax.tree.leaves(whole))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5 * largest), ours, whole)


@pytest.mark.slow
def test_haiku():
    """Skipped where dm-haiku is not installed."""
    haiku = pytest.importorskip("haiku")

    def forward(x, is_training):
        x = jax.nn.relu(haiku.BatchNorm(True, True, 0.9)(haiku.Conv2D(16, 3)(x), is_training))
        x = jax.nn.relu(haiku.Conv2D(32, 3)(jax.nn.relu(haiku.Conv2D(32, 3, stride=2)(x))))
        x = haiku.LayerNorm(-1, True, True)(x.mean((1, 2)))
        return haiku.Linear(5)(jax.nn.relu(haiku.Linear(24)(x)))

    network = haiku.without_apply_rng(haiku.transform_with_state(forward))
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    variables = dict(zip(("params", "state"), network.init(jax.random.key(0), x, True), strict=True))

    def fn(variables, x):
        return network.apply(variables["params"], variables["state"], x, False)[0]

    groups = trace(fn, variables, x).groups()
    small = compact(fn, with_zero_groups(variables, groups, 0.5, seed=0), x)
    assert small.difference < 1e-5 and small.num_parameters[1] < 0.75 * small.num_parameters[0]


@pytest.mark.slow
def test_onnx_export(compacted, tmp_path):
    """What ONNX Runtime computes of an exported compact network."""
    jax2onnx = pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    _, fn, params, x, small = compacted("ViT-S/16 (Linen)")
    path = tmp_path / "small.onnx"
    jax2onnx.to_onnx(lambda x: small.fn(small.params, x), [x.shape], return_mode="file", output_path=str(path))
    session = onnxruntime.InferenceSession(str(path))
    (actual,) = session.run(None, {session.get_inputs()[0].name: np.asarray(x)})
    np.testing.assert_allclose(actual, fn(params, x), atol=1e-4)
