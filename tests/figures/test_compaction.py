import itertools

import pytest

from lim_jax.figures import compaction
from tests.figures.inputs import make_layers
from tests.figures.legibility import assert_legible, drawn


@pytest.mark.parametrize("blocks", [(1,), (3, 4, 6, 3), (3, 4, 23, 3)])
def test_groups(blocks):
    layers = make_layers(blocks)
    figure = drawn(compaction.groups_per_layer, layers)
    assert_legible(figure)
    labels = [label for axes in figure.axes for label in axes.get_xticklabels()]
    names = [label.get_text() for label in labels]
    assert sorted(f"backbone/{name}" for name in names) == sorted(layers)
    assert names[:4] == ["stem_conv1", "stem_conv2", "stem_conv3", "layer1_0/conv1"]
    assert [name for name in names if name.endswith("conv1")][1:] == [
        f"layer{stage}_{block}/conv1" for stage, number in enumerate(blocks, start=1) for block in range(number)
    ]
    for axes in figure.axes:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert all(left.x1 <= right.x0 + 2 for left, right in itertools.pairwise(boxes))
        most = max(layers[name]["groups"] for name in layers)
        assert axes.get_yticks()[-1] == axes.get_ylim()[1] == most
        total, live = axes.containers
        for label, before, after in zip(axes.get_xticklabels(), total, live, strict=True):
            counts = layers[f"backbone/{label.get_text()}"]
            assert before.get_height() == counts["groups"]
            assert after.get_height() == counts["groups"] - counts["zero_groups"]


@pytest.mark.parametrize("blocks", [(1,), (3, 4, 23, 3)])
def test_compaction(blocks):
    names = list(make_layers(blocks))
    count = {"dense": 1_200_000, "compact": 700_000}
    content = {
        "layers": {
            name: {"inputs": {"dense": 8 * i, "compact": 3 * i}, "parameters": count, "macs": count}
            for i, name in enumerate(names, start=1)
        },
        "latency_ms": {"dense": 2.0, "batch_1": {"dense": 2.0, "compact": 1.0}},
        "backbone_latency_ms": {"dense": 2.0, "batch_1": {"dense": 1.5, "compact": 0.5}},
    }
    figure = drawn(compaction.compaction_panel, content)
    assert_legible(figure)
    channels, *_, latency = figure.axes
    assert [label.get_text() for label in channels.get_yticklabels()] == [
        name.removeprefix("backbone/") for name in names
    ]
    dense, compact = channels.containers
    assert [bar.get_width() for bar in dense] == [8 * i for i in range(1, len(names) + 1)]
    assert [bar.get_width() for bar in compact] == [3 * i for i in range(1, len(names) + 1)]
    assert [bar.get_width() for bars in latency.containers for bar in bars] == [2.0, 1.5, 1.0, 0.5]
