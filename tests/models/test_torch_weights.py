import jax
import numpy as np
import pytest

from lim_jax import models
from lim_jax.errors import UserError
from lim_jax.models import torch_weights
from tests.models import reference_weights

TASKS = {"segmentation": reference_weights.deeplab_shapes(40), "male": reference_weights.classifier_shapes()}


def whole_model(prefix=""):
    shapes = {f"backbone.{k}": v for k, v in reference_weights.backbone_shapes("resnet18d").items()}
    for task, head in TASKS.items():
        shapes |= {f"decoders.{task}.{k}": v for k, v in head.items()}
    state = {prefix + name: np.broadcast_to(np.float32(1), shape) for name, shape in shapes.items()}
    return state | {f"{prefix}backbone.stem1.1.num_batches_tracked": np.array(7)}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_whole_model_fits_ours(prefix):
    heads = {"segmentation": models.head("deeplab", 40), "male": models.head("classifier", 1)}
    model = models.MultiTaskModel(models.backbone("resnet18d"), heads)
    expected = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    actual = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), torch_weights.to_flax(whole_model(prefix)))
    assert actual == expected


def arrays(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


LAYOUTS = [
    *((name, "torchvision") for name in ("resnet18", "resnet50", "resnet101")),
    *((name, "timm") for name in ("resnet50d", "resnet101d")),
]


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_layouts_are_recognised_and_fit_ours(name, layout):
    """Built from the names that torchvision and timm (`resnet50s`, `resnet101s`) give their tensors."""
    shapes = reference_weights.backbone_shapes(name, layout, narrower=8)
    state = {key: np.full(shape, i, np.float32) for i, (key, shape) in enumerate(shapes.items())}
    assert torch_weights.backbone_name(state) == name
    found = torch_weights.to_flax(state | {"fc.weight": np.zeros((1000, 8)), "fc.bias": np.zeros(1000)})
    module = models.backbone(name, 1 / 8)
    expected = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    assert {key: leaf.shape for key, leaf in arrays(found).items()} == {
        key: leaf.shape for key, leaf in arrays(expected).items()
    }
    assert sorted({int(leaf.flat[0]) for leaf in arrays(found).values()}) == list(range(len(state)))


def test_timms_stem_in_its_order():
    names = [name for name in reference_weights.backbone_shapes("resnet50d", "timm") if name.endswith("weight")][:6]
    assert names == [
        "conv1.0.weight",
        "conv1.1.weight",
        "conv1.3.weight",
        "conv1.4.weight",
        "conv1.6.weight",
        "bn1.weight",
    ]
    state = reference_weights.backbone_shapes("resnet50d", "timm", narrower=8)
    state = {key: np.full(shape, names.index(key) if key in names else 9.0) for key, shape in state.items()}
    params = torch_weights.to_flax(state)["params"]
    found = [params[f"stem_conv{i}"][part].flat[0] for i in (1, 2, 3) for part in ("kernel",)]
    scales = [params[f"stem_conv{i}"]["bn"]["scale"].flat[0] for i in (1, 2, 3)]
    assert (found, scales) == ([0, 2, 4], [1, 3, 5])


def test_a_network_that_pools_before_it_downsamples_is_refused():
    shapes = reference_weights.backbone_shapes("resnet50d", "timm", narrower=8)
    renamed = {
        key.replace("downsample.1", "downsample.2").replace("downsample.0", "downsample.1"): np.zeros(shape)
        for key, shape in shapes.items()
    }
    with pytest.raises(UserError, match="take timm's resnet50s"):
        torch_weights.to_flax(renamed)


def test_layouts():
    state = {name: reference_weights.normal(name, shape) for name, shape in TASKS["male"].items()}
    params = torch_weights.to_flax(state)["params"]
    np.testing.assert_array_equal(params["conv"]["kernel"][1, 2, 3, 4], state["conv.weight"][4, 3, 1, 2])
    np.testing.assert_array_equal(params["fc1"]["kernel"][3, 4], state["fc1.weight"][4, 3])
    np.testing.assert_array_equal(params["fc1"]["bias"], state["fc1.bias"])


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("backbone.layer1.0.bn1.weight", None, "1 weights are missing: backbone.layer1.0.bn1.weight"),
        ("decoders.male.fc2.bias", None, "missing: decoders.male.fc2.bias"),
        ("backbone.layer4.1.", None, "2, 2, 2, 1 blocks belong to no backbone"),
        (None, "backbone.fc.weight", "1 weights are unknown: backbone.fc.weight"),
        (None, "neck.weight", "'neck.weight' belongs to no backbone"),
        (None, "decoders.depth.weight", "no backbone or head has weights named 'weight'"),
    ],
)
def test_names_that_do_not_fit_are_reported(removed, added, message):
    state = {k: v for k, v in whole_model().items() if removed is None or not k.startswith(removed)}
    if added is not None:
        state[added] = np.zeros(3, np.float32)
    with pytest.raises(UserError, match=message):
        torch_weights.to_flax(state)
