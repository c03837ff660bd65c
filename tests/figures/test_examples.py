import itertools

import numpy as np
import pytest
from matplotlib.axes import Axes

from lim_jax.figures import examples
from tests.figures.inputs import ALL, CASES, make_panel
from tests.figures.legibility import assert_legible, drawn, texts


@pytest.mark.parametrize("case", CASES)
def test_panel_is_legible(case):
    names, _ = CASES[case]
    assert_legible(drawn(examples.prediction_panel, {name: ALL[name] for name in names}, *make_panel(names)))


@pytest.mark.parametrize("title", ["test image 46\nsegmentation loss 1.98", "test image 7\nwearing_necktie loss 0.001"])
def test_names_of_rows_do_not_run_into_each_other(title):
    names = ("segmentation", "depth", "normals")
    figure = drawn(
        examples.prediction_panel, {n: ALL[n] for n in names}, *make_panel(names, size=(64, 64)), [title] * 3
    )
    labels = [axes.yaxis.label for axes in figure.findobj(Axes) if axes.get_ylabel()]
    lines = sorted((box.y0, box.y1) for box in (label.get_window_extent() for label in labels))
    assert len(lines) == 3
    assert all(below[1] < above[0] for below, above in itertools.pairwise(lines))


def test_panel_shows_the_classes_that_occur_and_marks_wrong_answers():
    names = ("segmentation", "male", "smiling")
    batch, predictions = make_panel(names, examples=1)
    figure = drawn(examples.prediction_panel, {name: ALL[name] for name in names}, batch, predictions)
    shown = {text.get_text(): text.get_color() for text in texts(figure)}
    assert {"wall", "floor", "chair", "not labelled, no measurement"} <= set(shown)  # chair is only predicted
    assert shown["smiling: yes\n  predicted no (0.20)"] != "black"
    batch["targets"]["segmentation"] = np.zeros_like(batch["targets"]["segmentation"])
    figure = drawn(examples.prediction_panel, {name: ALL[name] for name in names}, batch, predictions)
    assert not any("labelled, no" in text.get_text() for text in texts(figure))
    (male,) = [color for text, color in shown.items() if text.startswith("male: not labelled")]
    assert male == "black"


def test_targets_come_with_legends_file_names_and_the_names_of_large_regions():
    names = ("segmentation", "depth")
    batch, _ = make_panel(names, examples=2)
    batch["targets"]["segmentation"][:, :, :32] = 1
    shown = {
        f"a_long_folder/photo_{i}.jpg": {
            "image": batch["image"][i],
            "targets": {n: batch["targets"][n][i] for n in names},
        }
        for i in range(2)
    }
    figure = drawn(examples.target_panel, {name: ALL[name] for name in names}, shown)
    assert_legible(figure)
    written = [text.get_text() for text in texts(figure)]
    assert written.count("floor") == 3  # on two pictures, and in the legend
    assert "a_long_folder/\nphoto_1.jpg" in written
    assert any(text.startswith("relative depth") for text in written)
