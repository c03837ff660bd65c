"""Weights of pretrained backbones: found, read, and put in the place of freshly drawn ones.

A source is the path of a `.safetensors` file or of one that `torch.save` wrote (`.pth`, `.pt`), or `hf:REPO` for
`model.safetensors` of a repository on the Hugging Face hub.
"""

import importlib
import logging
import pathlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from lim_jax.errors import UserError, one_line
from lim_jax.models import torch_weights
from lim_jax.sparsity.groups import leaves_by_path

logger = logging.getLogger(__name__)

PyTree = Any

_HUB = "hf:"
_FILE = "model.safetensors"
_TORCH_ENDINGS = (".pth", ".pt")
_KEY = "config.model.pretrained"


def locate(source: str) -> pathlib.Path:
    """Returns the file that a source names, which is downloaded if it is on the hub and not here yet.

    Raises:
      UserError: there is no such file, or the hub cannot be reached.
    """
    if source.startswith(_HUB):
        return _download(source.removeprefix(_HUB))
    path = pathlib.Path(source).expanduser()
    if not path.is_file():
        raise UserError(f"{_KEY} is {source!r}, which is no file: give a .safetensors or .pth file, or hf:REPO")
    return path


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file by their names; of a `.pth` file no code is run.

    Raises:
      UserError: it has another ending, cannot be read, or what reads it is not installed.
    """
    if path.suffix not in (".safetensors", *_TORCH_ENDINGS):
        raise UserError(f"{path} ends in {path.suffix!r}: weights are read from .safetensors and .pth files")
    try:
        if path.suffix == ".safetensors":
            return dict(_installed("safetensors.numpy", "safetensors").load_file(path))
        return _read_torch(path, _installed("torch", "torch"))
    except UserError:
        raise
    except Exception as error:  # each library has its own, down to pickle's
        raise UserError(f"cannot read {path} ({one_line(error)}): download it again") from error


def with_backbone(variables: Mapping[str, PyTree], name: str, source: str) -> dict[str, PyTree]:
    """Returns the variables of a network with its backbone's arrays taken from a source.

    Args:
      variables: `{"params": {"backbone": ..., ...}, "batch_stats": {"backbone": ..., ...}}`.
      name: of the backbone, one of `resnet.BACKBONES`.
      source: see the module's docstring.

    Raises:
      UserError: it cannot be read, or holds another backbone.
    """
    path = locate(source)
    given = _backbone_of(path, name)
    placed = dict(variables)
    for collection in ("params", "batch_stats"):
        _check_shapes(path, given[collection], variables[collection]["backbone"])
        placed[collection] = dict(variables[collection], backbone=given[collection])
    return placed


def _backbone_of(path: pathlib.Path, name: str) -> dict[str, PyTree]:
    """Returns `{"params", "batch_stats"}` of the backbone in a file, after checking which it is."""
    tensors = {key.removeprefix("module."): tensor for key, tensor in read(path).items()}
    inner = [key.removeprefix("backbone.") for key in tensors if key.startswith("backbone.")]
    try:
        found = torch_weights.backbone_name(inner or tensors)
        if found != name:
            raise UserError(f"it holds a {found}: set config.model.backbone={found}, or give weights of a {name}")
        variables = torch_weights.to_flax(tensors)
    except UserError as error:
        raise UserError(f"{path} does not fit config.model.backbone={name}: {error}") from error
    return {key: tree["backbone"] for key, tree in variables.items()} if inner else variables


def _check_shapes(path: pathlib.Path, given: PyTree, wanted: PyTree) -> None:
    """Raises `UserError` unless both trees, which have the same names, have the same shapes."""
    shapes = {path: leaf.shape for path, leaf in leaves_by_path(wanted).items()}
    for where, leaf in leaves_by_path(given).items():
        if leaf.shape != shapes[where]:
            raise UserError(
                f"{path} is of another width: {where} is {leaf.shape} there and {shapes[where]} in this network: set "
                "config.model.width_multiplier to that of the file, 1 for published weights"
            )


def _read_torch(path: pathlib.Path, torch: ModuleType) -> dict[str, np.ndarray]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    for name in ("state_dict", "model"):  # what training scripts wrap it in
        content = content.get(name, content)
    return {name: tensor.float().numpy() for name, tensor in content.items() if isinstance(tensor, torch.Tensor)}


def _installed(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{_KEY} needs the package {package}: pip install {package}") from error


def _download(repository: str) -> pathlib.Path:
    address = f"https://huggingface.co/{repository}/resolve/main/{_FILE}"
    by_hand = f"download {address} where there is a network, copy it here, and set {_KEY} to its path"
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(f"{_HUB} needs huggingface_hub: pip install -e '.[pretrained]', or {by_hand}") from error
    logger.info("getting %s%s, unless it is here already", _HUB, repository)
    try:
        download = hub.hf_hub_download  # which imports what sets the level of its messages
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it would announce each of its many tries
        return pathlib.Path(download(repository, _FILE))
    except Exception as error:  # no network, no such repository, no disk: each has its own
        raise UserError(f"cannot get {_HUB}{repository} ({one_line(error)}): {by_hand}") from error
