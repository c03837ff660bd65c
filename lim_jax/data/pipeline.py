"""From random-access sources to batches: shuffled and endless for training, complete and padded for evaluation.

Both are grain data sets, so examples are read and decoded by threads (or worker processes) ahead of the step,
and a training iterator's state can be saved and restored exactly. Batches are cut from one global stream,
then shared out, so what a step sees does not depend on how many processes run it.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import grain
import numpy as np
from absl import flags

from lim_jax.data.specs import Example, TargetSpec
from lim_jax.errors import UserError
from lim_jax.runtime import signals

_ENDLESS = 2**24  # epochs: without a number, grain cannot make batches of one example (its length overflows)


class Source(Protocol):
    """Random access to examples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


def evenly_spaced(source: Source, count: int | None) -> list[int]:
    """Returns the indices of `count` examples spread evenly over the source, the first and the last among them.

    All of them, where there are no more or `count` is None.
    """
    count = len(source) if count is None else min(count, len(source))
    return [int(index) for index in np.linspace(0, len(source) - 1, count)]


def train_iterator(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    augmentation: grain.transforms.RandomMap | None = None,
    num_workers: int = 0,
    num_threads: int = 4,
    prefetch: int = 4,
) -> grain.DatasetIterator[Example]:
    """Returns this process's share of an endless stream of training batches.

    The stream of examples is one random permutation of the source after another, each example exactly once in
    each; every `batch_size` successive examples are a batch, which may thus span two epochs or, of a small
    source, several. Process p of P reads the p-th of P contiguous parts of each batch.

    Args:
      source: the examples; with `num_workers` it has to be picklable.
      batch_size: examples per global batch, divisible by `process_count`.
      seed: fixes the permutations.
      process_index: which share to read.
      process_count: number of shares.
      augmentation: a random change of every example, anew in every epoch; drawn from `seed` as well.
      num_workers: processes that read and decode; 0 leaves that to threads of this one. The saved state of an
        iterator fits only an iterator of as many workers.
      num_threads: threads that read and decode, in each process.
      prefetch: batches kept ready.

    Returns:
      An iterator over `{"image": uint8 (B, H, W, 3), "targets": {task: (B, ...)}}` with B = batch_size /
      process_count. `get_state()` and `set_state(state)` save and restore its position exactly, as does Orbax with
      `grain.checkpoint.CheckpointSave` and `CheckpointRestore`.

    Raises:
      UserError: the source is empty, or the batch cannot be shared out.
    """
    if len(source) == 0:
        raise UserError("there is nothing to train on: the training split is empty; check dataset.source_dir")
    local = _local_batch_size(batch_size, process_count)
    examples = grain.MapDataset.source(source).seed(seed).shuffle().repeat(_ENDLESS)
    if augmentation is not None:
        examples = examples.random_map(augmentation)
    shares = examples.batch(local)[process_index::process_count]
    batches = shares.to_iter_dataset(grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch))
    if num_workers:
        if not flags.FLAGS.is_parsed():  # grain asks for its flags' values, which outside of absl's app nobody parsed
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=num_workers)
        batches = batches.mp_prefetch(options, worker_init_fn=signals.end_with_parent)
    return iter(batches)


def evaluation_batches(
    source: Source,
    specs: Mapping[str, TargetSpec],
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 4,
    prefetch: int = 4,
) -> grain.IterDataset[Example]:
    """Returns this process's share of a split, every example exactly once and in the source's order.

    All processes get `num_batches(len(source), batch_size)` batches of the same shapes: the end of the last one is
    padded with black images whose targets are `spec.missing(...)`, which losses and metrics do not count.

    Args:
      source: the examples.
      specs: the targets of `source` by name.
      batch_size: examples per global batch, divisible by `process_count`.
      process_index: which share to read.
      process_count: number of shares.
      num_threads: threads that read and decode.
      prefetch: batches kept ready.

    Returns:
      An iterable of batches as of `train_iterator`, which may be iterated again.

    Raises:
      UserError: the batch cannot be shared out.
    """
    local = _local_batch_size(batch_size, process_count)
    padded = _PaddedSource(source, specs, num_batches(len(source), batch_size) * batch_size)
    shares = grain.MapDataset.source(padded).batch(local)[process_index::process_count]
    return shares.to_iter_dataset(grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch))


def num_batches(num_examples: int, batch_size: int) -> int:
    """Returns how many batches hold `num_examples`, the last one perhaps in part."""
    return -(-num_examples // batch_size)


def example_shapes(source: Source, augmentation: grain.transforms.RandomMap | None) -> Example:
    """Returns an example as `train_iterator` batches them, to be looked at for its shapes and dtypes."""
    example = source[0]
    changed: Any = example if augmentation is None else augmentation.random_map(example, np.random.default_rng(0))
    return changed


class _PaddedSource:
    """`source` lengthened to `length` with examples that carry no label."""

    def __init__(self, source: Source, specs: Mapping[str, TargetSpec], length: int):
        self._source = source
        self._specs = dict(specs)
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        if index < len(self._source):
            return self._source[index]
        first = self._source[0]
        sizes = {name: np.shape(first["targets"][name])[:2] or first["image"].shape[:2] for name in self._specs}
        targets = {name: spec.missing(sizes[name]) for name, spec in self._specs.items()}
        return {"image": np.zeros_like(first["image"]), "targets": targets}


def _local_batch_size(batch_size: int, process_count: int) -> int:
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"batch_size={batch_size} cannot be shared out evenly to {process_count} process(es): "
            f"choose a positive multiple of {process_count}"
        )
    return batch_size // process_count
