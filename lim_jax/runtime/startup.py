"""What a process does before it computes anything, whichever verb it runs."""

from lim_jax.runtime import compilation_cache, memory


def prepare(compilation_cache_dir: str) -> None:
    """Sets up memory and the compilation cache (`compilation_cache.use`); to be called before a device is used."""
    memory.keep_freed_memory()
    compilation_cache.use(compilation_cache_dir)
