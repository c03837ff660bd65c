"""Counts of zero groups: as a report, as JSON, on the device."""

import jax
import jax.numpy as jnp
import pytest

from lim_jax import sparsity

GROUPS = [(r"conv\d/kernel", sparsity.INPUT_CHANNELS)]


@pytest.fixture
def params():
    first = jnp.ones((3, 3, 4, 2)).at[:, :, 1].set(0).at[:, :, 3].set(0).at[0, 0, 0, 0].set(0)
    return {"conv1": {"kernel": first}, "conv2": {"kernel": jnp.ones((1, 1, 2, 4))}, "bias": jnp.zeros(4)}


def test_summary(params):
    summary = sparsity.sparsity_summary(params, GROUPS)
    assert summary.total == sparsity.LayerSparsity(6, 2, 80, 36, 37)
    assert summary.to_json() == {
        "group_percent": pytest.approx(100 * 2 / 6),
        "parameter_percent": 45.0,
        "zero_parameter_percent": 46.25,
        "layers": {"conv1": {"groups": 4, "zero_groups": 2}, "conv2": {"groups": 2, "zero_groups": 0}},
    }
    lines = str(summary).splitlines()
    assert lines[1].split() == ["conv1", "4", "2", "50.0", "72", "36", "50.0"]
    assert len({len(line) for line in lines}) == 1


def test_counts_on_the_device(params):
    groups, parameters = jax.jit(lambda p: sparsity.count_zero_groups(p, GROUPS))(params)
    assert (int(groups), int(parameters)) == (2, 36)
    assert sparsity.zero_groups(params, GROUPS)["conv1"].tolist() == [False, True, False, True]


def test_changes_and_norms(params):
    before = sparsity.zero_groups(params, GROUPS)
    params["conv1"]["kernel"] = params["conv1"]["kernel"].at[:, :, 0].set(0).at[:, :, 1:].set(2)
    assert sparsity.pattern_changes(before, sparsity.zero_groups(params, GROUPS)) == (1, 2)
    assert sparsity.group_norms(params, GROUPS)["conv1"].tolist() == pytest.approx([0, 2, 2, 2])
