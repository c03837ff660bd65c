import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import pytest

from lim_jax.errors import UserError
from lim_jax.models import backbone, resnet
from tests.models import reference_weights


def convolutions(architecture):
    return [conv for stage in architecture.stages for block in stage for conv in block.convs]


@pytest.mark.parametrize(
    ("name", "blocks", "features"),
    [("resnet18", (2, 2, 2, 2), 512), ("resnet50", (3, 4, 6, 3), 2048), ("resnet101", (3, 4, 23, 3), 2048)],
)
@pytest.mark.parametrize("ending", ["", "d"])
def test_architectures(name, blocks, features, ending):
    name += ending
    module = backbone(name)
    assert tuple(map(len, module.architecture.stages)) == blocks
    downsamples = [block.downsample for stage in module.architecture.stages for block in stage]
    assert downsamples.count(True) == (3 if name == "resnet18" else 4)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    output = jax.eval_shape(module.apply, shapes, jnp.zeros((1, 32, 32, 3)))
    assert output.shape == (1, 4, 4, features)
    published = reference_weights.backbone_shapes(name, "paper" if ending else "torchvision").values()
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == sum(math.prod(shape) for shape in published)


def test_stride_and_dilation_sit_where_the_paper_has_them():
    basic, bottleneck = (resnet.architecture(name) for name in ("resnet18d", "resnet50d"))
    first, second, third, fourth = ([conv for block in stage for conv in block.convs] for stage in basic.stages)
    assert [conv.dilation for conv in first + second] == [1] * 8
    assert [conv.dilation for conv in third] == [1, 2, 1, 2]
    assert [conv.dilation for conv in fourth] == [1, 4, 1, 4]
    assert [conv.stride for conv in second] == [2, 1, 1, 1]
    assert [conv.stride for conv in bottleneck.stages[1][0].convs] == [1, 2, 1]
    assert {conv.dilation for block in bottleneck.stages[3] for conv in block.convs if conv.kernel_size == 3} == {4}
    assert sum(conv.stride == 2 for conv in convolutions(bottleneck)) == 1


@pytest.mark.parametrize("ending", ["", "d"])
def test_pretrained_networks_are_dilated_otherwise(ending):
    """The 3×3 that had the stride gets half of its stage's dilation, all others the whole."""
    basic, bottleneck = (resnet.architecture(name + ending, 1, "torchvision") for name in ("resnet18", "resnet50"))
    assert resnet.architecture(f"resnet50{ending}", 1, "auto") == resnet.architecture(
        f"resnet50{ending}", 1, "paper" if ending else "torchvision"
    )
    dilations = [
        [[conv.dilation for block in stage for conv in block.convs if conv.kernel_size == 3] for stage in found.stages]
        for found in (basic, bottleneck)
    ]
    assert dilations == [
        [[1] * 4, [1] * 4, [1, 2, 2, 2], [2, 4, 4, 4]],
        [[1] * 3, [1] * 4, [1, 2, 2, 2, 2, 2], [2, 4, 4]],
    ]


@pytest.mark.parametrize("name", ["resnet18d", "resnet50d", "resnet18"])
@pytest.mark.parametrize("size", [(72, 104), (75, 101), (1, 9)])
def test_any_size_and_a_batch_of_one(name, size):
    module, images = backbone(name, 0.05), jnp.zeros((1, *size, 3))
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    features = jax.eval_shape(module.apply, variables, images)
    assert features.shape[:3] == (1, -(-size[0] // 8), -(-size[1] // 8))


@pytest.mark.parametrize("name", resnet.BACKBONES)
@pytest.mark.parametrize("width_multiplier", [0.01, 0.3, 1.0, 1.5])
def test_json_round_trip(name, width_multiplier):
    architecture = resnet.architecture(name, width_multiplier)
    assert min(conv.features for conv in convolutions(architecture)) >= resnet.MIN_WIDTH
    assert resnet.Architecture.from_json(json.loads(json.dumps(architecture.to_json()))) == architecture


def test_every_width_is_free():
    """What compaction needs: any inner width of a block, without touching the module's code."""
    architecture = resnet.architecture("resnet18d", 0.125)
    first = architecture.stages[2][1]
    narrow = dataclasses.replace(first, convs=(dataclasses.replace(first.convs[0], features=3), first.convs[1]))
    stages = list(architecture.stages)
    stages[2] = (stages[2][0], narrow)
    module = resnet.ResNet(dataclasses.replace(architecture, stages=tuple(stages)))
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    assert shapes["layer3_1"]["conv1"]["kernel"].shape == (3, 3, 32, 3)
    assert shapes["layer3_1"]["conv2"]["kernel"].shape == (3, 3, 3, 32)


def test_mistakes_are_reported():
    with pytest.raises(UserError, match=r"'resnet34d'.*resnet18d, resnet50d, resnet101d"):
        backbone("resnet34d")
    with pytest.raises(UserError, match="width_multiplier is 0"):
        backbone("resnet18d", 0)
