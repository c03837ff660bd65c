"""Prepares records: reads each frame of a data set once, and writes it at the network's input size.

Records appear under their name only when they are complete: what a killed preparation leaves behind is never
read, and the next one removes it. Their name holds the size and a fingerprint of the source.
"""

import abc
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from lim_jax.data import encoding, records
from lim_jax.data.problems import Problems
from lim_jax.data.sources.fingerprints import Fingerprint
from lim_jax.data.specs import Example, TargetSpec
from lim_jax.errors import UserError

PROGRESS_SECONDS = 5.0
_READ_AHEAD = 4  # source examples in flight per thread
_LOG = logging.getLogger(__name__)


class RecordsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of our builders.

    A subclass defines `specs` (all targets that it writes), `image_size`, and TFDS's `_split_generators`, which
    uses `keyed`.
    """

    VERSION = records.VERSION
    specs: Mapping[str, TargetSpec]

    @property
    @abc.abstractmethod
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the records."""

    def keyed(self, split: str, examples: Iterable[Example], total: int) -> Iterator[tuple[int, Example]]:
        """Yields `(index, encoded example)`, TFDS's generator of a split, and logs how far it is."""
        start = reported = time.monotonic()
        noted: records.Noted = {}
        for index, example in enumerate(examples):
            _add_noted(noted, example.get("noted", {}))
            yield index, encoding.encode(example, self.specs)
            now = time.monotonic()
            if now - reported > PROGRESS_SECONDS:
                reported = now
                left = (now - start) / (index + 1) * (total - index - 1)
                _LOG.info("%s, %s: %d of %d, %.0f s left", self.name, split, index + 1, total, left)
        self.info.metadata.setdefault("noted", {})[split] = noted  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]

    def _info(self) -> tfds.core.DatasetInfo:
        height, width = self.image_size
        targets = {name: records.feature(spec, self.image_size) for name, spec in self.specs.items()}
        # Plain arrays: ArrayRecord compresses them, and decoding PNGs would take most of an example's time.
        image = tfds.features.Tensor(shape=(height, width, 3), dtype=np.uint8, encoding="bytes")
        return tfds.core.DatasetInfo(
            builder=self,
            description=(self.__doc__ or "").strip(),
            features=tfds.features.FeaturesDict({"image": image, "targets": tfds.features.FeaturesDict(targets)}),
            disable_shuffling=True,  # keeps the source's order; training shuffles when it reads
            metadata=tfds.core.MetadataDict(),
        )


@dataclasses.dataclass
class SourceConfig(tfds.core.BuilderConfig):
    """What a `SourceBuilder` writes.

    Attributes:
      image_size: (height, width).
      specs: all targets that `read` returns.
      splits: per split, the items that `read` understands.
      read: makes an example of an item; called from several threads.
      check: looks at the source as a whole before anything is read.
      source: where it lies.
    """

    image_size: tuple[int, int] = (0, 0)
    specs: Mapping[str, TargetSpec] = dataclasses.field(default_factory=dict)
    splits: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    read: Callable[[Any], Example] = lambda item: item
    check: Callable[[], None] = lambda: None
    source: str = ""


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
        self.builder_config.check()
        self.info.metadata["source"] = self.builder_config.source  # pyright: ignore[reportOptionalSubscript, reportIndexIssue]
        splits = self.builder_config.splits
        names = list(splits)
        return {
            split: self._generate_examples(split, [item for other in names[number:] for item in splits[other]])
            for number, split in enumerate(names, start=1)
        }

    def _generate_examples(self, split: str, later: Sequence[Any]) -> Iterator[tuple[int, Example]]:
        items = self.builder_config.splits[split]
        return self.keyed(split, self._read(items, later), len(items))

    def _read(self, items: Sequence[Any], later: Sequence[Any]) -> Iterator[Example]:
        """Yields the examples until one is wrong; then looks for whatever else is wrong, also in `later` splits."""
        problems = Problems()
        for future in _in_order(self.builder_config.read, items):
            with problems.gathered():
                example = future.result()
            if not problems:
                yield example
        for future in _in_order(self.builder_config.read, later if problems else ()):
            with problems.gathered():
                future.result()
        problems.raise_any()


def _in_order(read: Callable[[Any], Example], items: Sequence[Any]) -> Iterator[concurrent.futures.Future[Example]]:
    """Yields the finished reads in order, and reads ahead in threads: decoding images lets other threads run."""
    threads = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        pending: collections.deque[concurrent.futures.Future[Example]] = collections.deque()
        try:
            for item in items:
                pending.append(pool.submit(read, item))
                if len(pending) > _READ_AHEAD * threads:
                    yield pending.popleft()
            while pending:
                yield pending.popleft()
        finally:
            pool.shutdown(cancel_futures=True)


def _add_noted(total: records.Noted, example: Mapping[str, Mapping[str, int]]) -> None:
    """Adds what was noted of one example to the sums of a split."""
    for name, counts in example.items():
        for what, pixels in counts.items():
            sums = total.setdefault(name, {}).setdefault(what, {"examples": 0, "pixels": 0})
            sums["examples"] += 1
            sums["pixels"] += int(pixels)


def prepare(builder: type[RecordsBuilder], config: tfds.core.BuilderConfig, root: str | None) -> pathlib.Path:
    """Writes records unless they are there already, and returns their directory.

    Of several processes on one machine that want the same records, one writes them and the others wait.

    Args:
      builder: what makes the records.
      config: its configuration; the name has to tell apart whatever makes records differ.
      root: `dataset.data_dir`, perhaps None (see `records.data_dir`).

    Raises:
      UserError: the directory cannot be written.
    """
    directory = records.data_dir(root) / builder.name / config.name / str(builder.VERSION)
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


def prepare_source(
    builder: type[SourceBuilder],
    config: SourceConfig,
    root: str | None,
    fingerprint: Fingerprint,
    former_digest: Callable[[], str],
    variant: str = "",
) -> pathlib.Path:
    """Like `prepare`, under "<height>x<width><variant>-<digest>"; or finds what an earlier version has prepared.

    The variant tells apart records of one source that differ in what was made of it.

    Earlier versions looked at fewer things to make a digest. Their records are used, which runs that began on
    them rely on, unless a file of the source has changed since.
    """
    size = "{}x{}".format(*config.image_size) + variant
    named = dataclasses.replace(config, name=f"{size}-{fingerprint.digest}")
    folder = records.data_dir(root) / builder.name
    if not (folder / named.name / str(builder.VERSION)).exists() and folder.is_dir():
        former = folder / f"{size}-{former_digest()}" / str(builder.VERSION)
        if former.is_dir() and fingerprint.newest <= former.stat().st_mtime:
            _LOG.info(
                "%s was prepared by an earlier version, which let depths of 65535 count, and did not turn labels when "
                "EXIF turned their image: remove it to prepare it again",
                former,
            )
            return former
    return prepare(builder, named, root)


def prepared(
    builder: type[RecordsBuilder], root: str | None, image_size: tuple[int, int], how_to_get: str, variant: str = ""
) -> pathlib.Path:
    """Returns the directory of records that were prepared earlier, for when there is no source to prepare from.

    Says which they are, because they may be others than the user thinks of.

    Args:
      builder: what made the records, under names that begin with "<height>x<width><variant>-".
      root: `dataset.data_dir`, perhaps None (see `records.data_dir`).
      image_size: (height, width).
      how_to_get: for the error message: how to come by the source.
      variant: see `prepare_source`.

    Raises:
      UserError: there are none, only those of another version, or several.
    """
    folder, size = records.data_dir(root) / builder.name, "{}x{}".format(*image_size) + variant
    found = sorted(folder.glob(f"{size}-*/{records.VERSION}"))
    if len(found) == 1:
        _LOG.info("config.dataset.source_dir is not set: using records %s", records.described(found[0]))
        return found[0]
    if found:
        raise UserError(
            f"{folder} holds records of {len(found)} sources at {size} ({'; '.join(map(records.described, found))}): "
            "set config.dataset.source_dir to say which, or delete the others"
        )
    old = sorted(path for path in folder.glob(f"{size}-*/[0-9]*.[0-9]*.[0-9]*") if path.is_dir())
    if old:
        raise UserError(
            f"{old[0]} was prepared by an incompatible version of lim_jax (this one writes {records.VERSION}): "
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
        with records.quiet(), contextlib.redirect_stdout(io.StringIO()):
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
