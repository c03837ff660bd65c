import pytest

from lim_jax.figures import examples
from tests.figures.inputs import ALL, CASES, make_panel
from tests.figures.legibility import assert_legible, drawn, texts


@pytest.mark.parametrize("case", CASES)
def test_panel_is_legible(case):
    names, _ = CASES[case]
    assert_legible(drawn(examples.prediction_panel, {name: ALL[name] for name in names}, *make_panel(names)))


def test_panel_shows_the_classes_that_occur_and_marks_wrong_answers():
    names = ("segmentation", "male", "smiling")
    batch, predictions = make_panel(names, examples=1)
    figure = drawn(examples.prediction_panel, {name: ALL[name] for name in names}, batch, predictions)
    shown = {text.get_text(): text.get_color() for text in texts(figure)}
    assert {"wall", "floor", "chair", "not labelled, no measurement"} <= set(shown)  # chair is only predicted
    assert shown["smiling: yes\n  predicted no (0.20)"] != "black"
    (male,) = [color for text, color in shown.items() if text.startswith("male: not labelled")]
    assert male == "black"
