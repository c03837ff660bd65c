"""Of our backbones, `lim_jax.structure` finds in the program what compaction finds by name; of heads it finds more."""

import numpy as np
import pytest

from lim_jax import compaction, structure
from lim_jax.sparsity.groups import leaves_by_path
from tests.compaction.networks import make_model, random_images, random_variables, with_zero_groups

pytestmark = pytest.mark.slow

SHARES = {"stem": (0.0, 0.3), "backbone": (0.2, 0.4, 0.6), "heads": (0.3,)}


@pytest.mark.parametrize("backbone", ["resnet18d", "resnet50d"])
def test_both_find_the_same_widths(backbone):
    rng = np.random.default_rng(0)
    model = make_model(backbone)
    variables = with_zero_groups(random_variables(model, rng), rng, SHARES)
    images = random_images(rng)
    by_name = compaction.compact(model, variables)
    by_program = structure.compact(lambda v, x: model.apply(v, x), variables, images)
    left = leaves_by_path(by_name.variables)
    for path, cut in by_program.cuts.items():
        if path.startswith("params/backbone") and path.endswith("/kernel"):
            assert left[path].shape == cut.compact_shape, path
        elif path in left:  # the head of depth has zeros inside, of which the walk by name knows nothing
            assert np.all(np.array(cut.compact_shape) <= left[path].shape), path
    assert (
        by_program.cuts["params/heads_depth/refine/kernel"].compact_shape
        < left["params/heads_depth/refine/kernel"].shape
    )
    assert by_program.difference < 1e-5
