import itertools
import json

import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from lim_jax import tasks
from lim_jax.data.specs import IGNORE, TargetSpec
from lim_jax.figures import report

ALL = {
    "segmentation": tasks.create(TargetSpec("segmentation", "segmentation", ("wall", "floor", "chair"))),
    "depth": tasks.create(TargetSpec("depth", "depth")),
    "normals": tasks.create(TargetSpec("normals", "normals")),
    "male": tasks.create(TargetSpec("male", "attribute")),
    "smiling": tasks.create(TargetSpec("smiling", "attribute")),
}
CASES = {
    "every kind of task": (tuple(ALL), 30),
    "the paper's three": (("segmentation", "depth", "normals"), 300),
    "one task, one epoch": (("depth",), 1),
    "only attributes": (("male", "smiling"), 3),
}


def make_history(names, epochs, validate_every=1):
    rng = np.random.default_rng(0)
    history = []
    for epoch in range(1, epochs + 1):
        decay = float(np.exp(-3 * epoch / epochs))
        record = {
            "epoch": epoch,
            "step": 10 * epoch,
            "train": {name: {"loss": 0.1 + decay} for name in names},
            "total": {"train": decay - 0.5},
            "sparsity": {
                "group_percent": 70 * (1 - decay),
                "parameter_percent": 80 * (1 - decay),
                "died": round(100 * decay),
                "revived": round(40 * decay),
            },
            "strength": 1e-5,
            "learning_rate": 1e-4,
            "network": {"parameters": 1000 - 500 * (epoch > epochs / 2), "channels": 100},
            "seconds": 1.5 + 3 * (epoch == 1),
            "compile_seconds": {"training": 3.0 * (epoch == 1), "evaluation": 0.0},
        }
        if epoch % validate_every == 0 or epoch == epochs:
            record["validation"] = {
                name: {"loss": 0.2 + decay, **{key: float(rng.uniform(0.2, 0.4)) for key in ALL[name].metric_info}}
                for name in names
            }
            record["total"]["validation"] = decay - 0.4
        history.append(record)
    return json.loads(json.dumps(history))


def make_layers(blocks, width=64):
    """The layers of a ResNet with bottlenecks, in the order of sorted names."""
    layers = {"backbone/stem_conv1": 3, "backbone/stem_conv2": width, "backbone/stem_conv3": width}
    channels = 2 * width
    for stage, number in enumerate(blocks, start=1):
        planes = width * 2 ** (stage - 1)
        for block in range(number):
            name = f"backbone/layer{stage}_{block}"
            layers |= {f"{name}/conv1": channels, f"{name}/conv2": planes, f"{name}/conv3": planes}
            if block == 0:
                layers[f"{name}/downsample"] = channels
            channels = 4 * planes
    rng = np.random.default_rng(0)
    return {
        name: {"groups": groups, "zero_groups": groups if rng.random() < 0.2 else int(groups * rng.random())}
        for name, groups in sorted(layers.items())
    }


def make_panel(names, examples=3, size=(48, 64)):
    rng = np.random.default_rng(0)
    normals = rng.standard_normal((examples, *size, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    targets = {
        "segmentation": rng.choice([0, 1, IGNORE], size=(examples, *size)).astype(np.uint8),
        "depth": rng.uniform(0, 5, (examples, *size)).astype(np.float32),
        "normals": normals,
        "male": np.arange(examples, dtype=np.int8) % 3 - 1,
        "smiling": np.ones(examples, np.int8),
    }
    predictions = {
        "segmentation": rng.choice([0, 2], size=(examples, *size)).astype(np.uint8),
        "depth": rng.uniform(0.1, 1, (examples, *size)).astype(np.float32),
        "normals": normals[::-1],
        "male": rng.uniform(0, 1, examples).astype(np.float32),
        "smiling": np.full(examples, 0.2, np.float32),
    }
    batch = {
        "image": rng.integers(0, 256, (examples, *size, 3)).astype(np.uint8),
        "targets": {name: targets[name] for name in names},
    }
    return batch, {name: predictions[name] for name in names}


def drawn(draw, *arguments):
    """Draws a figure in the report's style and lays it out."""
    with matplotlib.rc_context(report._STYLE):
        figure = draw(*arguments)
        figure.draw_without_rendering()
    return figure


def texts(figure):
    """All texts that a reader sees."""
    hidden = [label for axes in figure.axes for label in _labels_beyond_limits(axes)]
    return [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in hidden]


def _labels_beyond_limits(axes):
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high:
                yield from (tick.label1, tick.label2)


def assert_legible(figure):
    """Every text is at least 7 points high and inside the figure, which fits a page."""
    assert 3.3 <= figure.get_figwidth() <= report.WIDTH + 1e-6
    for text in texts(figure):
        box = text.get_window_extent()
        outside = max(-box.x0, -box.y0, box.x1 - figure.bbox.width, box.y1 - figure.bbox.height)
        assert text.get_fontsize() >= 7 and outside <= 2, (text, box)  # pixels of 1/200 inch


@pytest.mark.parametrize("case", CASES)
def test_files(case, tmp_path):
    names, epochs = CASES[case]
    batch, predictions = make_panel(names)
    directory = tmp_path / "workdir" / "report"
    files = report.write_report(
        directory,
        tasks={name: ALL[name] for name in names},
        history=make_history(names, epochs),
        layers=make_layers((1, 2)),
        batch=batch,
        predictions=predictions,
    )
    assert sorted(file.name for file in files) == [
        "groups.png",
        "losses.png",
        "metrics.png",
        "predictions.png",
        "sparsity.png",
        "speed.png",
    ]
    for file in files:
        picture = cv2.imread(str(file))
        assert picture.shape[1] <= 1400 and picture.std() > 5


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("draw", [report.loss_curves, report.metric_curves])
def test_curves_are_legible(case, draw):
    names, epochs = CASES[case]
    figure = drawn(draw, {name: ALL[name] for name in names}, make_history(names, epochs))
    assert_legible(figure)
    for axes in figure.axes:
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert axes.get_xlabel() == "epoch" and axes.get_ylabel() and all("." not in tick for tick in ticks)


@pytest.mark.parametrize("case", CASES)
def test_panel_is_legible(case):
    names, _ = CASES[case]
    assert_legible(drawn(report.prediction_panel, {name: ALL[name] for name in names}, *make_panel(names)))


def test_best_epoch_is_that_of_the_lowest_validation_loss():
    history = make_history(("depth",), 10, validate_every=2)
    history[3]["validation"]["depth"].update(loss=0.01, mae=0.123)
    losses = drawn(report.loss_curves, {"depth": ALL["depth"]}, history)
    assert losses.axes[0].get_title(loc="left") == "depth: lowest 0.01 in epoch 4"
    validation = next(line for line in losses.axes[0].lines if line.get_label() == "validation")
    np.testing.assert_array_equal(validation.get_xdata(), [2, 4, 6, 8, 10])
    metrics = drawn(report.metric_curves, {"depth": ALL["depth"]}, history)
    legend = [text.get_text() for text in metrics.axes[0].get_legend().get_texts()]
    assert legend[0] == "MAE\n0.123" and legend[-1] == "lowest loss,\nepoch 4"


def test_what_is_undefined_is_left_out():
    history = make_history(("depth",), 5)
    for record in history:
        record["validation"]["depth"] = {"loss": None, "mae": None, "rmse": None}
    figure = drawn(report.metric_curves, {"depth": ALL["depth"]}, history)
    assert all(len(line.get_xdata()) == 0 for line in figure.axes[0].lines)
    assert_legible(drawn(report.loss_curves, {"depth": ALL["depth"]}, history))


def test_a_run_without_validation_has_curves():
    history = [{key: value for key, value in record.items() if key != "validation"} for record in make_history((), 5)]
    for record in history:
        record["total"] = {"train": 1.0}
        record["train"] = {"depth": {"loss": 0.1}}
    assert_legible(drawn(report.loss_curves, {"depth": ALL["depth"]}, history))
    assert_legible(drawn(report.metric_curves, {"depth": ALL["depth"]}, history))


@pytest.mark.parametrize(("epochs", "panels"), [(1, 1), (2, 2), (300, 2)])
def test_speed(epochs, panels):
    """The first epoch compiles; the second half of the epochs trains a smaller network."""
    figure = drawn(report.speed_curves, make_history(("depth",), epochs))
    assert_legible(figure)
    assert len(figure.axes) == panels
    steps, compiling = figure.axes[0].containers
    assert [bar.get_height() for bar in steps] == [1.5] * epochs
    assert [bar.get_height() for bar in compiling] == [3.0] + [0.0] * (epochs - 1)


@pytest.mark.parametrize("changing", [False, True])
def test_sparsity(changing):
    history = make_history(("depth",), 20)
    for record in history:
        record["strength"] *= record["epoch"] if changing else 1
    figure = drawn(report.sparsity_curves, history)
    assert_legible(figure)
    assert len(figure.axes) == 2 + changing
    for line, key in zip(figure.axes[1].lines, ("died", "revived"), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), [record["sparsity"][key] for record in history])
    groups, parameters = (line.get_ydata() for line in figure.axes[0].lines)
    np.testing.assert_allclose(groups, [record["sparsity"]["group_percent"] for record in history])
    np.testing.assert_allclose(parameters, [record["sparsity"]["parameter_percent"] for record in history])
    assert any("λ" in text.get_text() for text in texts(figure))


@pytest.mark.parametrize("blocks", [(1,), (3, 4, 6, 3), (3, 4, 23, 3)])
def test_groups(blocks):
    layers = make_layers(blocks)
    figure = drawn(report.groups_per_layer, layers)
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
    figure = drawn(report.compaction_panel, content)
    assert_legible(figure)
    channels, *_, latency = figure.axes
    assert [label.get_text() for label in channels.get_yticklabels()] == [
        name.removeprefix("backbone/") for name in names
    ]
    dense, compact = channels.containers
    assert [bar.get_width() for bar in dense] == [8 * i for i in range(1, len(names) + 1)]
    assert [bar.get_width() for bar in compact] == [3 * i for i in range(1, len(names) + 1)]
    assert [bar.get_width() for bars in latency.containers for bar in bars] == [2.0, 1.5, 1.0, 0.5]


def test_panel_shows_the_classes_that_occur_and_marks_wrong_answers():
    names = ("segmentation", "male", "smiling")
    batch, predictions = make_panel(names, examples=1)
    figure = drawn(report.prediction_panel, {name: ALL[name] for name in names}, batch, predictions)
    shown = {text.get_text(): text.get_color() for text in texts(figure)}
    assert {"wall", "floor", "chair", "not labelled, no measurement"} <= set(shown)  # chair is only predicted
    assert shown["smiling: yes\n  predicted no (0.20)"] != "black"
    (male,) = [color for text, color in shown.items() if text.startswith("male: not labelled")]
    assert male == "black"
