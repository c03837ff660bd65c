"""Compact networks compute what dense ones do, whatever is zero, and nothing removable is left in them."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

from lim_jax import compaction, models
from lim_jax.models import resnet
from tests.compaction.networks import (
    SIZE,
    compiled,
    make_model,
    random_images,
    random_variables,
    run,
    shapes,
    with_zero_groups,
)

pytestmark = pytest.mark.slow

ANY = (0.0, 0.3, 0.6, 0.9, 1.0)
STEM = {"stem_conv1": (0.0,), "stem": (0.3,)}
PATTERNS = {
    "some": {**STEM, "downsample": (0.0, 0.5), "backbone": (0.2, 0.5, 0.8)},
    "most": {**STEM, "downsample": (0.5, 0.8), "backbone": (0.5, 0.8, 0.95), "heads": (0.5,)},
    "any": {**STEM, "downsample": (0.0, 0.7), "backbone": ANY},
    "any everywhere": {"backbone": ANY, "heads": ANY},
    "dead branches": {**STEM, "/conv2": (1.0,), "backbone": (0.3,)},
    "dead first convolutions": {**STEM, "/conv1": (1.0,), "backbone": (0.3,)},
    "dead stage": {"layer2": (1.0,), "downsample": (0.2,), "backbone": (0.5,)},
    "constant, then live again": {**STEM, "layer1_0": (1.0,), "layer2_0": (1.0,), "backbone": (0.2,)},
    "dead stem": {"stem_conv2": (1.0,), "backbone": (0.3,)},
    "everything": {"backbone": (1.0,), "heads": (1.0,)},
}
DEPENDS_ON_THE_IMAGE = ("some", "most", "any", "dead branches", "dead first convolutions")
CASES = [
    *[("resnet18d", pattern) for pattern in PATTERNS],
    *[("resnet50d", pattern) for pattern in ("any", "any everywhere", "dead branches")],
    ("resnet101d", "most"),
    *[("resnet18", pattern) for pattern in ("any", "any everywhere", "constant, then live again", "everything")],
    ("resnet50", "any"),
]


def sparse_network(backbone, pattern, seed=0):
    rng = np.random.default_rng([seed, list(PATTERNS).index(pattern)])
    model = make_model(backbone, skip=True)
    return model, with_zero_groups(random_variables(model, rng), rng, PATTERNS[pattern]), random_images(rng)


@functools.cache
def dense(backbone):
    """One compilation for all networks with that backbone."""
    model = make_model(backbone, skip=True)
    return compiled(model, random_variables(model, np.random.default_rng(0)), np.zeros((2, *SIZE, 3), np.float32))


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for task in expected:
        largest = np.max(np.abs(expected[task]))
        np.testing.assert_allclose(actual[task], expected[task], rtol=0, atol=1e-5 * largest, err_msg=task)


@pytest.mark.parametrize(("backbone", "pattern"), CASES)
def test_compact_equals_dense(backbone, pattern):
    model, variables, images = sparse_network(backbone, pattern)
    compacted = compaction.compact(model, variables)
    restored = models.from_json(json.loads(json.dumps(models.to_json(compacted.model))))
    wanted = jax.eval_shape(restored.init, jax.random.key(0), images)
    assert shapes(compacted.variables) == shapes(wanted)
    assert all(0 not in shape for shape in shapes(wanted).values())
    expected = dense(backbone)(variables, images)
    if pattern in DEPENDS_ON_THE_IMAGE:
        assert np.max(np.abs(expected["depth"][0] - expected["depth"][1])) > 1e-4
    assert_same(run(restored, compacted.variables, images), expected)
    again = compaction.compact(compacted.model, compacted.variables)
    assert again.model == compacted.model
    assert shapes(again.variables) == shapes(compacted.variables)


@pytest.mark.parametrize("pattern", ["any everywhere", "constant, then live again", "dead stage", "everything"])
def test_linear_heads_are_cut_as_others_are(pattern):
    """One reads all features, of which the other's weights are zero but for three."""
    backbone = models.backbone("resnet10d", 0.05)
    model = models.MultiTaskModel(backbone, {"age": models.head("linear", 1), "weather": models.head("linear", 4)})
    rng = np.random.default_rng(5)
    variables = with_zero_groups(random_variables(model, rng), rng, PATTERNS[pattern])
    variables["params"]["heads_age"]["conv"]["kernel"][:, :, 3:] = 0
    images = random_images(rng)
    compacted = compaction.compact(model, variables)
    assert_same(run(compacted.model, compacted.variables, images), run(model, variables, images))
    left = compacted.variables["params"]["heads_age"]["conv"].get("kernel", np.zeros((1, 1, 0, 1)))
    assert left.shape[2] <= 3
    again = compaction.compact(compacted.model, compacted.variables)
    assert again.model == compacted.model


def random_widths(architecture, rng):
    """The same backbone with any widths, 1 included; along a stage all blocks emit as many channels."""

    def block(spec, emitted):
        widths = [*rng.integers(1, 12, len(spec.convs) - 1).tolist(), emitted]
        convs = tuple(dataclasses.replace(conv, features=n) for conv, n in zip(spec.convs, widths, strict=True))
        return dataclasses.replace(spec, convs=convs)

    stem = tuple(dataclasses.replace(conv, features=int(rng.integers(1, 12))) for conv in architecture.stem)
    emitted = rng.integers(4, 20, len(architecture.stages)).tolist()
    if not architecture.stages[0][0].downsample:
        emitted[0] = stem[-1].features
    stages = zip(architecture.stages, emitted, strict=True)
    return resnet.Architecture(stem, tuple(tuple(block(spec, n) for spec in blocks) for blocks, n in stages))


@pytest.mark.parametrize(
    ("backbone", "seed", "round_to"), [("resnet18d", 1, 3), ("resnet50d", 2, 1), ("resnet18", 3, 4)]
)
def test_any_widths_and_sizes_and_compacted_before(backbone, seed, round_to):
    """Dense to compact, and from there on after more groups became zero, as when a run shrinks."""
    rng = np.random.default_rng(seed)
    model = make_model(backbone, skip=True)
    narrow = model.backbone.clone(architecture=random_widths(model.backbone.architecture, rng))
    model = models.MultiTaskModel(narrow, model.heads)
    images = random_images(rng, tuple(rng.integers(17, 70, 2).tolist()))
    shares = {"stem": (0.0, 0.3), "downsample": (0.0, 0.5), "backbone": (0.0, 0.2, 0.5, 1.0), "heads": (0.2,)}
    variables = with_zero_groups(random_variables(model, rng), rng, shares)
    call = compiled(model, variables, images)
    for _ in range(2):
        expected = call(variables, images)
        compacted = compaction.compact(model, variables, round_to)
        wanted = jax.eval_shape(compacted.model.init, jax.random.key(0), images)
        assert shapes(compacted.variables) == shapes(wanted)
        call = compiled(compacted.model, compacted.variables, images)
        assert_same(call(compacted.variables, images), expected)
        model = compacted.model
        variables = with_zero_groups(compacted.variables, rng, {"stem": (0.0,), "backbone": (0.0, 0.3)})


@pytest.mark.parametrize("round_to", [1, 4])
@pytest.mark.parametrize("backbone", resnet.BACKBONES)
def test_nothing_to_remove_is_left(backbone, round_to):
    """Many patterns, without running the networks."""
    model = make_model(backbone)
    dense_variables = random_variables(model, np.random.default_rng(0))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shares = PATTERNS[("some", "any", "any everywhere")[seed % 3]]
        compacted = compaction.compact(model, with_zero_groups(dense_variables, rng, shares), round_to)
        again = compaction.compact(compacted.model, compacted.variables, round_to)
        assert again.model == compacted.model
        assert shapes(again.variables) == shapes(compacted.variables)


@pytest.mark.parametrize("pattern", ["some", "dead first convolutions"])
def test_folded_batch_norm(pattern):
    model, variables, images = sparse_network("resnet18d", pattern)
    compacted = compaction.compact(model, variables)
    folded, weights = compaction.fold_batch_norm(compacted.model, compacted.variables)
    assert models.from_json(json.loads(json.dumps(models.to_json(folded)))) == folded
    assert shapes(weights) == shapes(jax.eval_shape(folded.init, jax.random.key(0), images))
    assert "bn" not in str(shapes(weights))
    assert_same(run(folded, weights, images), dense("resnet18d")(variables, images))


def test_widths_are_rounded_up():
    model, variables, images = sparse_network("resnet18d", "any")
    compacted = compaction.compact(model, variables, round_to=4)
    shapes_before, shapes_after = shapes(variables["params"]), shapes(compacted.variables["params"])
    assert shapes_after != shapes_before
    for path, shape in shapes_after.items():
        if "constant_kernel" in path:  # on the one channel of ones
            continue
        assert all(n % 4 == 0 or n == whole for n, whole in zip(shape, shapes_before[path], strict=True)), path
    wanted = jax.eval_shape(compacted.model.init, jax.random.key(0), images)
    assert shapes(compacted.variables) == shapes(wanted)
    assert_same(run(compacted.model, compacted.variables, images), dense("resnet18d")(variables, images))


def test_a_stage_narrows_and_its_blocks_read_less_than_passes():
    model = make_model("resnet50d")
    variables = random_variables(model, np.random.default_rng(0))
    kernels = {
        name: np.array(variables["params"]["backbone"][name]["conv1"]["kernel"]) for name in ("layer1_2", "layer2_0")
    }
    downsample = np.array(variables["params"]["backbone"]["layer2_0"]["downsample"]["kernel"])
    for kernel in (*kernels.values(), downsample):
        kernel[:, :, :] = 0
    kernels["layer2_0"][0, 0, [3, 30], :] = 1
    downsample[0, 0, [5], :] = 1
    kernels["layer1_2"][0, 0, [3, 7], :] = 1
    for name, kernel in kernels.items():
        variables["params"]["backbone"][name]["conv1"]["kernel"] = kernel
    variables["params"]["backbone"]["layer2_0"]["downsample"]["kernel"] = downsample
    compacted = compaction.compact(model, variables)
    assert compacted.surviving["layer1_2"].tolist() == [3, 5, 30]
    assert set(compacted.surviving["layer1_1"]) == {3, 5, 7, 30}
    assert compacted.surviving["layer1_0"][:4].tolist() == compacted.surviving["layer1_1"].tolist()
    readers = compacted.liveness.channels["layer1_1"].readers
    assert {name: np.flatnonzero(read).tolist() for name, read in readers.items()} == {
        "layer1_2/conv1": [3, 7],
        "identity": [3, 5, 30],
    }
    (block,) = (compacted.model.backbone.architecture.stages[0][2],)
    assert block.features == 3
    assert len(block.convs[0].inputs) == 2


def test_features_that_no_head_reads_leave_and_heads_read_what_they_need():
    model = make_model("resnet18d")
    rng = np.random.default_rng(0)
    variables, images = random_variables(model, rng), random_images(rng)
    shared, own = np.arange(0, 26, 2), np.arange(1, 26, 4)  # channels that no head, or only depth, reads
    for task, unread in (("heads_depth", shared), ("heads_smiling", np.union1d(shared, own))):
        for name, layer in variables["params"][task].items():
            if name == "conv" or name.startswith("aspp"):
                layer["kernel"][:, :, unread] = 0
    compacted = compaction.compact(model, variables)
    assert compacted.model.backbone.architecture.stages[-1][-1].features == 13
    assert compacted.model.heads["depth"].inputs is None
    assert len(compacted.model.heads["smiling"].inputs) == 13 - len(own)
    assert_same(run(compacted.model, compacted.variables, images), run(model, variables, images))


def test_moments_are_cut_as_parameters_are():
    model, variables, _ = sparse_network("resnet18d", "any")
    compacted = compaction.compact(model, variables)
    moments = compaction.take(jax.tree.map(np.square, variables["params"]), compacted.cuts)
    assert shapes(moments) == shapes(compacted.variables["params"])
    for path, cut in compacted.cuts.items():
        if len(cut.rows) and len(cut.columns):
            _, *names = path.split("/")
            whole, part = variables["params"][path.split("/")[0]], moments[path.split("/")[0]]
            for name in names:
                whole, part = whole[name], part[name]
            expected = np.square(whole["kernel"][:, :, cut.rows][..., cut.columns])
            np.testing.assert_array_equal(part["kernel"], expected)
