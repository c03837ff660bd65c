import cv2
import pytest

from lim_jax.figures import report
from tests.figures.inputs import ALL, CASES, make_history, make_layers, make_panel

DETAILS = {
    "class_iou": {"wall": 0.8, "floor": 0.4, "chair": None},
    "confusion": [[90, 10, 0], [30, 50, 0], [0, 0, 0]],
}


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
        details={name: DETAILS for name in names if name == "segmentation"},
    )
    assert sorted(file.name for file in files) == [
        *(["confusion_segmentation.png"] if "segmentation" in names else []),
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
