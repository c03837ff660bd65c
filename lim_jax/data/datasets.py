"""The data sets by name, and the one way to open them."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from lim_jax.data import records, rooms
from lim_jax.data.pipeline import Source
from lim_jax.data.sources import celebamask_hq, folder, nyu
from lim_jax.data.specs import TargetSpec
from lim_jax.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """An opened data set.

    Attributes:
      name: as in `config.dataset.name`.
      specs: the chosen targets, in the order of `tasks`.
      sources: "train", "validation" and "test": random access to examples
        `{"image": uint8 H×W×3, "targets": {task: array}}` (see `specs`).
    """

    name: str
    specs: Mapping[str, TargetSpec]
    sources: Mapping[str, Source]


@dataclasses.dataclass(frozen=True)
class _Opener:
    """What a data set provides.

    Attributes:
      specs: its targets.
      prepare: prepares its records and returns their directory.
      labelled: the positions of the training examples that are labelled for some of the tasks; None: all are.
    """

    specs: Callable[[Any], Mapping[str, TargetSpec]]
    prepare: Callable[[Any, tuple[int, int]], pathlib.Path]
    labelled: Callable[[Any, Sequence[str]], Sequence[int] | None] = lambda config, tasks: None


def _prepare_nyu(config: Any, image_size: tuple[int, int]) -> pathlib.Path:
    share = config.get("validation_share", nyu.VALIDATION_SHARE)
    return nyu.prepare(config.data_dir, config.source_dir, image_size, share, _follow_links(config))


def _prepare_rooms(config: Any, image_size: tuple[int, int]) -> pathlib.Path:
    return rooms.prepare(config.data_dir, image_size, config.get("split_sizes", rooms.SPLIT_SIZES))


def _follow_links(config: Any) -> bool:
    return bool(config.get("follow_links", False))


def _folder_specs(config: Any) -> dict[str, TargetSpec]:
    return {name: target.spec for name, target in folder.read_targets(folder.root(config.source_dir)).items()}


_DATASETS = {
    "celebamask_hq": _Opener(
        lambda config: celebamask_hq.SPECS,
        lambda config, size: celebamask_hq.prepare(config.data_dir, config.source_dir, size),
    ),
    "folder": _Opener(
        _folder_specs,
        lambda config, size: folder.prepare(config.data_dir, config.source_dir, size, _follow_links(config)),
        lambda config, tasks: folder.labelled(config.source_dir, tasks, _follow_links(config)),
    ),
    "nyu": _Opener(lambda config: nyu.SPECS, _prepare_nyu),
    "rooms": _Opener(lambda config: rooms.SPECS, _prepare_rooms),
}
NAMES = tuple(_DATASETS)  # also of the folders of their records


def targets(config: Any) -> Mapping[str, TargetSpec]:
    """Returns all targets of the data set that `config` (as in `load`) names, without preparing or opening it.

    Raises:
      UserError: no such data set, or its files do not say what the targets are.
    """
    if config.name not in _DATASETS:
        raise UserError(f"there is no dataset {config.name!r}: set dataset.name to one of {', '.join(_DATASETS)}")
    return _DATASETS[config.name].specs(config)


def load(config: Any, tasks: Sequence[str]) -> Dataset:
    """Opens a data set, preparing its records first when they are not there.

    Args:
      config: a `ConfigDict` with `name`, `data_dir` (None: `$TFDS_DATA_DIR`, or ~/tensorflow_datasets), `image_size`
        (height, width) and what the data set needs besides: `source_dir` (all but rooms) and perhaps
        `follow_links` (whether lists of files may lead out of `source_dir`; no), `validation_share` (nyu),
        `split_sizes` (rooms).
      tasks: names of the targets to read.

    Raises:
      UserError: no such data set or target, or the data is missing or not as it should be.
    """
    specs = _select_specs(config.name, targets(config), tasks)
    opener = _DATASETS[config.name]
    labelled = opener.labelled(config, tasks)
    directory = opener.prepare(config, _image_size(config.image_size))
    sources: dict[str, Source] = {split: records.RecordSource(directory, split, specs) for split in SPLITS}
    if labelled is not None:
        sources["train"] = records.Subset(sources["train"], labelled)
    return Dataset(config.name, specs, sources)


def training_files(config: Any, tasks: Sequence[str]) -> list[str]:
    """Returns the names of the training images' files in the order of the opened source; empty where there are none."""
    if config.name != "folder":
        return []
    root = folder.root(config.source_dir)
    names = [os.path.relpath(row.image, root) for row in folder.training_rows(config.source_dir, _follow_links(config))]
    kept = folder.labelled(config.source_dir, tasks, _follow_links(config))
    return names if kept is None else [names[index] for index in kept]


def _select_specs(name: str, specs: Mapping[str, TargetSpec], tasks: Collection[str]) -> dict[str, TargetSpec]:
    """Returns the specs of `tasks`, in their order.

    Raises:
      UserError: the data set called `name` has no such target.
    """
    for task in tasks:
        if task not in specs:
            raise UserError(f"dataset {name!r} has no target {task!r}: choose tasks from {', '.join(specs)}")
    return {task: specs[task] for task in tasks}


def _image_size(value: Any) -> tuple[int, int]:
    sizes = tuple(value) if isinstance(value, Sequence) else ()
    if len(sizes) != 2 or any(not isinstance(size, int) or size < 1 for size in sizes):
        raise UserError(f"dataset.image_size={value}: give (height, width) in pixels, such as (256, 256)")
    return sizes
