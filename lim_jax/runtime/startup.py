"""What a process does before it computes anything, whichever verb it runs."""

from lim_jax.config import Config
from lim_jax.runtime import compilation_cache, memory


def prepare(config: Config) -> None:
    """Sets up memory and the compilation cache as `config` asks; to be called before a device is used."""
    memory.keep_freed_memory()
    compilation_cache.use(config.compilation_cache_dir)
