"""What is compiled, and when: once, ahead of the first step, and nothing after the first epoch."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lim_jax import sparsity
from lim_jax.prediction import evaluation
from lim_jax.runtime import compilation, devices, memory, platforms
from lim_jax.training import loop
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow


@pytest.fixture
def compilations():
    """A list that grows by one whenever XLA compiles a function, or loads it from the compilation cache."""
    names = []

    def listen(event, duration_secs, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def test_nothing_is_compiled_after_the_first_epoch(compilations, data_dir, tmp_path, monkeypatch):
    """Every epoch trains, evaluates, watches the groups, saves and writes, all by what the first one compiled."""
    compiled_before = []  # each epoch, and the report after the last one

    def counting(function):
        def call(*arguments, **options):
            compiled_before.append(len(compilations))
            return function(*arguments, **options)

        return call

    for owner, name in ((loop.epochs, "begin"), (loop.results, "finish")):
        monkeypatch.setattr(owner, name, counting(getattr(owner, name)))
    config = tiny_config(data_dir)
    config.num_epochs, config.num_devices = 3, 2
    config.dataset.cache = "device"  # a program more
    monkeypatch.setattr(compilation, "MANY_MAPPINGS", 1)
    client = jax.local_devices()[0].client
    before = len(client.live_executables())
    loop.train_and_evaluate(config, tmp_path)
    assert len(client.live_executables()) < before + 5, "kept after the run"
    first, second, third, report = compiled_before
    assert second > first
    assert third == second
    assert report == second


def test_evaluation_is_compiled_before_it_is_needed(compilations, data_dir, tmp_path, monkeypatch):
    """Where the platform has time for that."""
    early = dataclasses.replace(platforms.PLATFORMS["cpu"], compiles_evaluation_early=True)
    monkeypatch.setitem(platforms.PLATFORMS, "cpu", early)
    evaluate, compiled_meanwhile = evaluation.Evaluator.with_details, []

    def counting(*arguments):
        before = len(compilations)
        result = evaluate(*arguments)
        compiled_meanwhile.append(len(compilations) - before)
        return result

    monkeypatch.setattr(evaluation.Evaluator, "with_details", counting)
    config = tiny_config(data_dir)
    config.num_epochs, config.tasks = 1, ("depth",)
    loop.train_and_evaluate(config, tmp_path)
    assert compiled_meanwhile and not any(compiled_meanwhile[:1])


@pytest.mark.parametrize("inject", [False, True])
@pytest.mark.parametrize("penalty", ["group_lasso", "group_mcp"])
def test_updates_outside_jit_compile_only_once(compilations, penalty, inject):
    def make(learning_rate, strength):
        return sparsity.proximal_adam(learning_rate, strength, [(".*", -2)], penalty=penalty)

    tx = (optax.inject_hyperparams(make) if inject else make)(learning_rate=0.01, strength=0.01)
    params = {"kernel": jnp.ones((3, 3, 4, 4))}
    state = tx.init(params)
    for _ in range(2):
        _, state = tx.update(params, state, params)
    before = len(compilations)
    tx.update(params, state, params)
    assert len(compilations) == before


def test_functions_are_compiled_ahead(compilations, caplog):
    local_devices = jax.local_devices()[:2]
    step = devices.data_parallel(lambda state, batch: state + jax.lax.psum(batch.sum(), devices.AXIS), local_devices, 1)
    state, batch = np.ones(3, np.float32), np.ones((4, 5), np.float32)
    double = devices.replicated(lambda state: 2 * state, local_devices, donate_first=True)
    with caplog.at_level(logging.INFO, logger="lim_jax"):
        step, double = compilation.ahead("the steps", (step, (state, batch)), (double, (state,)))
        for _ in range(2):
            state = double(step(devices.replicate(state, local_devices), batch))
    np.testing.assert_array_equal(state, np.full(3, 124, np.float32))
    assert "compiled the steps in" in caplog.text
    assert len(compilations) == 2


def test_what_cannot_be_compiled_says_so_when_it_is_called():
    def step(state, batch):
        raise ValueError("no such layer")

    arguments = np.ones(1, np.float32), np.ones((1, 1), np.float32)
    (ahead,) = compilation.ahead("it", (devices.data_parallel(step, jax.local_devices()[:1], 1), arguments))
    with pytest.raises(ValueError, match="no such layer"):
        ahead(*arguments)


@pytest.mark.parametrize(
    ("held", "compiled"), [(compilation.MANY_MAPPINGS - 1, 1), (compilation.MANY_MAPPINGS, 2), (None, 2)]
)
def test_programs_are_freed_where_there_are_many_mappings_or_nobody_knows(held, compiled, compilations, monkeypatch):
    monkeypatch.setattr(memory, "mappings", lambda: held)
    add = jax.jit(lambda x: x + 1)
    for _ in range(2):
        with compilation.released_afterwards():
            add(np.ones(3)).block_until_ready()
    assert len(compilations) == compiled
