"""A sweep whose runs were never trained: results and histories of made-up numbers, to be shown by the scripts."""

import json
import pathlib
from collections.abc import Collection

import numpy as np
from sweeps import planning, records

_LAYERS = ("stem_conv1", "stem_conv2", *(f"stage{s}_block{b}/conv{c}" for s in (1, 2) for b in (1, 2) for c in (1, 2)))


def made_up(
    root: pathlib.Path, plan: str, config: str, waiting: Collection[str] = (), failed: Collection[str] = ()
) -> records.Sweep:
    """Writes a sweep to a root, and returns it.

    Metrics get better with sparsity and with tasks, by more than the noise between seeds.

    Args:
      root: made if needed.
      plan, config: as of `planning.made`.
      waiting: names of runs that have not begun.
      failed: names of runs that have failed.
    """
    sweep = planning.made(plan, config, root, [])
    records.save(sweep)
    for name, run in sweep.runs.items():
        if name in waiting:
            continue
        if name in failed:
            path = records.record_path(root, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"exit_code": 2, "last_line": "error: no data"}))
            continue
        workdir = root / name
        workdir.mkdir()
        (workdir / records.RESULTS).write_text(json.dumps(content(run, sweep)))
        percents = np.linspace(0, percent(run), 9)[1:]
        rows = [f"{epoch},{value}" for epoch, value in enumerate(percents, 1)]
        (workdir / "history.csv").write_text("\n".join(["epoch,sparsity/group_percent", *rows]) + "\n")
    return sweep


def percent(run: records.Run) -> float:
    """Returns how many of a run's groups are zero."""
    return 100 * run.target if run.target else float(np.interp(np.log10(run.strength or 1e-9), [-8, -3], [0, 95]))


def content(run: records.Run, sweep: records.Sweep) -> dict:
    """Returns the content of `results.json`."""
    noise = np.random.default_rng([run.seed, len(run.tasks), int(percent(run))])
    test = {}
    for task in run.tasks:
        test[task] = {"loss": 1.0}
        for metric, info in sweep.metrics[task].items():
            gain = 0.02 * len(run.tasks) + 0.0005 * percent(run) + 0.002 * noise.standard_normal()
            test[task][metric] = 0.5 + (gain if info["higher_is_better"] else -gain)
    zero = round(0.16 * percent(run))
    layers = {f"backbone/{name}": {"groups": 16 * (i + 1), "zero_groups": zero} for i, name in enumerate(_LAYERS)}
    shares = {"parameter_percent": min(1.1 * percent(run), 100), "zero_parameter_percent": min(1.2 * percent(run), 100)}
    sparsity = {"group_percent": percent(run), **shares, "layers": layers}
    return {"test": test, "test_best_per_task": test, "sparsity": sparsity, "parameters": 1000, "seed": run.seed}
