"""Confusion matrices can be read, whatever the number of classes."""

import itertools

import numpy as np
import pytest

from lim_jax.figures import confusion
from tests.figures.legibility import assert_legible, drawn, texts


def details(classes, absent=()):
    counts = np.eye(classes, dtype=int) * 5
    counts[0, -1] = 3
    counts[:, list(absent)] = counts[list(absent)] = 0
    names = [f"otherfurniture{index}" for index in range(classes)]
    scores = {name: None if index in absent else 0.25 for index, name in enumerate(names)}
    return {"class_iou": scores, "confusion": counts.tolist()}


@pytest.mark.parametrize("classes", [2, 13, 40, 150])
def test_every_class_has_a_row_with_its_name_at_a_legible_size(classes):
    figure = drawn(confusion.confusion_matrix, "segmentation", details(classes))
    assert_legible(figure)
    rows, columns = (
        [label for label in labels if label.get_text()]
        for labels in (figure.axes[0].get_yticklabels(), figure.axes[0].get_xticklabels())
    )
    assert [row.get_text() for row in rows] == [f"otherfurniture{index}  {index}" for index in range(classes)]
    for labels, side in ((rows, "y"), (columns, "x")):
        boxes = [label.get_window_extent() for label in labels]
        ends = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
        assert all(first[1] <= second[0] + 2 for first, second in itertools.pairwise(ends))  # pixels


def test_classes_that_do_not_occur_are_left_out_and_the_others_keep_their_numbers():
    shown = {text.get_text() for text in texts(drawn(confusion.confusion_matrix, "objects", details(5, absent=(1, 3))))}
    assert {"otherfurniture0  0", "otherfurniture2  2", "otherfurniture4  4", "0", "2", "4", "62", "38"} <= shown
    assert not any("furniture1" in text or "furniture3" in text for text in shown)
    nothing = {text.get_text() for text in texts(drawn(confusion.confusion_matrix, "objects", details(3, (0, 1, 2))))}
    assert {"otherfurniture1  1", "none"} <= nothing
