"""Costs against counting by hand, against XLA's own count, and latencies against a clock that is ours."""

import itertools
import types

import jax
import numpy as np
import pytest

from lim_jax import compaction, models, ops
from lim_jax.compaction import cost
from tests.compaction.networks import make_model, random_variables, with_zero_groups

SIZE = (33, 47)


def test_by_hand():
    model = models.MultiTaskModel(models.backbone("resnet50d", 1.0), {"smiling": models.head("classifier", 1)})
    costs = compaction.layer_costs(model, (64, 96))
    assert costs["backbone/stem_conv1"] == compaction.LayerCost(3, 64, 27 * 64 + 128, 32 * 48 * 27 * 64)
    assert costs["backbone/layer2_0/conv2"] == compaction.LayerCost(128, 128, 9 * 128**2 + 256, 8 * 12 * 9 * 128**2)
    assert costs["backbone/layer4_0/downsample"].macs == 8 * 12 * 1024 * 2048
    assert costs["heads_smiling/conv"].parameters == 9 * 2048 * 64 + 64
    assert costs["heads_smiling/fc1"] == compaction.LayerCost(64, 32, 64 * 32 + 32, 64 * 32)
    whole = compaction.total(costs)
    assert whole.macs == compaction.total(costs, "backbone/").macs + compaction.total(costs, "heads_smiling").macs
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 64, 96, 3), np.float32))["params"]
    assert whole.parameters == sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("compact", [False, True])
def test_macs_are_those_that_xla_counts(compact, monkeypatch):
    """XLA counts 2 operations for each MAC on the image; with the padding made explicit, all taps are on it."""

    def padded(x, kernel, *, stride=1, dilation=1, forms=None):
        margin = dilation * (kernel.shape[0] // 2)
        x = jax.numpy.pad(x, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            "VALID",
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    model = make_model("resnet50d")
    rng = np.random.default_rng(0)
    variables = random_variables(model, rng)
    if compact:
        zeros = with_zero_groups(variables, rng, {"stem": (0.0,), "backbone": (0.3, 0.7)})
        compacted = compaction.compact(model, zeros)
        model, variables = compacted.model, compacted.variables
    monkeypatch.setattr(ops, "convolve", padded)
    monkeypatch.setattr(ops, "relu", lambda x, **_: x)
    images = np.zeros((1, *SIZE, 3), np.float32)
    counted = jax.jit(model.apply).lower(variables, images).cost_analysis()["flops"]
    costs = compaction.layer_costs(model, SIZE)
    assert 2 * compaction.total(costs).macs == pytest.approx(counted, rel=0.05)
    assert 2 * compaction.total(costs).macs < counted  # normalisation and pooling count for XLA


@pytest.mark.parametrize(("repeats", "min_seconds", "rounds"), [(3, 0, 3), (1, 17.5, 3), (1, 18.5, 4), (4, 1, 4)])
def test_latencies_alternate_are_warm_and_medians(monkeypatch, repeats, min_seconds, rounds):
    durations = [1, 5, 7, 0, 2, 3, 2, 3]  # seconds of dense, compact, dense, ...
    order = []
    clock = itertools.chain.from_iterable((0, duration) for duration in durations)
    monkeypatch.setattr(cost, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    calls = {name: lambda name=name: order.append(name) for name in ("dense", "compact")}
    measured = compaction.latencies(calls, repeats, min_seconds=min_seconds)
    assert measured == {"dense": 2000.0, "compact": 3000.0}
    timed_round = ["dense", "dense", "compact", "compact"]
    assert order == ["dense", "compact"] * cost._WARM_UP + timed_round * rounds
