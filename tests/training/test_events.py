"""Writing TensorBoard events."""

import threading

from lim_jax.training import events


def test_writers_that_cannot_be_imported_ahead_are_left_to_whoever_needs_them(monkeypatch):
    """As when the process ends meanwhile; pytest objects to errors in threads."""
    monkeypatch.setattr(events, "_WRITERS", "clu.no_writers")
    before = set(threading.enumerate())
    events.import_writers_meanwhile.__wrapped__()
    for thread in set(threading.enumerate()) - before:
        thread.join()
