"""The data sets by name, and the one way to open them."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from lim_jax.data import composed, records, rooms
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
      sources: "train", "validation" (unless training has that, too) and "test": random access to examples
        `{"image": uint8 H×W×3, "targets": {task: array}}` (see `specs`). The latter two may be padded, or have
        targets of another size than the image: what networks are scored on.
      training_files: the names of the training images' files, in the order of the source; empty where nobody knows
        them.
    """

    name: str
    specs: Mapping[str, TargetSpec]
    sources: Mapping[str, Source]
    training_files: Sequence[str] = ()


class _Origin(NamedTuple):
    """Where the records of a data set come from, for some tasks.

    Attributes:
      prepare: prepares records of some size, with the targets of these tasks at least, and returns their directory.
      labelled: the positions of the training examples that are labelled for one of these tasks; None: all are.
      files: by split, the names of its images' files, in the order of its records; empty where nobody knows them.
    """

    prepare: Callable[[tuple[int, int]], pathlib.Path]
    labelled: Sequence[int] | None = None
    files: Mapping[str, Sequence[str]] = {}


class _Kind(NamedTuple):
    """What a data set provides.

    Attributes:
      specs: its targets, given `config.dataset`.
      origin: where its records come from, given that and the tasks.
    """

    specs: Callable[[Any], Mapping[str, TargetSpec]]
    origin: Callable[[Any, Sequence[str]], _Origin]


def _nyu_origin(config: Any, tasks: Sequence[str]) -> _Origin:
    share = config.get("validation_share") or nyu.VALIDATION_SHARE  # 0 takes the records as they are
    follow, classes = _follow_links(config), config.get("classes", 0)

    def prepare(size: tuple[int, int]) -> pathlib.Path:
        return nyu.prepare(config.data_dir, config.source_dir, size, share, follow, tasks=tasks, classes=classes)

    return _Origin(prepare)


def _nyu_specs(config: Any) -> Mapping[str, TargetSpec]:
    return nyu.CLASSES[nyu.num_classes(config.source_dir, config.get("classes", 0))]


def _rooms_origin(config: Any, tasks: Sequence[str]) -> _Origin:
    del tasks  # all are drawn
    return _Origin(lambda size: rooms.prepare(config.data_dir, size, config.get("split_sizes", rooms.SPLIT_SIZES)))


def _celebamask_hq_origin(config: Any, tasks: Sequence[str]) -> _Origin:
    del tasks  # all are read
    return _Origin(lambda size: celebamask_hq.prepare(config.data_dir, config.source_dir, size))


def _follow_links(config: Any) -> bool:
    return bool(config.get("follow_links", False))


def _folder_specs(config: Any) -> dict[str, TargetSpec]:
    return {name: target.spec for name, target in folder.read_targets(folder.root(config.source_dir)).items()}


def _folder_origin(config: Any, tasks: Sequence[str]) -> _Origin:
    described = folder.describe(config.source_dir, _follow_links(config))
    return _Origin(
        lambda size: folder.prepare(described, config.data_dir, size),
        folder.labelled(described, tasks),
        {split: [os.path.relpath(row.image, described.root) for row in described.of(split)] for split in SPLITS},
    )


_DATASETS = {
    "celebamask_hq": _Kind(lambda config: celebamask_hq.SPECS, _celebamask_hq_origin),
    "folder": _Kind(_folder_specs, _folder_origin),
    "nyu": _Kind(_nyu_specs, _nyu_origin),
    "rooms": _Kind(lambda config: rooms.SPECS, _rooms_origin),
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
        `follow_links` (whether lists of files may lead out of `source_dir`; no), `validation_share` (nyu; of any
        data set 0: the validation images are trained on, too), `classes` (nyu: 40 or 13), `split_sizes` (rooms),
        `scored_size` and `padded_size` (height, width): of the targets of evaluation, if they are not of the images'
        size, and what these images are padded to.
      tasks: names of the targets to read.

    Raises:
      UserError: no such data set or target, or the data is missing or not as it should be.
    """
    specs = _select_specs(config.name, targets(config), tasks)
    origin = _DATASETS[config.name].origin(config, tasks)

    def opened(size: Any) -> dict[str, Any]:
        directory = origin.prepare(_image_size(size))
        return {split: records.RecordSource(directory, split, specs) for split in SPLITS}

    sources, files = opened(config.image_size), list(origin.files.get("train", ()))
    if origin.labelled is not None:
        sources["train"] = composed.Subset(sources["train"], origin.labelled)
        files = [files[index] for index in origin.labelled]
    if config.get("validation_share") == 0:
        sources["train"] = composed.Joined(sources["train"], sources.pop("validation"))
        files = [*files, *origin.files.get("validation", ())][: len(sources["train"])]
    if any(config.get("scored_size", ())):
        native = opened(config.scored_size)
        sources |= {split: composed.Scored(sources[split], native[split]) for split in sources if split != "train"}
    if any(config.get("padded_size", ())):
        size = _image_size(config.padded_size)
        sources |= {split: composed.Padded(sources[split], specs, size) for split in sources if split != "train"}
    return Dataset(config.name, specs, sources, tuple(files))


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
