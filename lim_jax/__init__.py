"""lim_jax: sparse multi-task networks in JAX, from group lasso during training to a compact network.

The names below are what a program that uses lim_jax needs most. They are imported when they are first asked for,
so that `import lim_jax` costs nothing:

    import lim_jax

    groups = [(r"Conv_\\d+/kernel", lim_jax.sparsity.INPUT_CHANNELS)]
    tx = lim_jax.proximal_adam(learning_rate=1e-3, strength=1e-4, groups=groups, bias_corrected=True)

    results = lim_jax.train("rooms", "runs/rooms", num_epochs=5)
    model, variables, tasks = lim_jax.load("runs/rooms")
    predictor = lim_jax.Predictor.from_workdir("runs/rooms")
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Predictor",
    "TargetSparsity",
    "UserError",
    "compaction",
    "delta_m",
    "load",
    "load_network",
    "models",
    "proximal_adam",
    "sparsity",
    "sparsity_summary",
    "train",
    "train_and_evaluate",
]

_ROOMS = ("compaction", "models", "sparsity")
_MODULES = {
    "Predictor": "lim_jax.library",
    "TargetSparsity": "lim_jax.sparsity",
    "UserError": "lim_jax.errors",
    "delta_m": "lim_jax.tasks.gain",
    "load": "lim_jax.library",
    "load_network": "lim_jax.training.checkpoints",
    "proximal_adam": "lim_jax.sparsity",
    "sparsity_summary": "lim_jax.sparsity",
    "train": "lim_jax.library",
    "train_and_evaluate": "lim_jax.training.loop",
}


if TYPE_CHECKING:
    from lim_jax import compaction, models, sparsity
    from lim_jax.errors import UserError
    from lim_jax.library import Predictor, load, train
    from lim_jax.sparsity import TargetSparsity, proximal_adam, sparsity_summary
    from lim_jax.tasks.gain import delta_m
    from lim_jax.training.checkpoints import load_network
    from lim_jax.training.loop import train_and_evaluate
else:  # otherwise type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Imports one of these names when it is first asked for."""
        if name in _ROOMS:
            return importlib.import_module(f"lim_jax.{name}")
        if name not in _MODULES:
            raise AttributeError(f"module 'lim_jax' has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
