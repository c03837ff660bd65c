"""What a new network begins with: `model.init`'s parameters, but for the numbers in its kernels.

Of those, the distribution is tested, and that no two kernels share any.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lim_jax import models
from lim_jax.training import initialization

SIZE = (32, 40)
TASKS = {"segmentation": models.head("deeplab", 5, channels=64), "smiling": models.head("classifier", 1, channels=64)}


def model(tasks=tuple(TASKS)):
    backbone = models.backbone("resnet18d", width_multiplier=0.25)
    return models.MultiTaskModel(backbone, {task: TASKS[task] for task in tasks})


@pytest.fixture(scope="module")
def drawn():
    return initialization.VariableInitializer(model(), SIZE).init(3)


def leaves(variables):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


def kernels(variables):
    return {name: leaf for name, leaf in leaves(variables).items() if name.endswith("['kernel']")}


def test_all_but_kernels_is_what_init_makes(drawn):
    expected = model().init(jax.random.key(3), jnp.zeros((1, *SIZE, 3)))
    assert jax.tree.structure(drawn) == jax.tree.structure(expected)
    for (name, found), leaf in zip(leaves(drawn).items(), jax.tree.leaves(expected), strict=True):
        assert (found.shape, found.dtype) == (leaf.shape, leaf.dtype), name
        if name not in kernels(drawn):
            np.testing.assert_array_equal(found, leaf, name)


def test_kernels_have_the_distribution_of_their_initializer(drawn):
    for name, kernel in kernels(drawn).items():
        expected = jax.nn.initializers.he_normal()(jax.random.key(0), kernel.shape)
        noise = 4 / np.sqrt(kernel.size)  # four standard deviations of the estimates below
        assert np.std(kernel) == pytest.approx(np.std(expected), rel=2 * noise), name
        assert abs(np.mean(kernel)) < noise * np.std(expected), name
    everything = np.concatenate([np.ravel(k) * np.sqrt(k[..., 0].size / 2) for k in kernels(drawn).values()])
    reference = np.ravel(jax.nn.initializers.he_normal()(jax.random.key(0), (2, everything.size // 2)))
    quantiles = np.linspace(0, 1, 21)
    np.testing.assert_allclose(np.quantile(everything, quantiles), np.quantile(reference, quantiles), atol=0.02)


def test_no_number_is_used_twice(drawn):
    scaled = [np.ravel(kernel) * np.sqrt(kernel[..., 0].size / 2) for kernel in kernels(drawn).values()]
    everything = np.round(np.concatenate(scaled).astype(np.float64), 5)
    shared = 1 - len(np.unique(everything)) / everything.size
    independent = np.round(np.random.default_rng(0).standard_normal(everything.size), 5)
    assert shared < 1.2 * (1 - len(np.unique(independent)) / everything.size)


def test_a_seed_decides_and_heads_do_not_change_the_backbone(drawn):
    again = initialization.VariableInitializer(model(), SIZE).init(3)
    jax.tree.map(np.testing.assert_array_equal, drawn, again)
    other_seed = initialization.VariableInitializer(model(), SIZE).init(4)
    assert all(np.all(a != b) for a, b in zip(kernels(drawn).values(), kernels(other_seed).values(), strict=True))
    alone = initialization.VariableInitializer(model(("smiling",)), SIZE).init(3)
    jax.tree.map(np.testing.assert_array_equal, drawn["params"]["backbone"], alone["params"]["backbone"])
