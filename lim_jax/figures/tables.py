"""The results of a run as text: numbers of metrics, aligned."""

from collections.abc import Mapping
from typing import Any

from lim_jax.runtime.tables import aligned
from lim_jax.tasks.base import Task

Metrics = Mapping[str, Mapping[str, float | None]]  # {task: {metric: number}}


def results(content: Mapping[str, Any], tasks: Mapping[str, Task]) -> str:
    """Returns the test split's metrics beside the best constant prediction's, and the sparsity.

    Args:
      content: of `results.json`.
      tasks: of the run, by name.
    """
    zeros, last = content["sparsity"], content.get("test_last_epochs")
    columns = {"test": content["test"]}
    if last and last["epochs"]:
        columns = {"last epoch": content["test"], f"mean of {last['epochs']}": last["mean"]}
    columns["constant"] = content["test_constant"]
    return "\n".join(
        [
            "results on the test split (constant: the best prediction that ignores the image)",
            metrics(tasks, columns),
            f"{zeros['group_percent']:.1f} % of the backbone's groups and {zeros['parameter_percent']:.1f} % of its "
            f"convolution weights are zero (epoch {content['best_epoch']} of {content['epochs']})",
        ]
    )


def metrics(tasks: Mapping[str, Task], columns: Mapping[str, Metrics]) -> str:
    """Returns a row per task and metric, a column per entry of `columns`."""
    rows = [("", *columns)]
    for name, task in tasks.items():
        for metric in task.metric_info:
            rows.append((f"{name} {metric}", *(number(column[name][metric]) for column in columns.values())))
    return aligned(rows)


def number(value: float | None) -> str:
    """Returns a metric as text, "-" where nothing defines it."""
    return "-" if value is None else f"{value:.4g}"
