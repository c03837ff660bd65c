"""The paper's CelebAMask-HQ set-up: segmentation (3 classes), male and smiling at 256×256, sparse at λ = 1e-5.

    python -m lim_jax.main --config=celeba --config.dataset.source_dir=DIR

`DIR` is CelebAMask-HQ as downloaded; it is read once. Any of the 40 attributes can be a task, by its name in lower
case: `--config.tasks=segmentation,eyeglasses,young`. Variants: `--config=celeba:dense` leaves the network
dense. `--config=celeba:as_published` repeats the habits of the paper's public code, among them the double
sigmoid that keeps "smiling" at chance; with `--config.sparsity.strength=0` it is the paper's dense baseline.

Expected: the tendencies of the paper's table 2 (5 seeds): sparse multi-task networks at λ = 1e-5 reach about 70 % group
sparsity and beat or match the dense ones. Not yet repeated with lim_jax.
"""

import ml_collections

from lim_jax.configs import common


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; `variant` is empty, "dense" or "as_published"."""
    config = common.get_config()
    config.tasks = ("segmentation", "male", "smiling")
    config.dataset.name = "celebamask_hq"
    config.batch_size = 32
    config.early_stopping_patience = 10
    config.learning_rate_schedule = "plateau"
    config.sparsity.strength = 1e-5
    return common.with_variant(config, variant, "configs/celeba.py")
