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
