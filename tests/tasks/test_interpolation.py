import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lim_jax.tasks import interpolation
from tests.tasks import examples


@pytest.mark.parametrize("size", [*examples.SIZES, (8, 8), (1, 17)])
def test_resize_predictions_is_bilinear(size):
    maps = np.random.default_rng(0).standard_normal((2, -(-size[0] // 8), -(-size[1] // 8), 3)).astype(np.float32)
    resized = jax.jit(interpolation.resize_predictions, static_argnums=1)(maps, size)
    np.testing.assert_allclose(resized, examples.upsample(maps, size), atol=1e-6)


@pytest.mark.parametrize("size", examples.SIZES)
def test_resizing_and_sampling_agree_on_where_a_cell_lies(size):
    maps = np.random.default_rng(0).standard_normal((1, -(-size[0] // 8), -(-size[1] // 8), 2)).astype(np.float32)
    np.testing.assert_array_equal(interpolation.sample_target(interpolation.resize_predictions(maps, size), maps), maps)


def test_logits_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 9, 12, 3\).*\(2, 72, 104\).*\(2, 9, 13\)"):
        interpolation.sample_target(jnp.zeros((2, 72, 104)), jnp.zeros((2, 9, 12, 3)))
