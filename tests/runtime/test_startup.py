"""What a process sets up before it computes, and that programs have it."""

import re

import jax
import jax.numpy as jnp
import pytest

from lim_jax import ops
from lim_jax.config.rules import RULES
from lim_jax.runtime import startup


@pytest.fixture
def restored():
    """Other tests find the precision as it was."""
    before = jax.config.jax_default_matmul_precision
    yield
    jax.config.update("jax_default_matmul_precision", before)


@pytest.mark.parametrize(("precision", "expected"), [("default", "DEFAULT"), ("tf32", "HIGH"), ("float32", "HIGHEST")])
def test_the_precision_is_part_of_programs(restored, precision, expected):
    """1×1 kernels are products on a GPU; gradients are convolutions and products, too."""
    startup.prepare("", precision)

    def loss(kernels, x):
        for kernel in kernels:
            x = ops.convolve(x, kernel, forms=ops.GPU)
        return jnp.sum(x)

    kernels = [jax.ShapeDtypeStruct((size, size, 4, 4), jnp.float32) for size in (1, 3)]
    images = jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.float32)
    lowered = jax.jit(jax.grad(loss)).trace(kernels, images).lower(lowering_platforms=("cuda",)).as_text()
    operations = [line for line in lowered.splitlines() if "stablehlo.convolution" in line or "dot_general" in line]
    assert len(operations) == 4
    assert {precision for line in operations for precision in re.findall(r"\b(DEFAULT|HIGH|HIGHEST)\b", line)} == {
        expected
    }


def test_a_configuration_accepts_what_there_is():
    assert RULES["matmul_precision"].choices() == tuple(startup.MATMUL_PRECISIONS)
