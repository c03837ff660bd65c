"""Pretrained backbones: files and the hub, and what is said when a file does not fit."""

import logging
import pathlib
import sys

import jax
import numpy as np
import pytest

from lim_jax import models
from lim_jax.errors import UserError
from lim_jax.models import pretrained, torch_weights
from tests.models import reference_weights

NARROWER = 8


def state_dict(name="resnet18", layout="torchvision"):
    return reference_weights.state_dict(reference_weights.backbone_shapes(name, layout, NARROWER), "pretrained/")


@pytest.fixture
def saved(tmp_path):
    """Returns a function that writes weights as `.safetensors`, or with torch, and gives their path."""

    def save(state, ending=".safetensors"):
        path = tmp_path / f"weights{ending}"
        if ending == ".safetensors":
            arrays = {name: np.ascontiguousarray(array) for name, array in state.items()}
            pytest.importorskip("safetensors.numpy").save_file(arrays, path)
        else:
            torch = pytest.importorskip("torch")
            torch.save({name: torch.from_numpy(array.copy()) for name, array in state.items()}, path)
        return path

    return save


def network(name="resnet18", width_multiplier=1 / NARROWER):
    """Returns zeros in place of the variables of a network."""
    model = models.MultiTaskModel(models.backbone(name, width_multiplier), {"depth": models.head("deeplab", 1)})
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("name", "layout", "prefix"),
    [
        ("resnet18", "torchvision", ""),
        ("resnet18", "torchvision", "module."),
        ("resnet50d", "timm", ""),
        ("resnet18d", "paper", "backbone."),
    ],
)
def test_the_backbone_is_replaced_and_nothing_else(saved, ending, name, layout, prefix):
    state = state_dict(name, layout)
    path = saved({prefix + key: array for key, array in state.items()}, ending)
    found = pretrained.with_backbone(network(name), name, str(path))
    for collection, expected in torch_weights.to_flax(state).items():
        jax.tree.map(np.testing.assert_array_equal, found[collection]["backbone"], expected)
        assert not any(leaf.any() for leaf in jax.tree.leaves(found[collection]["heads_depth"]))


@pytest.mark.parametrize(
    ("name", "width_multiplier", "message"),
    [
        ("resnet50", 1 / NARROWER, "holds a resnet18: set config.model.backbone=resnet18"),
        ("resnet18d", 1 / NARROWER, "holds a resnet18"),
        ("resnet18", 1.0, r"layer1_0/conv1/bn/bias is \(8,\) there and \(64,\).*width_multiplier"),
    ],
)
def test_another_network_is_refused(saved, name, width_multiplier, message):
    path = saved(state_dict())
    with pytest.raises(UserError, match=message):
        pretrained.with_backbone(network(name, width_multiplier), name, str(path))


def test_files_that_are_none(tmp_path):
    pytest.importorskip("safetensors")
    damaged, other = tmp_path / "a.safetensors", tmp_path / "a.h5"
    for path in (damaged, other):
        path.write_bytes(b"no weights")
    for source, message in (
        (damaged, r"cannot read .*a.safetensors \(.*download it again"),
        (other, "ends in '.h5'"),
        (tmp_path / "nothing.pth", "which is no file"),
    ):
        with pytest.raises(UserError, match=message) as error:
            pretrained.read(pretrained.locate(str(source)))
        assert "\n" not in str(error.value)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "code.pth"
    torch.save({"conv1.weight": pathlib.PurePosixPath("anything that has to be called")}, path)
    with pytest.raises(UserError, match="cannot read"):
        pretrained.read(path)


def hub(answer):
    def download(repository, file):
        logging.getLogger("huggingface_hub.utils").warning("Retrying in 8s")
        assert (repository, file) == ("timm/resnet50s.gluon_in1k", "model.safetensors")
        if isinstance(answer, Exception):
            raise answer
        return answer

    class Hub:
        @property
        def hf_hub_download(self):  # imported when it is asked for
            logging.getLogger("huggingface_hub").setLevel(logging.WARNING)
            return download

    return Hub()


def test_the_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub("/cache/model.safetensors"))
    assert pretrained.locate("hf:timm/resnet50s.gluon_in1k") == pathlib.Path("/cache/model.safetensors")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, r"-e '\.\[pretrained\]'"),
        (hub(OSError("no route\nto host")), r"\(no route to host\)"),
        (hub(OSError()), "OSError"),
    ],
)
def test_without_the_hub_one_line_says_what_to_do(monkeypatch, caplog, module, message):
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    with pytest.raises(UserError, match=message) as error:
        pretrained.locate("hf:timm/resnet50s.gluon_in1k")
    wanted = "https://huggingface.co/timm/resnet50s.gluon_in1k/resolve/main/model.safetensors"
    assert wanted in str(error.value) and "config.model.pretrained" in str(error.value)
    assert "Retrying" not in caplog.text
    assert "\n" not in str(error.value)
