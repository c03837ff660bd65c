"""Networks from other libraries, half of whose channels are zero, become smaller and stay the same."""

import jax
import numpy as np
import pytest
from foreign.networks import KINDS, NETWORKS
from foreign.zeros import with_zero_groups

from lim_jax.sparsity.groups import layers
from lim_jax.structure import compact, trace


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
