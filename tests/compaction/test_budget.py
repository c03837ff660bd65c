"""The MACs that zero groups remove are those that compaction removes, and the same after the network shrank."""

import jax
import numpy as np
import pytest

from lim_jax import compaction, models, sparsity
from tests.compaction.networks import SIZE, make_model, random_variables, with_zero_groups

pytestmark = pytest.mark.slow


# With these seeds no layer loses all its groups: it would make channels constant, which compaction alone looks for.
@pytest.mark.parametrize(("backbone", "seed"), [("resnet18d", 0), ("resnet50d", 1)])
def test_removed_macs_are_those_of_compaction(backbone, seed):
    rng = np.random.default_rng(seed)
    model = make_model(backbone, skip=True)
    variables = with_zero_groups(random_variables(model, rng), rng, {"backbone": (0.0, 0.4, 0.6)})
    dense = compaction.total(compaction.layer_costs(model, SIZE), "backbone/").macs
    zero = sparsity.zero_groups(variables["params"], models.backbone_groups)
    removed = jax.jit(compaction.removed_macs(model, variables["params"], SIZE, dense))(zero)
    small = compaction.compact(model, variables)
    left = compaction.total(compaction.layer_costs(small.model, SIZE), "backbone/").macs
    assert 0.2 * dense < left < 0.8 * dense
    np.testing.assert_allclose(1 - removed, left / dense, rtol=1e-5)

    shrunk = compaction.remove_unread(model, variables, {name: np.asarray(each) for name, each in zero.items()})
    nothing = sparsity.zero_groups(shrunk.variables["params"], models.backbone_groups)
    again = compaction.removed_macs(shrunk.model, shrunk.variables["params"], SIZE, dense)(nothing)
    np.testing.assert_allclose(again, removed, rtol=1e-5)


def test_nothing_is_removed_where_nothing_is_zero():
    model = make_model("resnet18d")
    variables = random_variables(model, np.random.default_rng(0))
    dense = compaction.total(compaction.layer_costs(model, SIZE), "backbone/").macs
    zero = sparsity.zero_groups(variables["params"], models.backbone_groups)
    removed = compaction.removed_macs(model, variables["params"], SIZE, dense)
    assert abs(float(removed(zero))) < 1e-6
    assert float(removed({name: np.ones_like(each) for name, each in zero.items()})) == 1
