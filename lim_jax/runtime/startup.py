"""What a process does before it computes anything, whichever verb it runs."""

import jax

from lim_jax.runtime import compilation_cache, memory

# JAX's names of how exact products and convolutions of float32 are. Of its own accord it takes TF32 (10 bits of the
# mantissa) on GPUs that have it, and float32 on CPUs.
MATMUL_PRECISIONS = {"default": None, "tf32": "tensorfloat32", "float32": "float32"}


def prepare(compilation_cache_dir: str, matmul_precision: str = "default") -> None:
    """Sets up memory, the compilation cache and the precision of products; to be called before a device is used.

    Args:
      compilation_cache_dir: see `compilation_cache.use`.
      matmul_precision: one of `MATMUL_PRECISIONS`, for all programs of the process that ask for none themselves.
    """
    memory.keep_freed_memory()
    compilation_cache.use(compilation_cache_dir)
    jax.config.update("jax_default_matmul_precision", MATMUL_PRECISIONS[matmul_precision])
