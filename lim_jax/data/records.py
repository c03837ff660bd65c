"""Examples on disk: the TFDS builder that our data sets derive from, and the source that reads what it wrote.

Preparing writes each frame once, at the network's input size, as ArrayRecord files in TFDS's own directory layout
(`data_dir/<data set>/<config>/<version>`), so `tfds.builder_from_directory` reads them as well. Reading needs no
TensorFlow. Records appear under their name only when they are complete: what a killed preparation leaves
behind is never read, and the next one removes it.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import io
import logging
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging as absl_logging
from tensorflow_datasets.core import constants

from lim_jax.data.specs import Example, TargetSpec
from lim_jax.errors import UserError

VERSION = tfds.core.Version("2.0.0")  # of the encoding below, the same for all data sets
PROGRESS_SECONDS = 5.0
_READ_AHEAD = 4  # source examples in flight per thread
_NORMAL_SCALE = 32767
_LOG = logging.getLogger(__name__)


class RecordsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of our builders.

    A subclass defines `specs` (all targets that it writes), `image_size`, and TFDS's `_split_generators`, which
    uses `keyed`.
    """

    VERSION = VERSION
    specs: Mapping[str, TargetSpec]

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the records."""
        raise NotImplementedError

    def keyed(self, split: str, examples: Iterable[Example], total: int) -> Iterator[tuple[int, Example]]:
        """Yields `(index, encoded example)`, TFDS's generator of a split, and logs how far it is."""
        start = reported = time.monotonic()
        for index, example in enumerate(examples):
            yield index, _encode(example, self.specs)
            now = time.monotonic()
            if now - reported > PROGRESS_SECONDS:
                reported = now
                left = (now - start) / (index + 1) * (total - index - 1)
                _LOG.info("%s, %s: %d of %d, %.0f s left", self.name, split, index + 1, total, left)

    def _info(self) -> tfds.core.DatasetInfo:
        height, width = self.image_size
        targets = {name: _feature(spec, self.image_size) for name, spec in self.specs.items()}
        # Plain arrays: ArrayRecord compresses them, and decoding PNGs would take most of an example's time.
        image = tfds.features.Tensor(shape=(height, width, 3), dtype=np.uint8, encoding="bytes")
        return tfds.core.DatasetInfo(
            builder=self,
            description=(self.__doc__ or "").strip(),
            features=tfds.features.FeaturesDict({"image": image, "targets": tfds.features.FeaturesDict(targets)}),
            disable_shuffling=True,  # keeps the source's order; training shuffles when it reads
        )


@dataclasses.dataclass
class SourceConfig(tfds.core.BuilderConfig):
    """What a `SourceBuilder` writes.

    Attributes:
      image_size: (height, width).
      specs: all targets that `read` returns.
      splits: per split, the items that `read` understands.
      read: makes an example of an item; called from several threads.
    """

    image_size: tuple[int, int] = (0, 0)
    specs: Mapping[str, TargetSpec] = dataclasses.field(default_factory=dict)
    splits: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    read: Callable[[Any], Example] = lambda item: item


class SourceBuilder(RecordsBuilder, skip_registration=True):
    """Base of the builders that read people's files, several at a time; the class name is the data set's name."""

    builder_config: SourceConfig

    @property
    def specs(self) -> Mapping[str, TargetSpec]:
        """All targets of the records."""
        return self.builder_config.specs

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the records."""
        return self.builder_config.image_size

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        del dl_manager
        return {split: self._generate_examples(split, items) for split, items in self.builder_config.splits.items()}

    def _generate_examples(self, split: str, items: Sequence[Any]) -> Iterator[tuple[int, Example]]:
        return self.keyed(split, _in_order(self.builder_config.read, items), len(items))


def _in_order(read: Callable[[Any], Example], items: Sequence[Any]) -> Iterator[Example]:
    """Like `map`, but reads ahead in threads: decoding images lets other threads run."""
    threads = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        pending: collections.deque[concurrent.futures.Future[Example]] = collections.deque()
        try:
            for item in items:
                pending.append(pool.submit(read, item))
                if len(pending) > _READ_AHEAD * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


class RecordSource:
    """Random access to one split of prepared records, with the targets that were asked for."""

    def __init__(self, directory: os.PathLike[str] | str, split: str, specs: Mapping[str, TargetSpec]):
        """Opens `split` of the records in `directory`; `specs` are the targets to return."""
        try:
            with _quiet():
                builder = tfds.builder_from_directory(os.fspath(directory))
                self._records = builder.as_data_source(split)  # pyright: ignore[reportCallIssue] (its decorator hides it)
                features = builder.info.features
                for index in {0, len(self._records) - 1}:
                    self._records[index]  # a missing file or one that is cut short fails here, not in training
        except Exception as error:  # whatever TFDS makes of files that are not as it wrote them
            raise UserError(_unreadable(directory, str(error).strip().splitlines()[0])) from error
        self._specs = dict(specs)
        stored = features["targets"]  # pyright: ignore[reportOptionalSubscript, reportIndexIssue]
        size = features["image"].shape[:2]  # pyright: ignore[reportOptionalSubscript, reportIndexIssue]
        for name, spec in specs.items():
            if name not in stored or repr(stored[name]) != repr(_feature(spec, size)):
                raise UserError(_unreadable(directory, f"target {name!r} is missing or stored in another way"))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = self._records[index]
        targets = {name: _decode(spec, record["targets"][name]) for name, spec in self._specs.items()}
        return {"image": record["image"], "targets": targets}

    def __repr__(self) -> str:  # grain's saved states and error messages hold it
        return f"RecordSource({self._records.dataset_info.full_name}, {self._records.split})"


class Subset:
    """Some examples of a source, as a source."""

    def __init__(self, source: Any, indices: Sequence[int]):
        """Keeps the examples of `source` at `indices`, in that order."""
        self._source, self._indices = source, tuple(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Example:
        return self._source[self._indices[index]]

    def __repr__(self) -> str:  # grain's saved states and error messages hold it
        return f"Subset({self._source!r}, {len(self)} examples)"


def _unreadable(directory: os.PathLike[str] | str, why: str) -> str:
    return (
        f"the prepared records in {directory} cannot be read by this version of lim_jax ({why}): "
        "delete that folder, and the next run prepares them again"
    )


def data_dir(configured: str | None) -> pathlib.Path:
    """Returns where records are kept: as configured, else where TFDS keeps its own."""
    return pathlib.Path(configured or constants.DATA_DIR).expanduser()


def prepare(builder: type[RecordsBuilder], config: tfds.core.BuilderConfig, root: str | None) -> pathlib.Path:
    """Writes records unless they are there already, and returns their directory.

    Of several processes on one machine that want the same records, one writes them and the others wait.

    Args:
      builder: what makes the records.
      config: its configuration; the name has to tell apart whatever makes records differ.
      root: `dataset.data_dir`, perhaps None (see `data_dir`).

    Raises:
      UserError: the directory cannot be written.
    """
    directory = data_dir(root) / builder.name / config.name / str(builder.VERSION)
    if directory.exists():
        return directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _locked(directory.parent / "lock"):
            if not directory.exists():  # else another process wrote it while this one waited
                _write(builder, config, directory)
    except OSError as error:
        raise UserError(
            f"cannot write prepared records to {directory.parent} ({error.strerror}): "
            "set dataset.data_dir to a folder that can take them"
        ) from error
    return directory


def prepared(
    builder: type[RecordsBuilder], root: str | None, image_size: tuple[int, int], how_to_get: str
) -> pathlib.Path:
    """Returns the directory of records that were prepared earlier, for when there is no source to prepare from.

    Args:
      builder: what made the records, under names that begin with "<height>x<width>-".
      root: `dataset.data_dir`, perhaps None (see `data_dir`).
      image_size: (height, width).
      how_to_get: for the error message: how to come by the source.

    Raises:
      UserError: there are none, only those of another version, or several.
    """
    folder, size = data_dir(root) / builder.name, "{}x{}".format(*image_size)
    found = sorted(folder.glob(f"{size}-*/{VERSION}"))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{folder} holds records of {len(found)} sources at {size}: "
            "set dataset.source_dir to say which, or delete the others"
        )
    old = sorted(path for path in folder.glob(f"{size}-*/[0-9]*.[0-9]*.[0-9]*") if path.is_dir())
    if old:
        raise UserError(
            f"{old[0]} was prepared by an incompatible version of lim_jax (this one writes {VERSION}): "
            "set dataset.source_dir to prepare it again, and delete that folder"
        )
    raise UserError(
        f"dataset {builder.name} is not prepared at {size} in {folder.parent}, and dataset.source_dir is not set: "
        f"{how_to_get}"
    )


def _write(builder: type[RecordsBuilder], config: tfds.core.BuilderConfig, directory: pathlib.Path) -> None:
    for leftover in directory.parent.glob("*incomplete*"):
        shutil.rmtree(leftover)
    _LOG.info("Preparing %s in %s (once)", builder.name, directory)
    start = time.monotonic()
    tfds.disable_progress_bar()
    downloads = directory.parent / "incomplete_downloads"  # TFDS makes it although nothing is downloaded
    try:
        with _quiet(), contextlib.redirect_stdout(io.StringIO()):
            writer = builder(config=config, data_dir=directory.parents[2], file_format="array_record")
            writer.download_and_prepare(download_dir=downloads)
    finally:
        shutil.rmtree(downloads, ignore_errors=True)
    _LOG.info("Prepared %s in %.1f s", builder.name, time.monotonic() - start)


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
    """Holds an exclusive lock, which ends with the process however that ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences TFDS's warnings, which are about things that are meant: own configs, no published metadata."""
    logger = absl_logging.get_absl_logger()
    logger.addFilter(_not_from_tfds)
    try:
        yield
    finally:
        logger.removeFilter(_not_from_tfds)


def _not_from_tfds(record: logging.LogRecord) -> bool:
    return "tensorflow_datasets" not in record.pathname or record.levelno >= logging.ERROR


def _feature(spec: TargetSpec, image_size: tuple[int, int]) -> tfds.features.FeatureConnector:
    target = spec.missing(image_size)
    if not target.shape:
        return tfds.features.Scalar(dtype=target.dtype.type)
    # Normals: a hundredth of a degree at worst, and half the reading.
    dtype = np.int16 if spec.kind == "normals" else target.dtype.type
    return tfds.features.Tensor(shape=target.shape, dtype=dtype, encoding="bytes")


def _encode(example: Example, specs: Mapping[str, TargetSpec]) -> Example:
    targets = {
        name: np.round(target * _NORMAL_SCALE).astype(np.int16) if specs[name].kind == "normals" else target
        for name, target in example["targets"].items()
    }
    return {"image": example["image"], "targets": targets}


def _decode(spec: TargetSpec, stored: Any) -> np.ndarray:
    if spec.kind == "normals":
        return np.multiply(stored, np.float32(1 / _NORMAL_SCALE), dtype=np.float32)
    if spec.kind == "attribute":
        return np.array(stored, np.int8)
    return stored


def refuse_overlap(images: Iterable[tuple[pathlib.Path, str]]) -> None:
    """Raises `UserError` if an image is listed twice; `images` are (path, split) pairs."""
    seen: dict[pathlib.Path, str] = {}
    for image, split in images:
        if image in seen:
            where = f"twice in {split}" if seen[image] == split else f"in {seen[image]} and in {split}"
            raise UserError(f"{image} is listed {where}: an image belongs to one split, once")
        seen[image] = split


def select_specs(name: str, specs: Mapping[str, TargetSpec], tasks: Collection[str]) -> dict[str, TargetSpec]:
    """Returns the specs of `tasks`, in their order.

    Raises:
      UserError: the data set called `name` has no such target.
    """
    for task in tasks:
        if task not in specs:
            raise UserError(f"dataset {name!r} has no target {task!r}: choose tasks from {', '.join(specs)}")
    return {task: specs[task] for task in tasks}
