"""How much memory there is, and where the C library leaves what XLA frees: kept for the next step, or returned."""

import ctypes
import os
import pathlib

from lim_jax.runtime import platforms

# Parameters of mallopt, from glibc's malloc.h: what keeps freed memory, and glibc's own setting.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = (-1, 2**31 - 1, 128 * 1024), (-4, 0, 65536), (-8, 1, 0)


def of_machine() -> int:
    """Returns the bytes of memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def mappings() -> int | None:
    """Returns how many memory mappings this process holds; None where the system (not Linux) does not tell."""
    try:
        with pathlib.Path("/proc/self/maps").open("rb") as lines:
            return sum(1 for _ in lines)
    except OSError:
        return None


def keep_freed_memory() -> None:
    """Makes the C library keep memory that is freed, where the platform wants it; does nothing without glibc.

    XLA frees the temporary arrays of a step at its end, and allocates them again in the next one. glibc would return
    them to the system and get them back page by page. To be called before a device is used: XLA's threads have to
    find the setting, since a thread that has got a heap of its own always returns large arrays.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    options = (_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX)
    for parameter, keeping, _ in options:
        mallopt(parameter, keeping)
    if not platforms.default().keeps_freed_memory:
        for parameter, _, default in options:
            mallopt(parameter, default)


def return_freed_memory() -> None:
    """Returns to the system what was freed so far, although `keep_freed_memory` keeps it.

    For when a compiler is done, or a checkpoint is saved: their memory is in pieces, into which the arrays of a step do
    not fit. Does nothing without glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
