"""Compiling is noticed, and what is compiled while something else is counts once."""

import time
import types

import jax
import jax.numpy as jnp
import pytest

from lim_jax.runtime import compile_time


def test_compiling_is_noticed():
    started = time.monotonic()
    jax.jit(lambda x: jnp.sin(x) * 3)(2.0)
    assert 0 < compile_time.since(started) <= time.monotonic() - started


@pytest.mark.parametrize(("start", "seconds"), [(0.0, 12.0), (5.0, 8.0), (11.5, 1.5), (20.0, 0.0)])
def test_durations_that_overlap_count_once(monkeypatch, start, seconds):
    clock = iter([3.0, 5.0, 10.0, 13.0])
    monkeypatch.setattr(compile_time, "_spans", [])
    monkeypatch.setattr(compile_time, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    for name, duration in (("trace", 1.0), ("trace", 1.5), ("trace", 9.0), ("another thread's", 4.0)):
        compile_time._add(f"/jax/core/compile/{name}", duration)
    compile_time._add("/jax/checkpoint/write", 100.0)
    assert compile_time.since(start) == pytest.approx(seconds)
