"""Δm against numbers computed by hand."""

import pytest

from lim_jax.tasks.gain import delta_m

SIGNS = {"segmentation": {"miou": True, "pixel_accuracy": True}, "depth": {"rmse": False}}
BASE = {"segmentation": {"miou": 0.4, "pixel_accuracy": 0.5}, "depth": {"rmse": 0.8}}


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (BASE, 0.0),
        # (+10 % + -20 %) / 2 = -5 %; depth a quarter smaller: +25 %; the mean of both.
        ({"segmentation": {"miou": 0.44, "pixel_accuracy": 0.4}, "depth": {"rmse": 0.6}}, 10.0),
        ({"segmentation": {"miou": 0.44}, "depth": {"rmse": 0.8}}, 5.0),
        ({"segmentation": {"miou": None, "pixel_accuracy": 0.6}, "depth": {"rmse": 1.0}}, -2.5),
        ({"depth": {"rmse": 0.6}}, 25.0),
        ({"normals": {"angle_mean": 20.0}}, None),
        ({}, None),
    ],
)
def test_by_hand(results, expected):
    found = delta_m(results, BASE, SIGNS)
    assert found == (None if expected is None else pytest.approx(expected))


def test_published_numbers():
    """LibMTL's table: uncertainty weighting beside equal weights, three of its metrics."""
    signs = {"segmentation": {"miou": True}, "depth": {"abs_err": False}, "normals": {"angle_mean": False}}
    equal, weighted = (
        {"segmentation": {"miou": a}, "depth": {"abs_err": b}, "normals": {"angle_mean": c}}
        for a, b, c in ((54.10, 0.3771, 23.53), (54.02, 0.3838, 23.45))
    )
    by_hand = 100 / 3 * ((54.02 - 54.10) / 54.10 - (0.3838 - 0.3771) / 0.3771 - (23.45 - 23.53) / 23.53)
    assert delta_m(weighted, equal, signs) == pytest.approx(by_hand)
    assert by_hand == pytest.approx(-0.528, abs=1e-3)


def test_a_baseline_below_zero_or_zero():
    signs = {"task": {"score": True}}
    assert delta_m({"task": {"score": -1.0}}, {"task": {"score": -2.0}}, signs) == pytest.approx(50)
    assert delta_m({"task": {"score": 1.0}}, {"task": {"score": 0.0}}, signs) is None
