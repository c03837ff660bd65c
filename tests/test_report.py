"""The report of a run, drawn from outside."""

import numpy as np
import pytest

from lim_jax import report
from lim_jax.errors import UserError
from lim_jax.figures import classes
from lim_jax.training import loop
from tests.figures.legibility import assert_legible, drawn, texts
from tests.training.tiny import tiny_config

CONFUSION = np.array([[6, 2, 0], [1, 11, 0], [0, 0, 0]])


def test_iou_per_class_and_what_it_is_taken_for():
    """Worked by hand: 6 / 9 and 11 / 14; the third class does not occur."""
    figure = drawn(classes.class_scores, CONFUSION, ("wall", "floor", "lamp"))
    assert_legible(figure)
    written = [text.get_text() for text in texts(figure)]
    assert "0.79 (60 % of pixels)" in written and "0.67 (40 % of pixels)" in written and "lamp" not in written
    figure = drawn(classes.confusion_matrix, CONFUSION, ("wall", "floor", "lamp"))
    assert_legible(figure)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[11 / 12, 1 / 12], [0.25, 0.75]])


@pytest.mark.slow
def test_any_run_has_a_report(data_dir, tmp_path):
    config = tiny_config(data_dir)
    config.tasks = ("segmentation", "depth")
    config.num_epochs = 1
    loop.train_and_evaluate(config, tmp_path / "run")
    files = report.write(tmp_path / "run", tmp_path / "figures", worst=2, data_dir=None)
    names = {path.stem for path in files}
    assert names >= {"metrics", "predictions", "classes_segmentation", "confusion_segmentation", "worst_depth"}
    assert all(path.stat().st_size > 1000 for path in files)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        report.write(tmp_path, tmp_path / "figures", worst=2, data_dir=None)
