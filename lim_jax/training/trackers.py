"""Sends a run's records to Weights & Biases or to MLflow, if `config.trackers` names them; both are extras.

Where they write, under which account and project, is theirs to decide, by their own environment variables
(`WANDB_MODE=offline`, `WANDB_PROJECT`, `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME`). A run that is resumed goes on
in the same run of theirs, whose name is kept in the workdir.
"""

import importlib
import importlib.util
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lim_jax.errors import UserError, one_line
from lim_jax.runtime import whole_files


class Tracker(Protocol):
    """What receives records."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Sends the numbers of an epoch by name."""

    def close(self) -> None:
        """Sends what is still held, and ends."""


def require(names: Sequence[str]) -> None:
    """Raises `UserError` if a package of these trackers is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"config.trackers names {name}, which is not installed: pip install -e '.[{name}]'")


def opened(names: Sequence[str], workdir: pathlib.Path, values: Mapping[str, Any]) -> list[Tracker]:
    """Returns a tracker for each name; `values` are those of the configuration, by their keys.

    Raises:
      UserError: one of them does not start: nobody is logged in, say, or its server does not answer.
    """
    return [_opened(name, workdir, values) for name in names]


def _opened(name: str, workdir: pathlib.Path, values: Mapping[str, Any]) -> Tracker:
    module = importlib.import_module(name)
    try:
        return _TRACKERS[name](module, workdir, values)
    except Exception as error:  # of all kinds: their own, those of the network and of files
        raise UserError(f"{name} does not start ({one_line(error)}): {_ADVICE[name]}") from error


def _known(file: pathlib.Path) -> str | None:
    """Returns the name of their run that a file keeps; None if there is none yet."""
    return file.read_text().strip() if file.is_file() else None


class _Wandb:
    def __init__(self, module: Any, workdir: pathlib.Path, values: Mapping[str, Any]):
        file = workdir / "wandb_run.txt"
        known = _known(file)
        self._run = module.init(
            dir=str(workdir), name=workdir.name, id=known, resume="allow" if known else None, config=dict(values)
        )
        whole_files.write_text(file, f"{self._run.id}\n")

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    def __init__(self, module: Any, workdir: pathlib.Path, values: Mapping[str, Any]):
        file = workdir / "mlflow_run.txt"
        known = _known(file)
        self._module = module
        run = module.start_run(run_id=known) if known else module.start_run(run_name=workdir.name)
        if not known:
            module.log_params({key: str(value) for key, value in values.items()})
        whole_files.write_text(file, f"{run.info.run_id}\n")

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        self._module.log_metrics(dict(scalars), step=step)

    def close(self) -> None:
        self._module.end_run()


_TRACKERS = {"wandb": _Wandb, "mlflow": _Mlflow}
_ADVICE = {
    "wandb": "log in (wandb login), or set WANDB_MODE=offline, which writes into the workdir",
    "mlflow": "set MLFLOW_TRACKING_URI to a server's address, or to file:FOLDER with MLFLOW_ALLOW_FILE_STORE=true",
}
