"""Examples on disk: how they are encoded, and the source that reads them by random access.

Records lie in TFDS's own directory layout (`data_dir/<data set>/<config>/<version>`) as ArrayRecord files, so
`tfds.builder_from_directory` reads them as well. Reading needs no TensorFlow.
"""

import contextlib
import dataclasses
import datetime
import json
import logging
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging as absl_logging
from tensorflow_datasets.core import constants

from lim_jax.data import encoding
from lim_jax.data.specs import Example, TargetSpec
from lim_jax.errors import UserError, one_line

VERSION = tfds.core.Version("2.0.0")  # of the encoding below, the same for all data sets
METADATA_FILE = "metadata.json"  # what TFDS calls the file of `DatasetInfo.metadata`

Noted = dict[str, dict[str, dict[str, int]]]  # {"image" or task: {what: {"examples": n, "pixels": n}}}


class RecordSource:
    """Random access to one split of prepared records, with the targets that were asked for.

    Attributes:
      noted: what was noted of the split's files when they were prepared; empty where nothing was.
    """

    def __init__(self, directory: os.PathLike[str] | str, split: str, specs: Mapping[str, TargetSpec]):
        """Opens `split` of the records in `directory`; `specs` are the targets to return."""
        try:
            with quiet():
                builder = tfds.builder_from_directory(os.fspath(directory))
                self._records = builder.as_data_source(split)  # pyright: ignore[reportCallIssue] (its decorator hides it)
                features = builder.info.features
                for index in {0, len(self._records) - 1}:
                    self._records[index]  # a missing file or one that is cut short fails here, not in training
        except Exception as error:  # whatever TFDS makes of files that are not as it wrote them
            raise UserError(_unreadable(directory, one_line(error))) from error
        self._directory = os.fspath(directory)
        self._specs = dict(specs)
        self.noted: Noted = dict(read_metadata(directory).noted.get(split, {}))
        stored = features["targets"]  # pyright: ignore[reportOptionalSubscript, reportIndexIssue]
        size = features["image"].shape[:2]  # pyright: ignore[reportOptionalSubscript, reportIndexIssue]
        for name, spec in specs.items():
            if name not in stored or repr(stored[name]) != repr(feature(spec, size)):
                raise UserError(_unreadable(directory, f"target {name!r} is missing or stored in another way"))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        try:
            record = self._records[index]
            targets = {name: _decode(spec, record["targets"][name]) for name, spec in self._specs.items()}
        except IndexError:
            raise  # the end of an iteration
        except Exception as error:  # as when opening: the files may have been damaged since
            raise UserError(_unreadable(self._directory, f"example {index}: {one_line(error)}")) from error
        return {"image": record["image"], "targets": targets}

    def __repr__(self) -> str:  # grain's saved states and error messages hold it
        return f"RecordSource({self._records.dataset_info.full_name}, {self._records.split})"


def _unreadable(directory: os.PathLike[str] | str, why: str) -> str:
    return (
        f"the prepared records in {directory} cannot be read by this version of lim_jax ({why}): "
        "python -m lim_jax.look --config=... --remove=old removes them, and the next run prepares them again"
    )


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What was kept beside records: the folder that they were made from, and what was noted of each split's files."""

    source: str = ""
    noted: Mapping[str, Noted] = dataclasses.field(default_factory=dict)


def read_metadata(directory: os.PathLike[str] | str) -> Metadata:
    """Returns the metadata of records; empty where there are none (rooms, earlier versions) or they are damaged."""
    try:
        content = json.loads((pathlib.Path(directory) / METADATA_FILE).read_text())
        noted = {
            split: {
                name: {what: {"examples": int(n["examples"]), "pixels": int(n["pixels"])} for what, n in counts.items()}
                for name, counts in names.items()
            }
            for split, names in content.get("noted", {}).items()
        }
        return Metadata(str(content.get("source", "")), noted)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return Metadata()


def described(directory: pathlib.Path) -> str:
    """Returns "of SOURCE, prepared 2026-05-04 13:02 (795 train, 80 validation, 654 test)", as far as it is known."""
    written = datetime.datetime.fromtimestamp(directory.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
    source = read_metadata(directory).source or "an unknown source"
    try:
        splits = json.loads((directory / "dataset_info.json").read_text())["splits"]
        numbers = {split["name"]: sum(map(int, split["shardLengths"])) for split in splits}
        counts = [f"{numbers[name]} {name}" for name in ("train", "validation", "test")]
    except (OSError, ValueError, KeyError, TypeError):  # opening them says what is wrong
        counts = ["unreadable"]
    return f"of {source}, prepared {written} ({', '.join(counts)})"


def data_dir(configured: str | None) -> pathlib.Path:
    """Returns where records are kept: as configured, else where TFDS keeps its own."""
    return pathlib.Path(configured or constants.DATA_DIR).expanduser()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences TFDS's warnings, which are about things that are meant: own configs, no published metadata."""
    logger = absl_logging.get_absl_logger()
    logger.addFilter(_not_from_tfds)
    try:
        yield
    finally:
        logger.removeFilter(_not_from_tfds)


def _not_from_tfds(record: logging.LogRecord) -> bool:
    return "tensorflow_datasets" not in record.pathname or record.levelno >= logging.ERROR


def feature(spec: TargetSpec, image_size: tuple[int, int]) -> tfds.features.FeatureConnector:
    """Returns how TFDS stores a target of images of (height, width)."""
    target = spec.missing(image_size)
    if not target.shape:
        return tfds.features.Scalar(dtype=target.dtype.type)
    dtype = np.int16 if spec.kind == "normals" else target.dtype.type
    return tfds.features.Tensor(shape=target.shape, dtype=dtype, encoding="bytes")


def _decode(spec: TargetSpec, stored: Any) -> np.ndarray:
    missing = spec.missing((1, 1))
    return encoding.decode(spec, stored if missing.shape else np.array(stored, missing.dtype))
