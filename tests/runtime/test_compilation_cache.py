"""Where compiled programs are kept."""

import jax
import pytest

from lim_jax.runtime import compilation_cache


@pytest.mark.parametrize(
    ("directory", "expected"), [("", None), ("auto", "/users/cache/lim_jax/xla"), ("/somewhere", "/somewhere")]
)
def test_where_they_are_kept(monkeypatch, directory, expected):
    changed = {}
    monkeypatch.setattr(jax.config, "update", changed.__setitem__)
    monkeypatch.setenv("XDG_CACHE_HOME", "/users/cache")
    compilation_cache.use(directory)
    assert changed.get("jax_compilation_cache_dir") == expected
