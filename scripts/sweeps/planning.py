"""Makes a sweep of a plan and a configuration; everything that is wrong with any run is said before one starts."""

import ast
import contextlib
import pathlib
import re
import runpy
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import plans

from lim_jax import config as config_lib
from lim_jax import tasks as tasks_lib
from lim_jax.config import checks, reading
from lim_jax.data import datasets
from lim_jax.errors import UserError, one_line
from lim_jax.runtime.suggestions import nearest
from sweeps import paper
from sweeps.records import RESULTS, Run, Sweep, begun

_FOLDER = pathlib.Path(plans.__file__).parent
_NO_PLANS = ("__init__", "combinations")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=-]*")
_RESERVED = ("jobs", "tables", "figures", "starts")
_LABEL = "label"  # among what a run changes, though no key of the configuration


def made(plan: str, config: str, root: pathlib.Path, extra: Sequence[str]) -> Sweep:
    """Returns the sweep that a plan describes.

    Args:
      plan: the name of one of ours, or the path of a file.
      config: as `--config` takes it.
      root: where the sweep lives.
      extra: `--config.key=value` for every run; it goes before what the plan says.

    Raises:
      UserError: there is no such plan or configuration, or a run's configuration is wrong.
    """
    found = _loaded(plan)
    base = reading.read(config)
    known = config_lib.flat(base)
    common = dict(_parsed(text, known) for text in extra)
    for key in common:
        if len({repr(overrides.get(key, "not set")) for overrides in found["RUNS"].values()}) > 1:
            raise UserError(f"--config.{key} is what the plan varies: leave it out, or write a plan of your own")
    runs, metrics = {}, {}
    for name, overrides in found["RUNS"].items():
        if not _PLAIN.fullmatch(name) or name in _RESERVED:
            raise UserError(f"the plan has a run {name!r}: its folder needs a plain name, and another than {_RESERVED}")
        runs[name], signs = _run(name, config, base, root, {**overrides, **common})
        metrics |= signs
    return Sweep(root, plan, config, str(pathlib.Path.cwd()), found.get("PAPER", ""), metrics, runs)


def refuse_moved(sweep: Sweep) -> None:
    """Raises `UserError` if the runs' commands train in another folder than the one that the sweep is in now."""
    for run in sweep.runs.values():
        workdir = pathlib.Path(sweep.cwd, run.command[-1].partition("=")[2])
        if workdir.resolve() != (sweep.root / run.name).resolve():
            again = f"--plan={sweep.plan} --config={sweep.config} --root={sweep.root}"
            raise UserError(f"the sweep in {sweep.root} was begun in {workdir.parent}: to go on here, give {again}")


def refuse_others(sweep: Sweep) -> None:
    """Raises `UserError` if a run that has begun does not have the values that its command gives it now.

    Its `config.json` has those it began with; the file that `--config` names may have changed since.
    """
    with contextlib.chdir(sweep.cwd):
        base = reading.read(sweep.config)
    for name, run in sweep.runs.items():
        workdir = sweep.root / name
        if not begun(sweep.root, name):
            continue
        config = _checked(name, base, sweep.root, run.overrides)
        config_lib.refuse_changes(config, workdir)
        epochs = config_lib.load(workdir).num_epochs
        if (workdir / RESULTS).is_file() and epochs != config.num_epochs:
            raise UserError(f"{workdir} is done with {epochs} epochs, not {config.num_epochs}: give another --root")


def refuse_changes(new: Sweep, old: Sweep) -> None:
    """Raises `UserError` if a run that has begun in the root would now be another one."""
    for name, run in new.runs.items():
        before = old.runs.get(name)
        if before is None or not begun(new.root, name):
            continue
        if old.config != new.config:
            raise UserError(f"{new.root} holds runs with --config={old.config}: give another --root, or that")
        if before.overrides != run.overrides:
            changed = sorted(
                key
                for key in {*before.overrides, *run.overrides}
                if before.overrides.get(key) != run.overrides.get(key)
            )
            raise UserError(
                f"{new.root} holds a run {name} with another config.{changed[0]}: give another --root, or the old value"
            )


def _run(
    name: str, config: str, base: ml_collections.ConfigDict, root: pathlib.Path, overrides: Mapping[str, Any]
) -> tuple[Run, dict[str, Any]]:
    """Returns a run, and its tasks' metrics; `base` is what `config` names."""
    label = str(overrides.get(_LABEL, ""))
    overrides = {key: value for key, value in overrides.items() if key != _LABEL}
    checked = _checked(name, base, root, overrides)
    filled = _filled(overrides, root, checked.seed)
    specs = datasets.targets(checked.dataset)
    metrics = {task: _metrics(tasks_lib.from_config(specs[task], checked)) for task in checked.tasks}
    flags = [f"--config.{key}={_text(value)}" for key, value in filled.items()]
    sparsity = checked.sparsity
    return (
        Run(
            name=name,
            tasks=tuple(checked.tasks),
            seed=checked.seed,
            num_epochs=checked.num_epochs,
            penalty=sparsity.penalty,
            strength=0.0 if sparsity.target or sparsity.target_macs else float(sparsity.strength),
            target=float(sparsity.target),
            target_macs=float(sparsity.target_macs),
            overrides={key: _plain(value) for key, value in overrides.items()},
            command=("-m", "lim_jax.main", f"--config={config}", *flags, f"--workdir={root / name}"),
            label=label,
        ),
        metrics,
    )


def _checked(
    name: str, base: ml_collections.ConfigDict, root: pathlib.Path, overrides: Mapping[str, Any]
) -> config_lib.Config:
    """Returns the configuration of a run, whose name is for what is wrong with it."""
    settings = ml_collections.ConfigDict(base.to_dict())
    known = config_lib.flat(settings)
    if unknown := [key for key in overrides if key not in known]:
        raise UserError(f"run {name}: {checks.unknown_key(unknown[0])}")
    try:
        seed = overrides.get("seed", settings.seed)
        filled = _filled(overrides, root, seed)
        settings.update_from_flattened_dict(
            {key: tuple(value) if isinstance(value, list) else value for key, value in filled.items()}
        )
        return config_lib.checked(settings)
    except (UserError, TypeError) as error:
        raise UserError(f"run {name}: {one_line(error)}") from error


def _metrics(task: tasks_lib.Task) -> dict[str, dict[str, Any]]:
    """Returns what a reader has to know of the metrics of a task, the published one first."""
    return {name: vars(info) for name, info in task.metric_info.items()}


def _loaded(plan: str) -> dict[str, Any]:
    names = sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem not in _NO_PLANS)
    path = _FOLDER / f"{plan}.py" if plan in names else pathlib.Path(plan)
    if not path.is_file():
        meant = nearest(plan, names)
        hint = f"did you mean --plan={meant}?" if meant else f"there are {', '.join(names)}, or the path of a file"
        raise UserError(f"there is no plan {plan!r}: {hint}")
    try:
        found = runpy.run_path(str(path))
    except Exception as error:  # whatever a file that is anything can do
        raise UserError(f"{path} is no plan ({type(error).__name__}: {one_line(error)})") from error
    runs, paper_table = found.get("RUNS"), found.get("PAPER", "")
    if not isinstance(runs, dict) or not runs:
        raise UserError(f"{path} is no plan: it has no RUNS, {{name: {{key of the configuration: value}}}}")
    for name, overrides in runs.items():
        if (
            not isinstance(name, str)
            or not isinstance(overrides, dict)
            or not all(isinstance(k, str) for k in overrides)
        ):
            raise UserError(f"{path} is no plan: of RUNS[{name!r}] it takes {{key of the configuration: value}}")
    if paper_table and paper_table not in paper.TABLES:
        raise UserError(f"{path} has PAPER = {paper_table!r}; the paper has {', '.join(paper.TABLES)}")
    return found


def _parsed(text: str, known: Mapping[str, Any]) -> tuple[str, Any]:
    """Returns the key and the value of `--config.key=value`, as the type that the configuration has."""
    key, equals, value = text.removeprefix("--config.").partition("=")
    if not text.startswith("--config.") or not equals:
        raise UserError(f"{text} is nothing that runs take: after -- write --config.key=value")
    if key not in known:
        raise UserError(checks.unknown_key(key))
    if isinstance(known[key], str):
        return key, value
    try:
        parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        parsed = value
    if isinstance(known[key], tuple) and not isinstance(parsed, tuple):
        parsed = tuple(parsed.split(",")) if isinstance(parsed, str) else (parsed,)
    if isinstance(known[key], float) and isinstance(parsed, int):
        parsed = float(parsed)
    return key, {"true": True, "false": False}.get(str(parsed).lower(), parsed)


def _filled(overrides: Mapping[str, Any], root: pathlib.Path, seed: int) -> dict[str, Any]:
    """Returns overrides in whose texts the sweep's folder and the run's seed have been put in."""

    def fill(value: Any) -> Any:
        return value.replace("{root}", str(root)).replace("{seed}", str(seed)) if isinstance(value, str) else value

    return {key: fill(value) for key, value in overrides.items()}


def _text(value: Any) -> str:
    """Returns a value as the command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
