"""Predictions tile by tile are `Task.predict`'s, wherever the loss is."""

import numpy as np
import pytest

from lim_jax.prediction.predictor import Input
from lim_jax.prediction.upsampling import Upsampler
from tests.tasks import examples


@pytest.mark.parametrize(("resolution", "stride"), [("features", 8), ("features", 4), ("image", 8), ("image", 4)])
@pytest.mark.parametrize("size", [(72, 104), (75, 301)])
def test_the_tiles_of_an_image_are_its_prediction(resolution, stride, size):
    tasks, logits, settings = {}, {}, {"loss_resolution": resolution, "output_stride": stride}
    for kind in ("depth", "normals", "segmentation"):
        tasks[kind], logits[kind], _ = examples.random_case(kind, batch=2, size=size, **settings)
    maps = {kind: task.interpolated(logits[kind]) for kind, task in tasks.items()}
    rows, columns = Input(np.zeros((*size, 3), np.uint8), size).positions(resolution == "image", stride)
    found = Upsampler(tasks)(maps, 1, rows, columns)
    for kind, task in tasks.items():
        wrong = np.abs(task.predict(logits[kind], size)[1] - found[kind]) > 1e-5
        assert np.mean(wrong) < (1e-3 if kind == "segmentation" else 1e-9), kind  # of equal classes rounding decides
