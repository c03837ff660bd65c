"""What a new network begins with: `model.init`'s parameters, but for the numbers in its kernels.

Of those, the distribution is tested, and that no two kernels share any.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lim_jax import models
from lim_jax import network as network_lib
from lim_jax.data.specs import TargetSpec
from lim_jax.models import resnet, torch_weights
from lim_jax.training import initialization
from tests.models import reference_weights
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow

SIZE = (32, 40)
TASKS = {
    "segmentation": models.head("deeplab", 5, channels=64),
    "smiling": models.head("classifier", 1, channels=64),
    "weather": models.head("linear", 3),
}


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


def test_a_pretrained_backbone_takes_the_place_of_a_drawn_one(tmp_path):
    shapes = reference_weights.backbone_shapes("resnet18", "torchvision", narrower=8)
    state = reference_weights.state_dict(shapes, "pretrained/")
    path = tmp_path / "resnet18.safetensors"
    arrays = {name: np.ascontiguousarray(array) for name, array in state.items()}
    pytest.importorskip("safetensors.numpy").save_file(arrays, path)
    config = tiny_config(tmp_path)
    config.model.backbone, config.model.pretrained = "resnet18", str(path)
    network = initialization.network_of(config, {"depth": TargetSpec("depth", "depth")})
    found = initialization.variables_of(config, initialization.VariableInitializer(network.model, SIZE))
    expected = torch_weights.to_flax(state)
    jax.tree.map(np.testing.assert_array_equal, found["params"]["backbone"], expected["params"])
    jax.tree.map(np.testing.assert_array_equal, found["batch_stats"]["backbone"], expected["batch_stats"])
    assert found["params"]["heads_depth"]["logits"]["kernel"].any()


@pytest.mark.parametrize(
    ("backbone", "pretrained", "dilations", "expected"),
    [
        ("resnet18d", "", "auto", "paper"),
        ("resnet18d", "FILE", "auto", "torchvision"),
        ("resnet18d", "FILE", "paper", "paper"),
        ("resnet18", "", "auto", "torchvision"),
    ],
)
def test_how_a_backbone_is_dilated(backbone, pretrained, dilations, expected):
    config = tiny_config("")
    config.model.update(backbone=backbone, pretrained=pretrained, dilations=dilations)
    network = initialization.network_of(config, {"depth": TargetSpec("depth", "depth")})
    assert network.model.backbone.architecture == resnet.architecture(backbone, 0.125, expected)


def test_tasks_begin_with_what_the_training_examples_say():
    """A head in metres starts at their median, numbers are standardised, and classes weigh by how rare they are."""
    specs = {
        "depth": TargetSpec("depth", "depth"),
        "age": TargetSpec("age", "number"),
        "parts": TargetSpec("parts", "segmentation", ("a", "b")),
    }
    config = tiny_config("")
    config.depth.target, config.segmentation.class_weights = "metres", "balanced"
    labels = np.zeros((32, 40), np.uint8)
    labels[:8] = 1
    source = [
        {"targets": {"depth": np.full((32, 40), 3, np.float32), "age": np.float32(age), "parts": labels}}
        for age in (10, 30, np.nan)
    ]
    network = initialization.fitted(initialization.network_of(config, specs), source)
    assert (network.tasks["age"].mean, network.tasks["age"].scale) == (20, 10)
    assert network.tasks["parts"].class_weights == pytest.approx((0.6667, 2.0))
    assert network_lib.from_json(json.loads(json.dumps(network_lib.to_json(network)))).tasks == network.tasks
    constants = initialization.constants_of(network, source)
    assert constants.keys() == {"depth"}
    initializer = initialization.VariableInitializer(network.model, SIZE)
    variables = initialization.variables_of(config, initializer, constants)
    assert variables["params"]["heads_depth"]["logits"]["bias"] == pytest.approx(3, abs=0.1)
    assert not variables["params"]["heads_age"]["fc2"]["bias"].any()
    assert initialization.fitted(network, []) is network
