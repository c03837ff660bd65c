"""`lim_jax.structure` works for anybody's functions, so that it knows nothing of our networks."""

import pathlib
import re

import lim_jax.structure

ALLOWED = {"structure", "sparsity", "errors"}


def test_imports_nothing_else_of_ours():
    folder = pathlib.Path(lim_jax.structure.__file__).parent
    sources = [path.read_text() for path in folder.rglob("*.py")]
    imported = {name for source in sources for name in re.findall(r"(?:from|import) lim_jax\.(\w+)", source)}
    assert len(sources) > 10 and imported == ALLOWED
