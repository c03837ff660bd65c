"""Pruning by importance: which channels go, and how many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lim_jax.errors import UserError
from lim_jax.structure import compact, prune
from tests.structure.networks import apply_mlp, mlp_params
from tests.structure.test_tracing import NETWORKS

X = jnp.ones((4, 3))


def params():
    """An MLP whose hidden channels 0 to 6 become ever more important, and its stream's 0 to 5 ever less so."""
    result = mlp_params(jax.random.key(0))
    hidden, stream = jnp.arange(1.0, 8) / 4, jnp.arange(6.0, 0, -1)
    return result | {
        "w2": jnp.ones((6, 7)) * hidden * stream[:, None],
        "w3": jnp.ones((7, 6)) * hidden[:, None] * stream,
    }


def hidden_left(pruned):
    return np.flatnonzero(np.any(np.asarray(pruned["w3"]), axis=1)).tolist()


def stream_left(pruned):
    return np.flatnonzero(np.any(np.asarray(pruned["w2"]), axis=1)).tolist()


def test_the_least_important_channels_leave_with_all_their_slices():
    pruned = prune(apply_mlp, params(), X, share=6 / 13, global_=False)
    assert (hidden_left(pruned), stream_left(pruned)) == ([3, 4, 5, 6], [0, 1, 2])
    for name, axis in (("w2", 1), ("b2", 0), ("w3", 0)):
        assert not np.take(pruned[name], [0, 1, 2], axis).any()
    for name, axis in (("w1", 1), ("b1", 0), ("w2", 0), ("w3", 1), ("w4", 0)):
        assert not np.take(pruned[name], [3, 4, 5], axis).any()
    small = compact(apply_mlp, pruned, X)
    assert small.params["w2"].shape == (3, 4) and small.difference < 1e-6


def test_channels_of_all_places_compete():
    """Relative to the mean of their place: 1/20 of the hidden channels, about 1/15 and 4/15 of the stream's."""
    left = [prune(apply_mlp, params(), X, share=number / 13) for number in (1, 2, 3)]
    assert [(len(hidden_left(each)), len(stream_left(each))) for each in left] == [(6, 6), (6, 5), (5, 5)]


def test_one_channel_stays():
    pruned = prune(apply_mlp, params(), X, share=0.99)
    assert (hidden_left(pruned), len(stream_left(pruned))) == ([6], 1)


def test_taylor_goes_by_the_gradient():
    slopes = jax.tree.map(jnp.zeros_like, params()) | {"w3": jnp.ones((7, 6)).at[6].set(1e-3), "w2": jnp.ones((6, 7))}
    pruned = prune(apply_mlp, params(), X, share=1 / 13, importance="taylor", gradients=slopes, exclude=["w4"])
    assert 6 in hidden_left(pruned)  # w2 still counts
    slopes["w2"] = slopes["w2"].at[:, 6].set(0)
    pruned = prune(apply_mlp, params(), X, share=1 / 13, importance="taylor", gradients=slopes, exclude=["w4"])
    assert hidden_left(pruned) == [0, 1, 2, 3, 4, 5] and len(stream_left(pruned)) == 6


def test_random_hangs_on_the_seed_alone():
    left = [hidden_left(prune(apply_mlp, params(), X, share=0.5, importance="random", seed=seed)) for seed in (0, 0, 1)]
    assert left[0] == left[1] != left[2]


@pytest.mark.parametrize("budget", ["macs", "parameters"])
def test_budgets_are_kept_and_not_more(budget):
    small = compact(apply_mlp, prune(apply_mlp, params(), X, **{budget: 0.5}), X)
    before, after = small.macs if budget == "macs" else small.num_parameters
    assert 0.4 * before < after <= 0.5 * before


@pytest.mark.slow
def test_latency_is_measured(monkeypatch):
    from lim_jax.structure import pruning

    clock = iter(range(10**6))
    monkeypatch.setattr(pruning.time, "perf_counter", lambda: next(clock))  # all take the same time: nothing is enough
    monkeypatch.setattr(pruning, "_LATENCY_STEPS", 2)
    assert len(hidden_left(prune(apply_mlp, params(), X, latency=0.5))) == 1


@pytest.mark.slow
def test_batch_norm_scales():
    fn, variables, x = NETWORKS["resnet"]()
    scale = jnp.ones(8).at[jnp.array([2, 5])].set(0.01)
    variables["params"]["BatchNorm_1"]["scale"] = scale  # inside the first block
    pruned = prune(fn, variables, x, share=0.1, importance="batch_norm_scale")
    assert np.flatnonzero(pruned["params"]["BatchNorm_1"]["scale"] == 0).tolist() == [2, 5]
    assert compact(fn, pruned, x).difference < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give one of share, macs"),
        ({"share": 0.5, "macs": 0.5}, "give one of share, macs"),
        ({"share": 1.5}, "between 0 and 1"),
        ({"share": 0.5, "importance": "size"}, "choose magnitude"),
        ({"share": 0.5, "importance": "taylor"}, "taylor with gradients"),
        ({"share": 0.5, "importance": "batch_norm_scale"}, "says nothing"),
    ],
)
def test_mistakes_are_told(arguments, message):
    with pytest.raises(UserError, match=message):
        prune(apply_mlp, params(), X, **arguments)
