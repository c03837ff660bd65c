"""Compiling is noticed, and what is compiled while something else is counts once."""

import types

import jax
import jax.numpy as jnp
import pytest

from lim_jax import compile_time


def test_compiling_is_noticed():
    before = compile_time.seconds()
    jax.jit(lambda x: jnp.sin(x) * 3)(2.0)
    assert compile_time.seconds() > before


def test_nested_durations_count_once(monkeypatch):
    clock = iter([3.0, 5.0, 10.0, 12.0])
    monkeypatch.setattr(compile_time, "_spans", [])
    monkeypatch.setattr(compile_time, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    for name, duration in (("trace", 1.0), ("trace", 1.5), ("trace", 9.0), ("backend", 2.0)):
        compile_time._add(f"/jax/core/compile/{name}", duration)
    compile_time._add("/jax/checkpoint/write", 100.0)
    assert compile_time.seconds() == pytest.approx(9.0 + 2.0)
