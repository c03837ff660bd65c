"""Runs that are interrupted in the middle of an epoch and go on: to the same bits as one that was not."""

import os
import signal

import jax
import numpy as np
import pytest

from lim_jax.training import checkpoints, loop


def train_until(config, workdir, monkeypatch, step):
    """Trains until SIGTERM comes when `step` is done."""
    step_done = loop.Progress.step_done

    def interrupted(self, number):
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return step_done(self, number)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(loop.Progress, "step_done", interrupted)
        loop.train_and_evaluate(config, workdir)


def train_in_two_parts(config, workdir, monkeypatch, step):
    """Trains until SIGTERM comes when `step` is done, then again; returns the results."""
    train_until(config, workdir, monkeypatch, step)
    return loop.train_and_evaluate(config, workdir)


def history_of(workdir):
    """Returns the history of a run without what differs from run to run, its times."""
    history = checkpoints.latest_meta(workdir)["history"]
    return [{key: value for key, value in record.items() if "seconds" not in key} for record in history]


def assert_same_variables(one, other, which):
    """Checks that the networks of two workdirs, of the best or the latest checkpoint, are equal to the last bit."""
    one, other = (checkpoints.load_network(workdir, which) for workdir in (one, other))
    assert one.network.model == other.network.model
    jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)
