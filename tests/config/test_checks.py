"""Wrong configurations: all mistakes are said at once, by key and with what to do, and leave nothing behind."""

import importlib
import types

import pytest

from configs import celeba, common, nyu, nyu_libmtl, nyud_mt, rooms
from lim_jax import config as config_lib
from lim_jax.config.rules import RULES
from lim_jax.errors import UserError
from lim_jax.training import loop


@pytest.mark.parametrize(
    ("name", "variant", "strength"),
    [
        ("rooms", "", 2e-3),
        ("nyu", "", 1e-5),
        ("nyu", "dense", 0),
        ("nyu", "as_published", 1e-5),
        ("celeba", "", 1e-5),
        ("celeba", "dense", 0),
        ("celeba", "as_published", 1e-5),
        ("nyu_libmtl", "", 0),
        ("nyu_libmtl", "augmented", 0),
        ("nyud_mt", "", 0),
        ("common", None, 0),
    ],
)
def test_shipped_configurations_are_valid(name, variant, strength):
    get_config = importlib.import_module(f"configs.{name}").get_config
    config = config_lib.checked(get_config() if variant is None else get_config(variant))
    assert config.sparsity.strength == strength
    assert config.published.double_sigmoid == (variant == "as_published")


@pytest.mark.parametrize("configuration", [rooms, nyu, celeba, nyu_libmtl, nyud_mt])
def test_a_variant_that_is_not_there_is_named(configuration):
    with pytest.raises(ValueError, match="'sparse'"):
        configuration.get_config("sparse")


def test_every_key_has_a_rule():
    assert config_lib.flat(common.get_config()).keys() == RULES.keys()


def refused(workdir, config):
    """Returns the message of a run that is refused before its workdir is made."""
    with pytest.raises(UserError) as error:
        loop.train_and_evaluate(config, workdir)
    assert not workdir.exists()
    return str(error.value)


def changed(changes):
    """Returns the configuration of rooms, for 25 epochs, with other values, of any type, by dotted key."""
    config = rooms.get_config()
    config.num_epochs, config.learning_rate_schedule = 25, "constant"
    with config.unlocked(), config.ignore_type():
        config.update_from_flattened_dict(changes)
    return config


INFINITE, NOT_A_NUMBER = float("inf"), float("nan")
BAD_VALUES = [
    # Names, with the nearest that there is.
    ("model.backbone", "resnet50e", "resnet50d"),
    ("model.dilations", "torch", "one of auto, paper, torchvision"),
    ("model.backbone", "ResNet18D", "resnet18d"),
    ("model.backbone", "vgg16", "one of resnet10d"),
    ("model.head", "deeplab", "did you mean 'deeplabv3'"),
    ("dataset.name", "room", "rooms"),
    ("dataset.name", "celeba", "celebamask_hq"),
    ("dataset.name", "kitti", "one of celebamask_hq"),
    ("dataset.name", "", "one of"),
    ("normals.loss", "angle", "one of cosine, l1"),
    ("trackers", ("wandb", "wandb"), "some of wandb, mlflow"),
    ("dtype", "float16", "did you mean 'bfloat16'"),
    ("dtype", "bf16", "one of float32, bfloat16"),
    ("matmul_precision", "fp32", "did you mean 'tf32'"),
    ("matmul_precision", "highest", "one of default, tf32, float32"),
    ("augmentation.zoomed_depth", "device", "divide"),
    ("learning_rate_schedule", "linear", "one of constant, plateau"),
    ("learning_rate_schedule", "platau", "did you mean 'plateau'"),
    ("loss_weighting", "uncertainity", "did you mean 'uncertainty'"),
    ("loss_weighting", "gradnorm", "one of uncertainty, equal"),
    ("loss_weights", (1.0, -1.0), "greater than 0"),
    ("sparsity.penalty", "grouplasso", "did you mean 'group_lasso'"),
    ("sparsity.penalty", "l2", "one of group_lasso"),
    ("sparsity.penalty", None, "one of group_lasso"),
    ("sparsity.metric", "sgd", "one of adam"),
    ("sparsity.metric", "Adam", "did you mean 'adam'"),
    ("sparsity.scope", "heads", "one of backbone"),
    ("sparsity.scope", "backbone_and_head", "did you mean 'backbone_and_heads'"),
    ("tasks", (), "one or more"),
    ("tasks", ("depth", "depth"), "different"),
    ("tasks", "depth", "--config.tasks="),
    ("tasks", ("depth", "colour"), "choose tasks from"),
    ("tasks", ("normal",), "did you mean 'normals'"),
    ("tasks", ("Depth",), "did you mean 'depth'"),
    # Whole numbers, and what is none.
    ("seed", -1, "from 0 to 4294967295"),
    ("seed", 2**32, "from 0 to 4294967295"),
    ("seed", 10**20, "from 0 to 4294967295"),
    ("seed", 1.5, "a whole number"),
    ("batch_size", 0, "1 or more"),
    ("batch_size", True, "a whole number"),
    ("batch_size", 5000, "there are 768 training images"),
    ("num_epochs", 0, "1 or more"),
    ("num_epochs", "ten", "a whole number"),
    ("eval_every_epochs", 0, "1 or more"),
    ("checkpoint_every_epochs", -1, "1 or more"),
    ("checkpoint_every_minutes", -1.0, "0 or more"),
    ("max_bad_steps", 0, "1 or more"),
    ("early_stopping_patience", -1, "0 or more"),
    ("plateau_patience", 0, "1 or more"),
    ("num_devices", -1, "0 or more"),
    ("dataset.cache", "gpu", "one of auto, device, host, none"),
    ("dataset.num_workers", -1, "from 0 to 256"),
    ("dataset.num_workers", 10**7, "from 0 to 256"),
    ("dataset.num_threads", 0, "from 1 to 256"),
    ("dataset.num_threads", 10**6, "from 1 to 256"),
    ("dataset.prefetch_batches", 0, "from 1 to 1024"),
    ("dataset.prefetch_batches", 10**8, "from 1 to 1024"),
    ("model.head_channels", 0, "1 or more"),
    ("sparsity.start_epoch", -1, "0 or more"),
    ("sparsity.healing_epochs", -1, "0 or more"),
    ("sparsity.target_macs", 1.5, "a share of the MACs"),
    ("sparsity.compact_every_epochs", -1, "0 or more"),
    ("sparsity.patience_epochs", 0, "from 1 to 255"),
    ("sparsity.patience_epochs", 256, "from 1 to 255"),
    # Sizes.
    ("dataset.image_size", (64,), "height,width"),
    ("dataset.image_size", (64, 64, 3), "height,width"),
    ("dataset.image_size", (8, 64), "at least 16 pixels"),
    ("dataset.image_size", (64.0, 64), "height,width"),
    ("dataset.image_size", 64, "height,width"),
    ("dataset.split_sizes", (10, 10), "train,validation,test"),
    ("dataset.split_sizes", (10, 0, 10), "train,validation,test"),
    ("dataset.validation_share", 1.0, "less than 1"),
    # Numbers, finite ones.
    ("learning_rate", 0.0, "greater than 0"),
    ("learning_rate", -1e-3, "greater than 0"),
    ("learning_rate", INFINITE, "finite"),
    ("learning_rate", NOT_A_NUMBER, "finite"),
    ("learning_rate", "fast", "finite"),
    ("weight_decay", -0.1, "0 or more"),
    ("weight_decay", INFINITE, "finite"),
    ("model.width_multiplier", 0.0, "greater than 0"),
    ("model.width_multiplier", INFINITE, "finite"),
    ("model.dropout_rate", 1.0, "less than 1"),
    ("label_smoothing", -0.1, "at least 0"),
    ("plateau_factor", 1.0, "less than 1"),
    ("warmup_epochs", -1.0, "0 or more"),
    ("warmup_epochs", 25, "less than config.num_epochs"),
    ("step_epochs", 0, "1 or more"),
    ("step_factor", 1.0, "less than 1"),
    ("poly_power", 0.0, "greater than 0"),
    ("weight_decay_form", "adamw", "one of decoupled, coupled"),
    ("gradient_clipping", -1.0, "0 or more"),
    ("accumulation_steps", 0, "1 or more"),
    ("ema_decay", 1.0, "less than 1"),
    ("segmentation.class_weights", "equal", "none, balanced, or numbers"),
    ("segmentation.class_weights", "1,0", "none, balanced, or numbers"),
    ("segmentation.class_weights", "1,2", "give one for each"),
    ("segmentation.focal", -1.0, "0 or more"),
    ("segmentation.ignore", "sofa-like", "no class 'sofa-like'"),
    ("augmentation.max_scale", 0.5, "from 1 to 4"),
    ("augmentation.min_scale", 0.0, "from 0.1 to 1"),
    ("augmentation.scales", (1, 1.2, 9), "factors of 0.1 to 4"),
    ("augmentation.crop_size", (448, 0), "448,576"),
    ("augmentation.max_class_share", 0.0, "greater than 0"),
    ("augmentation.color_jitter", 1.0, "less than 1"),
    ("dataset.padded_size", (8, 8), "0,0, or height,width of at least 16 pixels"),
    ("dataset.padded_size", (32, 128), "less than config.dataset.image_size"),
    ("dataset.classes", 12, "13 or 40"),
    ("sparsity.strength", -1.0, "0 or more"),
    ("sparsity.strength", INFINITE, "finite"),
    ("sparsity.target", 70.0, "a share"),
    ("sparsity.target", NOT_A_NUMBER, "a share"),
    # Switches and texts.
    ("augmentation.horizontal_flip", "yes", "True or False"),
    ("recompute", 1, "True or False"),
    ("sparsity.bias_corrected", None, "True or False"),
    ("published.double_sigmoid", "maybe", "True or False"),
    ("dataset.data_dir", 3, "text"),
    ("init_from", True, "text"),
    # Keys that there are not.
    ("learning_rte", 1e-3, "did you mean config.learning_rate"),
    ("sparsity.strenght", 1e-3, "did you mean config.sparsity.strength"),
    ("strength", 1e-3, "did you mean config.sparsity.strength"),
    ("dataset.backbone", "resnet18d", "did you mean config.model.backbone"),
    ("published.double_sigmoids", True, "did you mean config.published.double_sigmoid"),
    ("zzz", 1, "configs/common.py has all"),
    # Too much for any machine.
    ("model.width_multiplier", 1e6, "EB of memory"),
    ("model.head_channels", 10**7, "PB of memory"),
    ("dataset.split_sizes", (10**10, 1, 1), "TB on the disk"),
    ("dataset.image_size", (10**6, 10**6), "PB on the disk"),
    # What only this machine can tell.
    ("num_devices", 1000, "this process has"),
    ("batch_size", 15, "cannot share equally"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD_VALUES, ids=lambda value: str(value)[:24])
def test_a_bad_value_is_refused_by_its_key(tmp_path, key, value, message):
    text = refused(tmp_path / "run", changed({key: value}))
    assert f"config.{key}" in text
    assert message in text
    assert "\n" not in text


CONTRADICTIONS = [
    ({"sparsity.start_epoch": 25}, "config.sparsity.start_epoch"),
    ({"sparsity.start_epoch": 20, "sparsity.healing_epochs": 5}, "no epoch of config.num_epochs=25 is left"),
    ({"sparsity.healing_epochs": 5, "sparsity.strength": 0.0}, "config.sparsity.healing_epochs"),
    ({"sparsity.target": 0.5, "sparsity.target_macs": 0.5}, "set one of them"),
    ({"sparsity.target_macs": 0.5, "sparsity.penalty": "l1"}, "needs zero groups"),
    ({"sparsity.target": 0.5, "sparsity.penalty": "none"}, "config.sparsity.target"),
    ({"sparsity.compact_every_epochs": 5, "sparsity.strength": 0.0}, "config.sparsity.compact_every_epochs"),
    ({"sparsity.compact_every_epochs": 5, "sparsity.penalty": "l1"}, "config.sparsity.compact_every_epochs"),
    ({"sparsity.compact_every_epochs": 5, "num_epochs": 5}, "before epoch 5"),
    ({"sparsity.target": 0.5, "published.reset_optimizer_every_epoch": True}, "reset_optimizer_every_epoch"),
    ({"learning_rate_schedule": "poly", "published.reset_optimizer_every_epoch": True}, "learning_rate_schedule"),
    ({"learning_rate_schedule": "plateau", "dataset.validation_share": 0.0}, "choose another schedule"),
    ({"dataset.scored_size": (96, 96)}, 'config.loss_resolution="image"'),
    (
        {"dataset.scored_size": (96, 96), "dataset.padded_size": (96, 96), "loss_resolution": "image"},
        "both say what is scored",
    ),
    ({"dataset.cache": "device", "dataset.num_workers": 2}, "set num_workers to 0"),
    ({"augmentation.scales": (1.0, 1.5), "augmentation.max_scale": 2.0}, "augmentation.scales and a range"),
    ({"loss_weighting": "fixed", "loss_weights": (1.0, 2.0)}, "there are 3 tasks"),
    ({"loss_weights": (1.0, 2.0, 3.0)}, "config.loss_weights"),
    ({"loss_weighting": "dwa", "rep_grad": True}, "config.rep_grad"),
    ({"init_from": "runs/rooms", "model.pretrained": "resnet18d.pth"}, "set one of them"),
    ({"batch_size": 16, "dataset.split_sizes": (8, 8, 8)}, "there are 8 training images"),
    ({"tasks": ("smiling",), "dataset.name": "nyu"}, "config.tasks"),
    ({"dataset.name": "folder"}, "source_dir"),
    ({"dataset.name": "folder", "dataset.source_dir": "nowhere"}, "nowhere"),
    ({"dataset.name": "nyu", "dataset.data_dir": "nowhere"}, "source_dir"),
    ({"dataset.name": "nyu", "dataset.data_dir": "nowhere", "dataset.source_dir": "no-where"}, "no-where"),
]


@pytest.mark.parametrize(("changes", "message"), CONTRADICTIONS)
def test_contradictions_and_missing_data_are_refused(tmp_path, changes, message):
    text = refused(tmp_path / "run", changed({"num_epochs": 25, **changes}))
    assert message in text
    assert "\n" not in text


def test_all_mistakes_are_said_at_once(tmp_path):
    wrong = {"seed": -1, "model.backbone": "resnet50e", "tasks": ("depth", "norms", "color"), "learning_rte": 1.0}
    header, *lines = refused(tmp_path / "run", changed({**wrong, "batch_size": 1000})).splitlines()
    assert header.startswith("6 things are wrong")
    assert len(lines) == 6
    for part in ("seed", "resnet50d", "'norms'", "'color'", "learning_rate", "batch_size"):
        assert sum(part in line for line in lines) == 1


def test_attributes_have_a_nearest_name():
    config = celeba.get_config()
    config.tasks = ("segmentation", "smile", "5_oclock_shadow")
    with pytest.raises(UserError) as error:
        config_lib.checked(config)
    assert "did you mean 'smiling'" in str(error.value)
    assert "did you mean '5_o_clock_shadow'" in str(error.value)
    assert "wearing_hat" not in str(error.value)  # not all 41 of them


def test_a_missing_key_is_named():
    config = common.get_config()
    del config.sparsity.metric
    with pytest.raises(UserError, match=r"lacks sparsity\.metric"):
        config_lib.checked(config)


def test_tasks_may_be_written_with_commas():
    config = common.get_config()
    config.tasks = ("depth, normals",)
    assert config_lib.checked(config).tasks == ("depth", "normals")


def test_what_only_the_data_can_tell(tmp_path):
    config = config_lib.checked(changed({}))
    config_lib.check_start(config, types.SimpleNamespace(sources={"train": range(16)}), tmp_path)
    with pytest.raises(UserError, match="10 training images"):
        config_lib.check_start(config, types.SimpleNamespace(sources={"train": range(10)}), tmp_path)
