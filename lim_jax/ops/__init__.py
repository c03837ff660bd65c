"""The operations that networks and proximal steps are made of, in a form for each kind of device.

`reference` says what they compute; `cpu` and `gpu` how it is done there. Every function takes `forms`: REFERENCE, CPU
or GPU. Group sums are in `group_sums`.
"""

from lim_jax.ops.cpu import CPU
from lim_jax.ops.forms import REFERENCE, Form, Forms, SumGroups
from lim_jax.ops.gpu import GPU
from lim_jax.ops.operations import convolve, max_pool, normalize_batch, relu
from lim_jax.ops.reference import BATCH_NORM_EPSILON, scale_and_shift

__all__ = [
    "BATCH_NORM_EPSILON",
    "CPU",
    "GPU",
    "REFERENCE",
    "Form",
    "Forms",
    "SumGroups",
    "convolve",
    "max_pool",
    "normalize_batch",
    "relu",
    "scale_and_shift",
]
