"""Both tools leave a network's outputs as they are. Skipped where Torch-Pruning is not installed."""

import pytest

pytest.importorskip("torch_pruning")
import beside_torch_pruning as script

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", script.KINDS)
@pytest.mark.parametrize("backbone", ["resnet18d", "resnet50d"])
def test_both_compute_the_same_with_less(backbone, kind):
    fn, variables, image = script.network(backbone, 0.125, 64, 0.5, kind)
    ours = script.by_lim_jax(fn, variables, image)
    theirs = script.by_torch_pruning(backbone, 0.125, variables, image)
    assert ours.parameters[0] == theirs.parameters[0]
    assert ours.parameters[1] <= theirs.parameters[1] < theirs.parameters[0]
    assert max(ours.difference, theirs.difference) < 1e-5
