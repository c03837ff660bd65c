"""Everything that can be wrong with a configuration, found before anything is started and said all at once."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections

from lim_jax.config import files
from lim_jax.config.rules import RULES
from lim_jax.config.values import Config, flat
from lim_jax.errors import UserError
from lim_jax.runtime.suggestions import nearest

_FEW = 8  # names that a line can list


def checked(config: Config) -> Config:
    """Returns a frozen copy of `config` with task names split at commas.

    Raises:
      UserError: something is wrong with it. One line for one mistake; a header and a line each for several.
    """
    config = config.copy_and_resolve_references()
    if isinstance(config.get("tasks"), (tuple, list)):
        config.tasks = tuple(name.strip() for task in config.tasks for name in str(task).split(",") if name.strip())
    found = _problems(config)
    if found:
        raise UserError(as_text(found))
    return ml_collections.FrozenConfigDict(config)


def check_start(config: Config, dataset: Any, workdir: pathlib.Path) -> None:
    """Checks what only the opened data set can tell: the last check before the workdir is made.

    Args:
      config: as `checked` returned it.
      dataset: what `lim_jax.data.load` returned for it.
      workdir: of the run.

    Raises:
      UserError: the batch is larger than the training split, or there are no pretrained weights to begin with.
    """
    found = _too_large_a_batch(config.batch_size, len(dataset.sources["train"]))
    found += _never_a_step(config, len(dataset.sources["train"]))
    if found:
        raise UserError(as_text(found))
    if config.model.pretrained and not files.holds_run(workdir):
        from lim_jax.models import pretrained

        pretrained.locate(config.model.pretrained)


def as_text(problems: Sequence[str]) -> str:
    """Returns one problem as it is, several as a list under a header."""
    if len(problems) == 1:
        return problems[0]
    return "\n  ".join([f"{len(problems)} things are wrong with this configuration:", *problems])


def _problems(config: Config) -> list[str]:
    """Returns all mistakes; a combination of values is looked at where each of them is right by itself."""
    values = flat(config)
    unknown = [key for key in values if key not in RULES]
    found = [unknown_key(key) for key in unknown]
    wrong = set()
    for key, rule in RULES.items():
        if key in values:
            problem = rule.problem(key, values[key])
        else:
            problem = f"the configuration lacks {key}: start it from lim_jax.configs.common"
        if problem:
            wrong.add(key)
            found.append(problem)
    for keys, contradictions in _CONTRADICTIONS.items():
        if wrong.isdisjoint(keys):
            found += contradictions(config)
    return found


def unknown_key(key: str) -> str:
    """Says that there is no such key, and which one may have been meant."""
    meant = nearest(key, RULES)
    hint = (
        f"did you mean config.{meant}? (lim_jax/configs/common.py has all keys)"
        if meant
        else "lim_jax/configs/common.py has all"
    )
    return f"there is no key config.{key}: {hint}"


def _unknown_tasks(config: Config) -> list[str]:
    from lim_jax.data import datasets

    try:
        known = datasets.targets(config.dataset)
    except UserError as error:  # where a data set's own files say what the tasks are
        return [str(error)]
    return [_unknown_task(task, config.dataset.name, tuple(known)) for task in config.tasks if task not in known]


def _unknown_task(task: str, dataset: str, known: Sequence[str]) -> str:
    meant = nearest(task, known)
    hint = f"did you mean {meant!r}? " if meant else ""
    listed = (
        f"choose tasks from {', '.join(known)}" if not meant or len(known) <= _FEW else f"it has {len(known)} tasks"
    )
    return f"config.tasks: dataset {dataset!r} has no target {task!r}: {hint}{listed}"


def _classes_of_others(config: Config) -> list[str]:
    from lim_jax import tasks
    from lim_jax.data import datasets

    try:
        known = datasets.targets(config.dataset)
    except UserError:
        return []  # `_unknown_tasks` has it
    found = []
    for name in config.tasks:
        if name in known and known[name].kind == "segmentation":
            try:
                tasks.from_config(known[name], config)
            except UserError as error:
                found.append(str(error))
    return found


def _too_few_rooms(config: Config) -> list[str]:
    if config.dataset.name != "rooms":
        return []
    return _too_large_a_batch(config.batch_size, config.dataset.split_sizes[0])


def _too_large_a_batch(batch_size: int, num_images: int) -> list[str]:
    if batch_size <= num_images:
        return []
    return [
        f"config.batch_size is {batch_size}, but there are {num_images} training images: choose {num_images} or less"
    ]


def _never_a_step(config: Config, num_images: int) -> list[str]:
    batches = config.num_epochs * (num_images // config.batch_size)
    if not batches or config.accumulation_steps <= batches:
        return []
    return [
        f"config.accumulation_steps is {config.accumulation_steps}, but the whole run has {batches} batches: "
        "nothing would be learned"
    ]


def _scored_in_two_ways(config: Config) -> list[str]:
    dataset, found = config.dataset, []
    padded, scored = any(dataset.padded_size), any(dataset.scored_size)
    if padded and scored:
        found.append("config.dataset.padded_size and .scored_size both say what is scored: set one of them")
    if padded and any(size > to for size, to in zip(dataset.image_size, dataset.padded_size, strict=True)):
        found.append(
            f"config.dataset.padded_size is {dataset.padded_size}, less than config.dataset.image_size "
            f"({dataset.image_size}): choose at least that"
        )
    if scored and config.loss_resolution != "image":
        found.append('config.dataset.scored_size needs config.loss_resolution="image"')
    return found


def _kept_in_no_process(config: Config) -> list[str]:
    dataset = config.dataset
    if not dataset.num_workers or dataset.cache in ("auto", "none"):
        return []
    return [
        f"config.dataset.cache={dataset.cache!r} is for threads, and config.dataset.num_workers={dataset.num_workers} "
        "for processes, which share no memory: set num_workers to 0, or cache to 'none'"
    ]


def _scaled_in_two_ways(config: Config) -> list[str]:
    changes = config.augmentation
    if changes.scales and (changes.min_scale, changes.max_scale) != (1, 1):
        return ["config.augmentation.scales and a range of scales are both given: set one of them"]
    return []


def _two_beginnings(config: Config) -> list[str]:
    if config.init_from and config.model.pretrained:
        return ["config.init_from and config.model.pretrained both give the backbone's weights: set one of them"]
    return []


def _makes_zeros(wanted: Config) -> bool:
    return bool(wanted.target or wanted.target_macs or wanted.strength)


def _two_targets(config: Config) -> list[str]:
    wanted = config.sparsity
    if not wanted.target_macs:
        return []
    if wanted.target:
        return ["config.sparsity.target and config.sparsity.target_macs both steer the strength: set one of them"]
    if wanted.penalty in ("none", "l1"):
        return [f"config.sparsity.target_macs needs zero groups: config.sparsity.penalty is {wanted.penalty!r}"]
    return []


def _late_start(config: Config) -> list[str]:
    wanted = config.sparsity
    penalized = config.num_epochs - wanted.healing_epochs
    if wanted.start_epoch < penalized or not (_makes_zeros(wanted) or wanted.healing_epochs):
        return []
    if wanted.healing_epochs:
        return [
            f"with config.sparsity.start_epoch={wanted.start_epoch} and .healing_epochs={wanted.healing_epochs} no "
            f"epoch of config.num_epochs={config.num_epochs} is left for the penalty"
        ]
    return [
        f"config.sparsity.start_epoch is {wanted.start_epoch} but must be less than config.num_epochs "
        f"({config.num_epochs})"
    ]


def _target_without_penalty(config: Config) -> list[str]:
    if config.sparsity.target and config.sparsity.penalty == "none":
        return ["config.sparsity.target needs a penalty: config.sparsity.penalty is 'none'"]
    return []


def _pointless_healing(config: Config) -> list[str]:
    wanted = config.sparsity
    if not wanted.healing_epochs or (wanted.penalty != "none" and _makes_zeros(wanted)):
        return []
    return [
        "config.sparsity.healing_epochs is for what a penalty has made zero: set config.sparsity.strength or .target, "
        "and a config.sparsity.penalty other than 'none'"
    ]


def _pointless_compaction(config: Config) -> list[str]:
    wanted = config.sparsity
    if not wanted.compact_every_epochs:
        return []
    if wanted.penalty in ("none", "l1") or not _makes_zeros(wanted):
        return [
            "config.sparsity.compact_every_epochs removes zero groups, but nothing makes groups zero: set "
            "config.sparsity.strength or .target, and a config.sparsity.penalty other than 'none' and 'l1'"
        ]
    first = -(-wanted.patience_epochs // wanted.compact_every_epochs) * wanted.compact_every_epochs
    if first < config.num_epochs:
        return []
    return [
        f"with config.sparsity.compact_every_epochs={wanted.compact_every_epochs} and .patience_epochs="
        f"{wanted.patience_epochs} nothing can be removed before epoch {first} of config.num_epochs="
        f"{config.num_epochs}: lower them, or set compact_every_epochs to 0"
    ]


def _forgotten_count(config: Config) -> list[str]:
    wanted = config.sparsity
    if config.published.reset_optimizer_every_epoch and (
        wanted.target or wanted.target_macs or wanted.start_epoch or wanted.healing_epochs
    ):
        return [
            "config.published.reset_optimizer_every_epoch forgets what config.sparsity.target, .start_epoch and "
            ".healing_epochs count: switch it off, or give config.sparsity.strength alone"
        ]
    return []


def _forgotten_schedule(config: Config) -> list[str]:
    counts = config.learning_rate_schedule in ("step", "poly", "cosine") or config.warmup_epochs
    if config.published.reset_optimizer_every_epoch and (counts or config.accumulation_steps > 1):
        return [
            "config.published.reset_optimizer_every_epoch forgets the steps that a learning_rate_schedule, "
            "warmup_epochs and accumulation_steps count: switch it off"
        ]
    return []


def _endless_warm_up(config: Config) -> list[str]:
    if config.warmup_epochs < config.num_epochs:
        return []
    return [
        f"config.warmup_epochs is {config.warmup_epochs:g} but must be less than config.num_epochs "
        f"({config.num_epochs})"
    ]


def _plateau_of_nothing(config: Config) -> list[str]:
    if config.dataset.validation_share or config.learning_rate_schedule != "plateau":
        return []
    return [
        "config.learning_rate_schedule='plateau' goes by the validation split, which config.dataset.validation_share=0 "
        "gives up: choose another schedule"
    ]


def _weights_of_tasks(config: Config) -> list[str]:
    given, fixed = len(config.loss_weights), config.loss_weighting == "fixed"
    if fixed and given != len(config.tasks):
        return [f"config.loss_weights has {given} numbers, but there are {len(config.tasks)} tasks: give one for each"]
    if given and not fixed:
        return [f"config.loss_weights are of config.loss_weighting='fixed', which is {config.loss_weighting!r}"]
    return []


def _not_of_gradients(config: Config) -> list[str]:
    from lim_jax import balancing

    method = balancing.create(config.loss_weighting)
    if not config.rep_grad or isinstance(method, balancing.GradientBalancing):
        return []
    return [f"config.rep_grad is of methods that weigh gradients; config.loss_weighting is {config.loss_weighting!r}"]


# By the keys that have to be right by themselves: what is wrong with their combination.
_CONTRADICTIONS: dict[tuple[str, ...], Callable[[Config], list[str]]] = {
    ("tasks", "dataset.name", "dataset.source_dir"): _unknown_tasks,
    ("batch_size", "dataset.name", "dataset.split_sizes"): _too_few_rooms,
    (
        "dataset.padded_size",
        "dataset.scored_size",
        "dataset.image_size",
        "loss_resolution",
    ): _scored_in_two_ways,
    ("dataset.cache", "dataset.num_workers"): _kept_in_no_process,
    ("augmentation.scales", "augmentation.min_scale", "augmentation.max_scale"): _scaled_in_two_ways,
    ("init_from", "model.pretrained"): _two_beginnings,
    (
        "sparsity.start_epoch",
        "sparsity.healing_epochs",
        "num_epochs",
        "sparsity.target",
        "sparsity.target_macs",
        "sparsity.strength",
    ): _late_start,
    ("sparsity.target", "sparsity.penalty"): _target_without_penalty,
    ("sparsity.target_macs", "sparsity.target", "sparsity.penalty"): _two_targets,
    (
        "sparsity.healing_epochs",
        "sparsity.penalty",
        "sparsity.target",
        "sparsity.target_macs",
        "sparsity.strength",
    ): _pointless_healing,
    (
        "sparsity.compact_every_epochs",
        "sparsity.patience_epochs",
        "sparsity.penalty",
        "sparsity.target",
        "sparsity.target_macs",
        "sparsity.strength",
        "num_epochs",
    ): _pointless_compaction,
    (
        "published.reset_optimizer_every_epoch",
        "sparsity.target",
        "sparsity.target_macs",
        "sparsity.start_epoch",
        "sparsity.healing_epochs",
    ): _forgotten_count,
    (
        "published.reset_optimizer_every_epoch",
        "learning_rate_schedule",
        "warmup_epochs",
        "accumulation_steps",
    ): _forgotten_schedule,
    (
        "segmentation.class_weights",
        "segmentation.ignore",
        "tasks",
        "dataset.name",
        "dataset.source_dir",
        "label_smoothing",
        "loss_resolution",
    ): _classes_of_others,
    ("loss_weights", "loss_weighting", "tasks"): _weights_of_tasks,
    ("rep_grad", "loss_weighting"): _not_of_gradients,
    ("warmup_epochs", "num_epochs"): _endless_warm_up,
    ("dataset.validation_share", "learning_rate_schedule"): _plateau_of_nothing,
}
