"""Data sets: images with several targets, prepared once at the network's input size, read by random access.

What the rest of lim_jax uses:

    dataset = load(config.dataset, config.tasks)     # prepares the records on first use
    dataset.specs                                    # {task: TargetSpec}
    dataset.sources["train"]                         # len(source), source[i] -> {"image", "targets": {task: array}}

    batches = pipeline.train_iterator(
        dataset.sources["train"], batch_size=16, seed=0, process_index=0, process_count=1, num_workers=0)
    batch = next(batches)                            # {"image": uint8 (B, H, W, 3), "targets": {task: (B, ...)}}
    batches.get_state(), batches.set_state(state)    # or Orbax: grain.checkpoint.CheckpointSave(batches)

    for batch in pipeline.evaluation_batches(
        dataset.sources["test"], dataset.specs, batch_size=16, process_index=0, process_count=1): ...

`batch_size` is global and a batch holds this process's share of it, batch_size / process_count examples. Training
batches never end. Evaluation ends after `pipeline.num_batches(len(source), batch_size)` batches on every
process; the rows that pad the last batch have no valid target (see `specs`).

`load` reads `name`, `data_dir` (None: TFDS's own place), `image_size` (height, width) and, where the data set has
them, `source_dir` (nyu, celebamask_hq, folder), `classes` (nyu), `follow_links` (nyu, folder) and
`split_sizes` (rooms).
"""

from typing import TYPE_CHECKING

from lim_jax.data.specs import IGNORE, TargetSpec
from lim_jax.runtime import lazy

if TYPE_CHECKING:
    from lim_jax.data.datasets import Dataset, load

__all__ = ["IGNORE", "Dataset", "TargetSpec", "load"]

# They import TFDS, and prediction needs only the specs.
__getattr__ = lazy.offering(__name__, {"Dataset": "datasets", "load": "datasets"})
