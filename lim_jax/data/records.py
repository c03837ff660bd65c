"""Examples on disk: the TFDS builder that our data sets derive from, and the source that reads what it wrote.

Preparing writes each frame once, at the network's input size, as ArrayRecord files in TFDS's own directory layout
(`data_dir/<data set>/<config>/<version>`), so `tfds.builder_from_directory` reads them as well. Reading needs no
TensorFlow. Records appear under their name only when they are complete: what a killed preparation leaves
behind is never read, and the next one removes it.
"""

import contextlib
import fcntl
import io
import logging
import os
import pathlib
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from absl import logging as absl_logging
from tensorflow_datasets.core import constants

from lim_jax.data import transforms
from lim_jax.data.specs import Example, TargetSpec
from lim_jax.errors import UserError

PROGRESS_SECONDS = 5.0
_LOG = logging.getLogger(__name__)


class RecordsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of our builders.

    A subclass defines `VERSION`, `specs` (all targets that it writes), `image_size`, and TFDS's `_split_generators`,
    which uses `keyed`.
    """

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
        image = tfds.features.Image(shape=(height, width, 3), encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self,
            description=(self.__doc__ or "").strip(),
            features=tfds.features.FeaturesDict({"image": image, "targets": tfds.features.FeaturesDict(targets)}),
            disable_shuffling=True,  # keeps the source's order; training shuffles when it reads
        )


class RecordSource:
    """Random access to one split of prepared records, with the targets that were asked for."""

    def __init__(self, directory: os.PathLike[str] | str, split: str, specs: Mapping[str, TargetSpec]):
        """Opens `split` of the records in `directory`; `specs` are the targets to return."""
        with _quiet():
            builder = tfds.builder_from_directory(os.fspath(directory))
            self._records = builder.as_data_source(split)  # pyright: ignore[reportCallIssue] (its decorator hides it)
        self._specs = dict(specs)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = self._records[index]
        targets = {name: _decode(spec, record["targets"][name]) for name, spec in self._specs.items()}
        return {"image": record["image"], "targets": targets}

    def __repr__(self) -> str:  # grain's saved states and error messages hold it
        return f"RecordSource({self._records.dataset_info.full_name}, {self._records.split})"


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
    height, width = image_size
    if spec.kind == "segmentation":
        return tfds.features.Image(shape=(height, width, 1), encoding_format="png")
    if spec.kind == "depth":
        return tfds.features.Tensor(shape=(height, width), dtype=np.float32, encoding="bytes")
    if spec.kind == "normals":  # half precision is 0.03 degrees at worst, and half the reading
        return tfds.features.Tensor(shape=(height, width, 3), dtype=np.float16, encoding="bytes")
    return tfds.features.Scalar(dtype=np.int8)


def _encode(example: Example, specs: Mapping[str, TargetSpec]) -> Example:
    targets = {}
    for name, spec in specs.items():
        target = example["targets"][name]
        if spec.kind == "segmentation":
            target = _png(target)
        elif spec.kind == "normals":
            target = target.astype(np.float16)
        targets[name] = target
    return {"image": _png(example["image"][..., ::-1]), "targets": targets}


def _decode(spec: TargetSpec, stored: Any) -> np.ndarray:
    if spec.kind == "segmentation":
        return stored[..., 0]
    if spec.kind == "normals":
        return transforms.normalized(stored)
    if spec.kind == "attribute":
        return np.array(stored, np.int8)
    return stored


def _png(image: np.ndarray) -> bytes:
    """Encodes a map or a BGR image; here rather than in TFDS, which needs TensorFlow for it."""
    return cv2.imencode(".png", image)[1].tobytes()


def select_specs(name: str, specs: Mapping[str, TargetSpec], tasks: Collection[str]) -> dict[str, TargetSpec]:
    """Returns the specs of `tasks`, in their order.

    Raises:
      UserError: the data set called `name` has no such target.
    """
    for task in tasks:
        if task not in specs:
            raise UserError(f"dataset {name!r} has no target {task!r}: choose tasks from {', '.join(specs)}")
    return {task: specs[task] for task in tasks}
