"""The report of a run, drawn from outside."""

import pytest

from lim_jax import report
from lim_jax.errors import UserError
from lim_jax.training import loop
from tests.training.tiny import tiny_config


@pytest.mark.slow
def test_any_run_has_a_report(data_dir, tmp_path):
    config = tiny_config(data_dir)
    config.tasks = ("segmentation", "depth")
    config.num_epochs = 1
    loop.train_and_evaluate(config, tmp_path / "run")
    files = report.write(tmp_path / "run", tmp_path / "figures", worst=2, data_dir=None)
    names = {path.stem for path in files}
    assert names >= {"metrics", "predictions", "confusion_segmentation", "worst_segmentation", "worst_depth"}
    assert all(path.stat().st_size > 1000 for path in files)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file"):
        report.write(tmp_path / "run", tmp_path / "file", worst=2, data_dir=None)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        report.write(tmp_path, tmp_path / "figures", worst=2, data_dir=None)
