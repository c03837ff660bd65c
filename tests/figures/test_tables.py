"""The results of a run as text."""

from lim_jax.figures import tables
from tests.figures.inputs import ALL

TASKS = {name: ALL[name] for name in ("depth", "smiling")}
FOUND = {"depth": {"mae": 0.123456, "rmse": 12345.6}, "smiling": {"accuracy": 0.5, "f1": None}}


def test_metrics():
    assert tables.metrics(TASKS, {"test": FOUND}).splitlines() == [
        "                       test",
        "depth mae            0.1235",
        "depth rmse        1.235e+04",
        "smiling accuracy        0.5",
        "smiling f1                -",
    ]


def test_results_name_their_columns_and_the_sparsity():
    content = {
        "test": FOUND,
        "test_constant": FOUND,
        "sparsity": {"group_percent": 12.34, "parameter_percent": 5.6},
        "best_epoch": 3,
        "epochs": 7,
    }
    lines = tables.results(content, TASKS).splitlines()
    assert lines[1].split() == ["test", "constant"]
    assert lines[-1] == ("12.3 % of the backbone's groups and 5.6 % of its convolution weights are zero (epoch 3 of 7)")
