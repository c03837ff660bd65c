"""The paper's public PyTorch code as a contender, run from a checkout of it (`--torch-reference=DIR`).

Only what joins it to the benchmarks is here: its network, its losses (`ModelWrapper.multi_task_forward`, which adds
its penalty term), and its AdamW with the proximal step are imported from `DIR/src`. It imports packages that a step
never uses (wandb, seaborn, ...); where they are not installed, empty ones take their place.

"paper" runs the backbone once per task, as it does; "paper_shared" once, with nothing else changed.
"""

import importlib.abc
import importlib.machinery
import pathlib
import sys
import types
import unittest.mock
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.job import GRADIENT_SIZE, OUTPUTS, PARAMETER_SIZE, Job

_TASKS = {"segmentation": "segmentsemantic", "normals": "surface_normal", "depth": "depth_euclidean"}
_BACKBONES = {"resnet50d": "resnetd50", "resnet101d": "resnetd101"}
_UNUSED = (
    "matplotlib",
    "pandas",
    "seaborn",
    "segmentation_models_pytorch",  # its cross entropy is torch's, with which `_Paper` replaces it
    "sklearn",
    "torchmetrics",
    "torchvision",
    "tqdm",
    "wandb",
    "yaml",
)


class _EmptyPackages(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for packages that are not installed and not used."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in _UNUSED else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: unittest.mock.MagicMock()  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class _Paper:
    """Its network, losses and optimizer, for one job."""

    def __init__(self, job: Job):
        source = pathlib.Path(job.torch_reference, "src")
        if not (source / "proxssi").is_dir():
            raise SystemExit(f"{job.torch_reference} is no checkout of the paper's code: it has no src/proxssi")
        sys.path.insert(0, str(source))
        sys.meta_path.append(_EmptyPackages())
        warnings.simplefilter("ignore")
        from utils import utils_common  # its own top-level package

        config = self._config(job)
        torch.manual_seed(0)
        self.device = torch.device(config["device"])
        if self.device.type == "cpu":
            torch.Tensor.cuda = lambda self, *args, **kwargs: self  # its depth loss asks for a GPU
        self.model = utils_common.get_model(config).to(self.device)
        if job.contender == "paper_shared":
            self.model.forward = self._forward_shared
        losses = utils_common.get_criterion(config)
        losses["segmentsemantic"].criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=255)
        self.losses = utils_common.ModelWrapper(config, losses)
        self.optimizer = utils_common.get_BB_optimizer(config, self.model)

    @staticmethod
    def _config(job: Job) -> dict[str, Any]:
        """What its configuration file for NYU-v2 says, with the job's strength."""
        if (job.width_multiplier, job.head_channels, job.dtype) != (1.0, 256, "float32"):
            raise SystemExit("the paper's code has one width and one dtype: leave these options as they are")
        return {
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "dataset_name": "NYU",
            "task_list": [_TASKS[task] for task in OUTPUTS],
            "setup": "multitask",
            "group_sparsity": job.strength > 0,
            "backbone": _BACKBONES[job.backbone],
            "comb_loss": "uncertainity",
            "input_img_channels": 3,
            "num_input_ch": 3,
            "seg_loss_fn": "softCEloss",
            "optimizer_params": {"penalty": "l1_l2"},
            "bb_optimizer": "adam",
            "bb_optimizer_params": {
                "learning_rate": 1e-4,
                "betas": [0.9, 0.999],
                "weight_decay": 0.1,
                "penalty": "l1_l2",
                "lambda": job.strength,
            },
        }

    def _forward_shared(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.model.backbone(images)
        return {task: self.model.decoders[task](features) for task in self.model.tasks}

    def batch(self, job: Job) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Returns random images and targets as its loader gives them: floats, channels first."""
        generator = np.random.default_rng(0)
        shape = (job.batch_size, job.image_size, job.image_size)
        images = generator.standard_normal((job.batch_size, 3, *shape[1:]), np.float32)
        targets = {
            "segmentsemantic": generator.integers(0, OUTPUTS["segmentation"], (shape[0], 1, *shape[1:])),
            "surface_normal": generator.standard_normal((shape[0], 3, *shape[1:]), np.float32),
            "depth_euclidean": generator.uniform(0.1, 1, (shape[0], 1, *shape[1:])).astype(np.float32),
        }
        on_device = {task: torch.from_numpy(target).float().to(self.device) for task, target in targets.items()}
        return torch.from_numpy(images).to(self.device), on_device

    def step(self, images: torch.Tensor, targets: dict[str, torch.Tensor]) -> None:
        """One training step in the order of its `Trainer.train`, without its metrics."""
        _, _, losses = self.losses.multi_task_forward(self.model, images, dict(targets), "train")
        self.optimizer.zero_grad()
        losses["total"].backward()
        self.optimizer.step()


def prepare(job: Job) -> Callable[[], Any]:
    """Returns a function that runs the job once; the GPU, if there is one, has to be waited for."""
    return {"step": _step, "inference": _inference, "optimizer": _optimizer}[job.what](_Paper(job), job)


def _step(paper: _Paper, job: Job) -> Callable[[], Any]:
    paper.model.train()
    images, targets = paper.batch(job)
    return lambda: paper.step(images, targets)


def _inference(paper: _Paper, job: Job) -> Callable[[], Any]:
    paper.model.eval()
    images, _ = paper.batch(job)

    def forward() -> None:
        with torch.no_grad():
            paper.model(images)

    return forward


def _optimizer(paper: _Paper, job: Job) -> Callable[[], Any]:
    """Its AdamW with the proximal step, from parameters and gradients of the size that lim_jax's is measured with."""
    del job
    with torch.no_grad():
        for parameter in paper.model.parameters():
            parameter.normal_(0, PARAMETER_SIZE)
            parameter.grad = torch.randn_like(parameter) * GRADIENT_SIZE
    return paper.optimizer.step
