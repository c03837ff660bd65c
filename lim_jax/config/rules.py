"""What each key of a configuration accepts.

Where a key takes one of several names, they are asked of the room that implements them, and only when a value is looked
at: that room may import JAX.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

from lim_jax.runtime.suggestions import nearest

_MOST_PROCESSES = 256
_MOST_BATCHES = 1024  # kept ready
_SEEDS = 2**32  # grain and NumPy take 32 bits
_NUMBER = (int, float)
_TRACKERS = ("wandb", "mlflow")


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a key accepts.

    Attributes:
      types: of its values.
      accepts: tells, for a value of such a type, whether it may be.
      wanted: says what may be; follows "must be".
      choices: returns the names among which it chooses, if it does.
    """

    types: tuple[type, ...]
    accepts: Callable[[Any], bool]
    wanted: str
    choices: Callable[[], Sequence[str]] | None = None

    def has_type(self, value: Any) -> bool:
        """Returns whether the value could be one of this key; True is no number."""
        return isinstance(value, self.types) and (bool in self.types or not isinstance(value, bool))

    def problem(self, key: str, value: Any) -> str | None:
        """Returns what is wrong with a value, and what to do; None if nothing is."""
        names = self.choices() if self.choices else ()
        if self.has_type(value) and (value in names if self.choices else self.accepts(value)):
            return None
        wanted = f"one of {', '.join(names)}" if self.choices else self.wanted
        meant = nearest(value, names) if isinstance(value, str) else None
        hint = f": did you mean {meant!r}?" if meant else ""
        return f"config.{key} is {value!r} but must be {wanted}{hint}"


def _one_of(*names: str) -> Rule:
    return _asked(lambda: names)


def _asked(choices: Callable[[], Sequence[str]]) -> Rule:
    return Rule((str,), lambda value: True, "", choices)


def _whole(low: int, high: int | None = None) -> Rule:
    wanted = f"a whole number, {low} or more" if high is None else f"a whole number from {low} to {high}"
    return Rule((int,), lambda value: low <= value and (high is None or value <= high), wanted)


def _number(accepts: Callable[[float], bool], wanted: str) -> Rule:
    return Rule(_NUMBER, lambda value: abs(value) <= sys.float_info.max and accepts(value), wanted)


def _backbones() -> Sequence[str]:
    from lim_jax.models.resnet import BACKBONES

    return tuple(BACKBONES)


def _dilations() -> Sequence[str]:
    from lim_jax.models.resnet import DILATIONS

    return ("auto", *DILATIONS)


def _datasets() -> Sequence[str]:
    from lim_jax.data import datasets

    return datasets.NAMES


def _depth_losses() -> Sequence[str]:
    from lim_jax.tasks.depth import ERRORS

    return tuple(ERRORS)


def _methods() -> Sequence[str]:
    from lim_jax.balancing import METHODS

    return METHODS


def _normals_losses() -> Sequence[str]:
    from lim_jax.tasks.normals import ERRORS

    return tuple(ERRORS)


def _penalties() -> Sequence[str]:
    from lim_jax.sparsity.penalties import PENALTIES

    return tuple(PENALTIES)


def _metrics() -> Sequence[str]:
    from lim_jax.sparsity.optimizer import METRICS

    return METRICS


def _scopes() -> Sequence[str]:
    from lim_jax.models.groups import SCOPES

    return SCOPES


def _are_class_weights(text: str) -> bool:
    from lim_jax.tasks import class_weights

    try:
        class_weights.parse(text)
    except ValueError:
        return False
    return True


_FLAG = Rule((bool,), lambda value: True, "True or False")
_TEXT = Rule((str, type(None)), lambda value: True, "text")
_POSITIVE = _number(lambda value: value > 0, "a finite number greater than 0")
_NOT_NEGATIVE = _number(lambda value: value >= 0, "a finite number, 0 or more")
_SHARE = _number(lambda value: 0 <= value < 1, "at least 0 and less than 1")
_SCALE = _number(lambda value: 0.1 <= value <= 4, "from 0.1 to 4")
_TASKS = Rule(
    (tuple, list),
    lambda names: len(names) > 0 and all(isinstance(name, str) for name in names) and len(set(names)) == len(names),
    "one or more different tasks: --config.tasks=segmentation,depth",
)


def _size(example: str) -> Rule:
    """Accepts (height, width), or (0, 0) for "as it is"."""
    size = _counts(2, 16, "")
    return Rule(
        (tuple, list),
        lambda values: tuple(values) == (0, 0) or size.accepts(values),
        f"0,0, or height,width of at least 16 pixels: {example}",
    )


def _counts(number: int, least: int, wanted: str) -> Rule:
    return _each(_whole(least), wanted, number)


def _each(rule: Rule, wanted: str, number: int | None = None) -> Rule:
    """Accepts values that a rule accepts, so many or any number of them."""
    return Rule(
        (tuple, list),
        lambda values: (
            number in (None, len(values)) and all(rule.has_type(one) and rule.accepts(one) for one in values)
        ),
        wanted,
    )


RULES = {
    "seed": _whole(0, _SEEDS - 1),
    "tasks": _TASKS,
    "dataset.name": _asked(_datasets),
    "dataset.data_dir": _TEXT,
    "dataset.source_dir": _TEXT,
    "dataset.follow_links": _FLAG,
    "dataset.image_size": _counts(2, 16, "height,width of at least 16 pixels: --config.dataset.image_size=96,128"),
    "dataset.validation_share": _SHARE,
    "dataset.split_sizes": _counts(3, 1, "three counts of images: train,validation,test"),
    "dataset.padded_size": _size("--config.dataset.padded_size=448,576"),
    "dataset.scored_size": _size("--config.dataset.scored_size=480,640"),
    "dataset.classes": Rule((int,), lambda value: value in (0, 13, 40), "13 or 40, or 0 for as many as there are"),
    "dataset.cache": _one_of("auto", "device", "host", "none"),
    "dataset.num_workers": _whole(0, _MOST_PROCESSES),
    "dataset.num_threads": _whole(1, _MOST_PROCESSES),
    "dataset.prefetch_batches": _whole(1, _MOST_BATCHES),
    "augmentation.horizontal_flip": _FLAG,
    "augmentation.min_scale": _number(lambda value: 0.1 <= value <= 1, "from 0.1 to 1"),
    "augmentation.max_scale": _number(lambda value: 1 <= value <= 4, "from 1 to 4"),
    "augmentation.scales": _each(_SCALE, "factors of 0.1 to 4: --config.augmentation.scales=1,1.2,1.5"),
    "augmentation.crop_size": _size("--config.augmentation.crop_size=448,576"),
    "augmentation.max_class_share": _number(lambda value: 0 < value <= 1, "greater than 0, and 1 at most"),
    "augmentation.photometric_distortion": _FLAG,
    "augmentation.color_jitter": _SHARE,
    "augmentation.zoomed_depth": _one_of("divide", "divide_depth", "keep"),
    "model.backbone": _asked(_backbones),
    "model.dilations": _asked(_dilations),
    "model.pretrained": _TEXT,
    "model.head": _one_of("deeplabv3", "deeplabv3plus"),
    "model.image_head": _one_of("classifier", "linear"),
    "model.width_multiplier": _POSITIVE,
    "model.head_channels": _whole(1),
    "model.dropout_rate": _SHARE,
    "depth.target": _one_of("relative", "metres"),
    "depth.loss": _asked(_depth_losses),
    "depth.max": _NOT_NEGATIVE,
    "normals.loss": _asked(_normals_losses),
    "segmentation.class_weights": Rule(
        (str,), _are_class_weights, "none, balanced, or numbers greater than 0, one per class, with commas"
    ),
    "segmentation.focal": _NOT_NEGATIVE,
    "segmentation.ignore": _TEXT,
    "dtype": _one_of("float32", "bfloat16"),
    "matmul_precision": _one_of("default", "tf32", "float32"),
    "recompute": _FLAG,
    "batch_size": _whole(1),
    "num_epochs": _whole(1),
    "learning_rate": _POSITIVE,
    "learning_rate_schedule": _one_of("constant", "plateau", "step", "poly", "cosine"),
    "warmup_epochs": _NOT_NEGATIVE,
    "plateau_patience": _whole(1),
    "plateau_factor": _number(lambda value: 0 < value < 1, "greater than 0 and less than 1"),
    "step_epochs": _whole(1),
    "step_factor": _number(lambda value: 0 < value < 1, "greater than 0 and less than 1"),
    "poly_power": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "weight_decay_form": _one_of("decoupled", "coupled"),
    "gradient_clipping": _NOT_NEGATIVE,
    "accumulation_steps": _whole(1),
    "ema_decay": _SHARE,
    "loss_weighting": _asked(_methods),
    "loss_weights": _each(_POSITIVE, "numbers greater than 0, one per task: --config.loss_weights=1.0,10.0"),
    "rep_grad": _FLAG,
    "log_gradient_cosines": _FLAG,
    "loss_resolution": _one_of("features", "image"),
    "label_smoothing": _SHARE,
    "max_bad_steps": _whole(1),
    "report_every_epochs": _whole(0),
    "trackers": Rule(
        (tuple, list),
        lambda names: all(name in _TRACKERS for name in names) and len(set(names)) == len(names),
        "some of wandb, mlflow: --config.trackers=wandb",
    ),
    "early_stopping_patience": _whole(0),
    "eval_every_epochs": _whole(1),
    "checkpoint_every_epochs": _whole(1),
    "checkpoint_every_minutes": _NOT_NEGATIVE,
    "sparsity.penalty": _asked(_penalties),
    "sparsity.strength": _NOT_NEGATIVE,
    "sparsity.target": _number(lambda value: 0 <= value < 1, "a share of the groups: at least 0 and less than 1"),
    "sparsity.target_macs": _number(lambda value: 0 <= value <= 1, "a share of the MACs: 0 (no target) to 1"),
    "sparsity.start_epoch": _whole(0),
    "sparsity.healing_epochs": _whole(0),
    "sparsity.scope": _asked(_scopes),
    "sparsity.metric": _asked(_metrics),
    "sparsity.bias_corrected": _FLAG,
    "sparsity.compact_every_epochs": _whole(0),
    "sparsity.patience_epochs": _whole(1, 255),  # kept in a byte
    "published.reset_optimizer_every_epoch": _FLAG,
    "published.coupled_weight_decay_when_dense": _FLAG,
    "published.double_sigmoid": _FLAG,
    "init_from": _TEXT,
    "num_devices": _whole(0),
    "compilation_cache_dir": _TEXT,
}
