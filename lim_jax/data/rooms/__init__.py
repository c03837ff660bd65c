"""`rooms`, the embedded data set: rendered indoor scenes.

`dataset` is what a camera records of them; `scenes` draws rooms, of `furniture`, `walls` and their `parts`, and
`rendering` casts the rays. What the rest of lim_jax uses:

    prepare(data_dir, image_size, split_sizes)     # the directory of the records, rendered on first use
    example(split, index, image_size)              # one example, as a function of its arguments
    SPECS, SPLITS, SPLIT_SIZES
"""

from lim_jax.data.rooms.dataset import SPECS, SPLIT_SIZES, SPLITS, example, prepare

__all__ = ["SPECS", "SPLITS", "SPLIT_SIZES", "example", "prepare"]
