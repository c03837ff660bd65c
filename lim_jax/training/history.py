"""What a run decides from its past: best epochs, frozen heads, when to stop, the learning rate.

The history is a list of one JSON-serialisable record per finished epoch; it is kept in every checkpoint, so
that a resumed run takes the same decisions. A record holds

    {"epoch": n, "step": n, "train": {task: {"loss": x}}, "validation": {task: {"loss": x, metric: x, ...}},
     "total": {"train": x, "validation": x},
     "sparsity": {"group_percent": x, "parameter_percent": x, "died": n, "revived": n, "off_target": x},
     "strength": x, "learning_rate": x, "network": {"parameters": n, "channels": n},
     "seconds": x, "compile_seconds": {"training": x, "evaluation": x}}

`network` is the size of the network that the epoch trained (`channels` are those of its backbone), `seconds` what its
steps took, `compile_seconds["training"]` of it included.
`died` and `revived` count groups over the epoch; `off_target` is how many percentage points sparsity is away from
`config.sparsity.target`, and missing without one. Where it is more than `TARGET_TOLERANCE` the epoch does not count
as progress: the best network is the best of those with the sparsity that was asked for.
`validation` and `total["validation"]` are missing in epochs without evaluation; a loss is None when the split has no
label of the task. Everything below is a pure function of the history.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

TARGET_TOLERANCE = 2.0  # percentage points


def validation_loss(record: Record, task: str | None = None) -> float | None:
    """Returns the record's validation loss of `task` (None: the total), or None if it has none."""
    if task is None:
        return record["total"].get("validation")
    return record.get("validation", {}).get(task, {}).get("loss")


def counting_loss(record: Record, task: str | None = None) -> float | None:
    """Returns `validation_loss`, or None if the record's sparsity is off its target."""
    off_target = record.get("sparsity", {}).get("off_target", 0.0)
    return validation_loss(record, task) if off_target <= TARGET_TOLERANCE else None


def waits(history: Sequence[Record], task: str | None = None) -> list[int]:
    """Returns, per epoch, how many epochs ago `task` (None: the total) had its lowest validation loss so far."""
    best, best_epoch, result = float("inf"), None, []
    for record in history:
        loss = counting_loss(record, task)
        if loss is not None and loss < best:
            best, best_epoch = loss, record["epoch"]
        result.append(0 if best_epoch is None else record["epoch"] - best_epoch)
    return result


def is_best(history: Sequence[Record], task: str | None = None) -> bool:
    """Whether the last epoch has the lowest validation loss of `task` (None: the total) so far."""
    return counting_loss(history[-1], task) is not None and waits(history, task)[-1] == 0


def frozen_tasks(history: Sequence[Record], tasks: Sequence[str], patience: int) -> frozenset[str]:
    """Returns the tasks that went `patience` epochs without progress at some time; 0 = never. Frozen stays frozen."""
    if patience == 0:
        return frozenset()
    return frozenset(task for task in tasks if any(wait >= patience for wait in waits(history, task)))


def should_stop(history: Sequence[Record], tasks: Sequence[str], patience: int) -> bool:
    """Whether training is over: no progress in total for `patience` epochs, or every head is frozen."""
    if patience == 0 or not history:
        return False
    return waits(history)[-1] >= patience or len(frozen_tasks(history, tasks, patience)) == len(tasks)


def plateau_learning_rate(history: Sequence[Record], base: float, patience: int, factor: float) -> float:
    """Returns `base`, times `factor` for each time the total went `patience` epochs without a better validation loss.

    After a reduction the waiting starts anew, as in the usual "reduce on plateau".
    """
    best, waited_since, rate = float("inf"), 0, base
    for record in history:
        loss = validation_loss(record)
        if loss is None:
            continue  # not evaluated: no sign that progress ended
        if loss < best:
            best, waited_since = loss, record["epoch"]
        elif record["epoch"] - waited_since >= patience:
            rate, waited_since = rate * factor, record["epoch"]
    return rate
