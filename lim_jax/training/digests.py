"""Digests of what a checkpoint holds: made from the arrays in memory, compared with those that come back from disk.

An array's digest is the CRC-32 of its dtype, shape and elements: it finds every flipped bit and every exchanged array.
It is no protection from someone who changes both.
"""

import concurrent.futures
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

PyTree = Any
Arrays = Mapping[str, np.ndarray]


def leaves_by_name(tree: PyTree) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths, `"params/backbone/..."`, whatever kinds of nodes lead to them."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def by_name(tree: PyTree) -> dict[str, np.ndarray]:
    """Returns the arrays of a tree on the host, by their paths."""
    return {name: np.asarray(leaf) for name, leaf in leaves_by_name(tree).items()}


def like(tree: PyTree, arrays: Arrays) -> PyTree:
    """Returns the arrays as a tree of the structure of `tree`; the inverse of `leaves_by_name`."""
    return jax.tree_util.tree_map_with_path(lambda path, _: arrays[_name(path)], tree)


def of_arrays(arrays: Arrays) -> dict[str, str]:
    """Returns the digest of each array, 8 hexadecimal digits; several are made at a time, outside of Python's lock."""
    return dict(_in_threads(_of_array, arrays.values(), arrays))


def of_json(content: Any) -> str:
    """Returns the digest of JSON-serialisable content, the same after it was written and read."""
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def differing(wanted: Mapping[str, str], arrays: Arrays) -> str | None:
    """Returns what is wrong with arrays whose digests were `wanted`, in a few words; None if nothing is."""
    for names, what in ((wanted.keys() - arrays.keys(), "is missing"), (arrays.keys() - wanted.keys(), "is too much")):
        if names:
            return f"{min(names)} {what}"
    found = of_arrays(arrays)
    return next((f"{name} is not what was saved" for name in wanted if found[name] != wanted[name]), None)


def first_not_finite(arrays: Arrays) -> str | None:
    """Returns the name of the first array with an element that is infinite or no number; None if there is none."""
    return next((name for name, finite in _in_threads(_is_finite, arrays.values(), arrays) if not finite), None)


def _in_threads(function: Callable[[np.ndarray], Any], arrays: Iterable[np.ndarray], names: Iterable[str]) -> Any:
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(zip(names, pool.map(function, arrays), strict=True))


def _of_array(array: np.ndarray) -> str:
    kind = zlib.crc32(f"{array.dtype} {array.shape}".encode())
    return f"{zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, kind):08x}"


def _is_finite(array: np.ndarray) -> bool:
    return not np.issubdtype(array.dtype, np.inexact) or bool(np.isfinite(array).all())


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
