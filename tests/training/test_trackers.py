"""What trackers are told, with stand-ins for the packages."""

import sys
import types

import pytest

from lim_jax.config.rules import RULES
from lim_jax.errors import UserError
from lim_jax.training import trackers


def stand_in(name, told):
    """A module that notes its calls; runs are called 7."""

    def note(what, result=None):
        return lambda *args, **keys: told.append((what, args, keys)) or result

    run = types.SimpleNamespace(id="7", log=note("log"), finish=note("finish"), info=types.SimpleNamespace(run_id="7"))
    calls = {"init": run, "start_run": run, "log_params": None, "log_metrics": None, "end_run": None}
    return types.SimpleNamespace(**{call: note(call, result) for call, result in calls.items()})


@pytest.mark.parametrize(
    ("name", "first", "again", "last"),
    [("wandb", "init", {"id": "7", "resume": "allow"}, "finish"), ("mlflow", "start_run", {"run_id": "7"}, "end_run")],
)
def test_records_are_sent_and_a_resumed_run_goes_on(tmp_path, monkeypatch, name, first, again, last):
    told = []
    monkeypatch.setitem(sys.modules, name, stand_in(name, told))
    for step in (3, 6):
        (tracker,) = trackers.opened((name,), tmp_path, {"seed": 0, "tasks": ("depth",)})
        tracker.write(step, {"total/train": 0.5})
        tracker.close()
    starts = [keys for what, _, keys in told if what == first]
    assert len(starts) == 2 and starts[0] != starts[1] and again.items() <= starts[1].items()
    sent = [(args, keys) for what, args, keys in told if what in ("log", "log_metrics")]
    assert sent == [(({"total/train": 0.5},), {"step": step}) for step in (3, 6)]
    assert [what for what, _, _ in told].count(last) == 2


@pytest.mark.parametrize(
    ("name", "starts", "advice"), [("wandb", "init", "WANDB_MODE"), ("mlflow", "start_run", "URI")]
)
def test_what_does_not_start_is_said_in_one_line(tmp_path, monkeypatch, name, starts, advice):
    def fail(**arguments):
        raise ConnectionError("No API key configured.\nUse `login`.")

    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**{starts: fail}))
    with pytest.raises(UserError, match=rf"{name} does not start \(.*No API key.*\): .*{advice}") as caught:
        trackers.opened((name,), tmp_path, {})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[wandb\]'"):
        trackers.require(("wandb",))


def test_a_configuration_accepts_what_there_is():
    assert RULES["trackers"].accepts(tuple(trackers._TRACKERS))
