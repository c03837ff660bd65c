"""Packages that offer names of their modules without importing them first."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def offering(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns a package's `__getattr__`, which imports a name's module when the name is first asked for.

    Args:
      package: `__name__` of the package.
      modules: the module of the package that has it, by name.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get
