"""`--config=folder:DIR`: sized by the data that lies there."""

import pytest

from lim_jax import config as config_lib
from lim_jax.config import reading
from lim_jax.errors import UserError
from tests.data import folder_trees


@pytest.mark.parametrize(("variant", "backbone", "epochs"), [("", "resnet18d", 500), (":gpu", "resnet50d", 500)])
def test_a_folder_decides_tasks_batch_and_epochs(tmp_path, variant, backbone, epochs):
    root = folder_trees.write(tmp_path / "my images")
    config = config_lib.checked(reading.read(f"folder:{root}{variant}"))
    assert config.tasks == tuple(folder_trees.TASKS)
    assert (config.model.backbone, config.num_epochs, config.batch_size) == (backbone, epochs, 4)
    assert config.model.image_head == "linear" and bool(config.early_stopping_patience) == bool(variant)
    assert config.dataset.source_dir == str(root) and config.sparsity.target == 0.5


def test_what_is_wrong_with_a_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"tasks\.yaml is missing"):
        reading.read(f"folder:{tmp_path}")
    assert reading.read("folder").num_epochs == 100
