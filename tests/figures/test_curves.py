import numpy as np
import pytest

from lim_jax.figures import curves
from tests.figures.inputs import ALL, CASES, make_history
from tests.figures.legibility import assert_legible, drawn, texts


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("draw", [curves.loss_curves, curves.metric_curves])
def test_curves_are_legible(case, draw):
    names, epochs = CASES[case]
    figure = drawn(draw, {name: ALL[name] for name in names}, make_history(names, epochs))
    assert_legible(figure)
    for axes in figure.axes:
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert axes.get_xlabel() == "epoch" and axes.get_ylabel() and all("." not in tick for tick in ticks)


def test_best_epoch_is_that_of_the_lowest_validation_loss():
    history = make_history(("depth",), 10, validate_every=2)
    history[3]["validation"]["depth"].update(loss=0.01, mae=0.123)
    losses = drawn(curves.loss_curves, {"depth": ALL["depth"]}, history)
    assert losses.axes[0].get_title(loc="left") == "depth: lowest 0.01 in epoch 4"
    validation = next(line for line in losses.axes[0].lines if line.get_label() == "validation")
    np.testing.assert_array_equal(validation.get_xdata(), [2, 4, 6, 8, 10])
    metrics = drawn(curves.metric_curves, {"depth": ALL["depth"]}, history)
    legend = [text.get_text() for text in metrics.axes[0].get_legend().get_texts()]
    assert legend[0] == "MAE\n0.123" and legend[-1] == "lowest loss,\nepoch 4"


@pytest.mark.parametrize(
    ("lowest", "spike", "scale"), [(-0.5, 2e5, "symlog"), (-0.5, 2.0, "linear"), (0.1, 2e5, "log")]
)
def test_a_spike_does_not_hide_the_other_epochs(lowest, spike, scale):
    history = make_history(("depth",), 12)
    for index, record in enumerate(history):
        record["total"] = {"train": lowest + 0.1 * index, "validation": spike if index == 7 else 0.5}
    figure = drawn(curves.loss_curves, {"depth": ALL["depth"]}, history)
    total = figure.axes[-1]
    assert total.get_yscale() == scale
    height = np.ptp(total.transAxes.inverted().transform(total.transData.transform([[1, 0.0], [1, 0.5]]))[:, 1])
    assert height > 0.05 or scale == "log"
    assert_legible(figure)


def test_what_is_undefined_is_left_out():
    history = make_history(("depth",), 5)
    for record in history:
        record["validation"]["depth"] = {"loss": None, "mae": None, "rmse": None}
    figure = drawn(curves.metric_curves, {"depth": ALL["depth"]}, history)
    assert all(len(line.get_xdata()) == 0 for line in figure.axes[0].lines)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "MAE\nundefined",
        "RMSE\nundefined",
    ]
    low, high = figure.axes[0].get_xlim()
    assert low <= 1 and high >= 5
    assert_legible(drawn(curves.loss_curves, {"depth": ALL["depth"]}, history))


def test_a_run_without_validation_has_curves():
    history = [{key: value for key, value in record.items() if key != "validation"} for record in make_history((), 5)]
    for record in history:
        record["total"] = {"train": 1.0}
        record["train"] = {"depth": {"loss": 0.1}}
    assert_legible(drawn(curves.loss_curves, {"depth": ALL["depth"]}, history))
    assert_legible(drawn(curves.metric_curves, {"depth": ALL["depth"]}, history))


@pytest.mark.parametrize(("epochs", "panels"), [(1, 1), (2, 2), (300, 2)])
def test_speed(epochs, panels):
    """The first epoch compiles both; the second half of the epochs trains a smaller network. Older runs know less."""
    history = make_history(("depth",), epochs)
    figure = drawn(curves.speed_curves, history)
    assert_legible(figure)
    assert len(figure.axes) == panels
    heights = [[bar.get_height() for bar in bars] for bars in figure.axes[0].containers]
    assert heights == [[1.5] * epochs, [0.5] * epochs, [5.0] + [0.0] * (epochs - 1)]
    older = [{key: value for key, value in record.items() if key != "seconds_after_steps"} for record in history]
    heights = [[bar.get_height() for bar in bars] for bars in drawn(curves.speed_curves, older).axes[0].containers]
    assert heights == [[1.5] * epochs, [0.0] * epochs, [5.0] + [0.0] * (epochs - 1)]


@pytest.mark.parametrize("changing", [False, True])
def test_sparsity(changing):
    history = make_history(("depth",), 20)
    for record in history:
        record["strength"] *= record["epoch"] if changing else 1
    figure = drawn(curves.sparsity_curves, history)
    assert_legible(figure)
    assert len(figure.axes) == 2 + changing
    for line, key in zip(figure.axes[1].lines, ("died", "revived"), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), [record["sparsity"][key] for record in history])
    counts = figure.axes[1].get_yticks()
    np.testing.assert_array_equal(counts, np.round(counts))
    groups, parameters = (line.get_ydata() for line in figure.axes[0].lines)
    np.testing.assert_allclose(groups, [record["sparsity"]["group_percent"] for record in history])
    np.testing.assert_allclose(parameters, [record["sparsity"]["parameter_percent"] for record in history])
    assert any("λ" in text.get_text() for text in texts(figure))
