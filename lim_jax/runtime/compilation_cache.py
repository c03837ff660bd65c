"""Compiled programs that are kept between runs, so that the next one starts sooner."""

import os
import pathlib

import jax

_WORTH_KEEPING = 0.1  # seconds of compilation


def use(directory: str) -> None:
    """Keeps compiled programs in `directory`, in the user's cache ("auto"), or not at all ("")."""
    if directory:
        place = _users_cache() if directory == "auto" else pathlib.Path(directory)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING)
        jax.config.update("jax_compilation_cache_dir", str(place))


def _users_cache() -> pathlib.Path:
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return cache / "lim_jax" / "xla"
