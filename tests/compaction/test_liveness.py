"""What is constant, what is live, on a network small enough to say it by hand."""

import numpy as np
import pytest

from lim_jax.compaction import graph as graph_lib
from lim_jax.compaction import liveness
from lim_jax.compaction.graph import Convolution, Graph, Tensor


def convolution(kernel, shift):
    """A convolution's variables: kernel (k, k, C, O), and a batch norm that only adds `shift`."""
    ones, zeros = np.ones(len(shift), np.float32), np.zeros(len(shift), np.float32)
    params = {"kernel": np.asarray(kernel, np.float32), "bn": {"scale": ones, "bias": np.asarray(shift, np.float32)}}
    return params, {"bn": {"mean": zeros, "var": ones - np.float32(1e-5)}}


def analyze(first, second, head):
    """image (3) -> first -> second, plus the output of first as identity -> head."""
    names = ("first", "second", "head")
    convolutions = dict(zip(names, (convolution(*first), convolution(*second), convolution(*head)), strict=True))
    variables = {
        "params": {"backbone": {name: pair[0] for name, pair in convolutions.items()}},
        "batch_stats": {"backbone": {name: pair[1] for name, pair in convolutions.items()}},
    }
    one, two, three = (
        Convolution(f"backbone/{name}", source, None, name)
        for name, source in zip(names, ("image", "a", "b"), strict=True)
    )
    tensors = (Tensor("image", 3), Tensor("a", 2, (one,)), Tensor("b", 2, (two,), identity="a", stage=1))
    return liveness.analyze(Graph(tensors, (three,)), variables)


def kernel(size, groups):
    """A kernel (size, size, C, O): `groups[c][o]` at every tap."""
    return np.broadcast_to(np.asarray(groups, np.float32), (size, size, *np.shape(groups)))


ZERO = [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("second", "constants"),
    [
        ((kernel(1, ZERO), [0.5, -3]), [0.5 + 2, np.nan]),  # ReLU(shift + identity); channel 1 of a varies
        ((kernel(1, [[1, 0], [0, 0]]), [0.5, -3]), [2 + 0.5 + 2, np.nan]),  # reads the constant only
        ((kernel(3, [[1, 0], [0, 0]]), [0.5, -3]), [np.nan, np.nan]),  # 3×3: less at the borders
        ((kernel(1, [[0, 0], [1, 0]]), [0.5, -3]), [np.nan, np.nan]),
    ],
)
def test_constants(second, constants):
    first = (kernel(1, [[0, 1], [0, 0], [0, 0]]), [2, 0])
    found = analyze(first, second, (kernel(1, [[1], [1]]), [0]))
    np.testing.assert_allclose(found.channels["a"].constant_values, [2, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found.channels["b"].constant_values, constants, rtol=1e-6)


@pytest.mark.parametrize(
    ("second", "head", "live", "readers"),
    [
        # Nobody reads channel 1 of b, so its filter's reading of channel 0 of a does not count.
        (kernel(1, [[0, 1], [0, 0]]), [[1], [0]], {"image": [1, 0, 0], "a": [1, 0], "b": [1, 0]}, [1, 0]),
        (kernel(1, [[0, 0], [1, 0]]), [[1], [0]], {"image": [1, 1, 0], "a": [1, 1], "b": [1, 0]}, [1, 0]),
        (kernel(1, [[1, 0], [0, 1]]), [[0], [0]], {"image": [0, 0, 0], "a": [0, 0], "b": [0, 0]}, [0, 0]),
    ],
)
def test_live_channels_and_their_readers(second, head, live, readers):
    first = (kernel(3, [[1, 0], [0, 1], [0, 0]]), [0, 0])
    found = analyze(first, (second, [0, 0]), (kernel(1, head), [0]))
    assert {name: channels.live.astype(int).tolist() for name, channels in found.channels.items()} == live
    assert found.channels["a"].readers["identity"].astype(int).tolist() == readers


def test_only_our_backbones():
    class Other:
        backbone = None

    with pytest.raises(TypeError, match="NoneType"):
        graph_lib.build(Other(), {})
