"""The groups of our networks: which convolutions have some, and which share them."""

import jax.numpy as jnp
import pytest

from lim_jax import models, sparsity
from lim_jax.errors import UserError

NETWORK = {
    "backbone": {"stem1": {"kernel": jnp.zeros((3, 3, 3, 8)), "bn": {"scale": jnp.zeros(8)}}},
    "heads_depth": {
        "aspp_pointwise": {"kernel": jnp.zeros((1, 1, 8, 4))},
        "aspp_dilated1": {"kernel": jnp.zeros((3, 3, 8, 4))},
        "project": {"kernel": jnp.zeros((1, 1, 8, 4))},
    },
    "heads_male": {"conv": {"kernel": jnp.zeros((3, 3, 8, 2))}},
    "loss_weighting": {"depth": jnp.zeros(())},
}


def test_backbone_groups():
    assert sparsity.layer_sizes(NETWORK, models.backbone_groups) == {"backbone/stem1": (3, 72)}
    both = sparsity.layer_sizes(NETWORK, lambda params: models.backbone_groups(params, "backbone_and_heads"))
    assert both == {"backbone/stem1": (3, 72), "heads": (8, 4 + 9 * 4 + 9 * 2)}
    with pytest.raises(UserError, match="'heads'; choose one of backbone"):
        models.backbone_groups(NETWORK, "heads")
    with pytest.raises(UserError, match="no convolution under 'backbone'"):
        models.backbone_groups({"conv1": {"kernel": jnp.zeros((3, 3, 4, 8))}})
