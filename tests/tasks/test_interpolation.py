import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lim_jax.tasks import interpolation
from tests.tasks import examples


@pytest.mark.parametrize("stride", [8, 4])
@pytest.mark.parametrize("size", [*examples.SIZES, (8, 8), (1, 17)])
def test_resize_predictions_is_bilinear(size, stride):
    cells = interpolation.map_shape(size, stride)
    maps = np.random.default_rng(0).standard_normal((2, *cells, 3)).astype(np.float32)
    resized = jax.jit(interpolation.resize_predictions, static_argnums=(1, 2))(maps, size, stride)
    np.testing.assert_allclose(resized, examples.upsample(maps, size, stride), atol=1e-6)
    sampled = interpolation.sample_target(resized, maps, stride)
    np.testing.assert_array_equal(sampled, maps)


@pytest.mark.parametrize("size", [(75, 101), (9, 30), (1, 3), (2, 2)])
def test_stretch_puts_corners_on_corners(size):
    maps = np.random.default_rng(0).standard_normal((2, 9, 13, 3)).astype(np.float32)
    stretched = jax.jit(interpolation.stretch, static_argnums=1)(maps, size)
    rows, columns = (np.arange(n) * ((m - 1) / max(n - 1, 1)) for n, m in zip(size, (9, 13), strict=True))
    expected = np.stack(
        [[np.interp(rows, range(9), column) for column in one] for one in maps.transpose(0, 2, 3, 1).reshape(-1, 3, 9)]
    )
    expected = expected.reshape(2, 13, 3, size[0]).transpose(0, 3, 2, 1)  # B, Y, C, w
    expected = np.apply_along_axis(lambda row: np.interp(columns, range(13), row), -1, expected).transpose(0, 1, 3, 2)
    np.testing.assert_allclose(stretched, expected, atol=1e-5)


def test_logits_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 9, 12, 3\).*\(2, 72, 104\).*\(2, 9, 13\)"):
        interpolation.sample_target(jnp.zeros((2, 72, 104)), jnp.zeros((2, 9, 12, 3)))
