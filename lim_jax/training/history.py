"""What a run decides from its past: best epochs, frozen heads, when to stop, the learning rate.

The history is a list of one JSON-serialisable record per finished epoch; it is kept in every checkpoint, so
that a resumed run takes the same decisions. A record holds

    {"epoch": n, "step": n, "train": {task: {"loss": x}}, "validation": {task: {"loss": x, metric: x, ...}},
     "total": {"train": x, "validation": x, "balanced": x}, "bad_steps": n, "healing": bool,
     "sparsity": {"group_percent": x, "parameter_percent": x, "died": n, "revived": n, "off_target": x,
                  "macs_percent": x},
     "strength": x, "learning_rate": x, "network": {"parameters": n, "channels": n},
     "gradient_cosines": {"depth normals": x, ...},
     "seconds": x, "seconds_after_steps": x, "compile_seconds": {"training": x, "evaluation": x}}

`network` is the size of the network that the epoch trained (`channels` are those of its backbone). `seconds` is what
its steps took, `seconds_after_steps` what shrinking and evaluation took (older runs have none), and `compile_seconds`
how much of the one and of the other something was compiled.
`gradient_cosines` are between the gradients of two tasks (`task_gradients.group_cosines`), where they are asked for.
`died` and `revived` count groups over the epoch; `off_target` is how many percentage points sparsity is away from
`config.sparsity.target`, or what is left of the backbone's MACs (`macs_percent`) from `.target_macs`; both are missing
without such a target. Where it is more than `TARGET_TOLERANCE` the epoch does not count
as progress: the best network is the best of those with the sparsity that was asked for.
`healing`, only in runs that heal, says whether the epoch was one of those.
`bad_steps` is the number of steps that were skipped because something was not finite (`lim_jax.training.bad_steps`).
`validation` and the totals of it are missing in epochs without evaluation. A run without a validation split
(`config.dataset.validation_share=0`) never has them; it has `test`, of the same form, which decides nothing: its last
network counts as its best. A loss is None when the split has no label of the task, and one that is not finite counts
as none.

`total["balanced"]` is what epochs are judged by under uncertainty weighting: the geometric mean of the task losses. The
loss that is trained, `total["validation"]`, falls as long as its weights move, even where every task gets worse. At the
weights that are best for the losses of an epoch it would be their sum of `1 + log L_t`, and this orders epochs as the
geometric mean does: a per cent of one task's loss weighs as much as a per cent of another's, whatever their scales.
The same holds for all methods whose weights move. With fixed weights (`loss_weighting=equal|fixed`) the total itself
is what epochs are judged by, and there is no `balanced`; nor has it a run that began before there was: it is judged
by one measure from its beginning to its end.

Everything below is a pure function of the history.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lim_jax import balancing
from lim_jax.config import Config

Record = Mapping[str, Any]

TARGET_TOLERANCE = 2.0  # percentage points
LAST_EPOCHS = 10  # over which results on the test split are averaged where there is no validation split
_SMALLEST = 1e-12  # a loss that has a logarithm


def validation_loss(record: Record, task: str | None = None) -> float | None:
    """Returns the validation loss that judges the record, of `task` (None: in total); None without a finite one."""
    if task is None:
        loss = record["total"].get("balanced", record["total"].get("validation"))
    else:
        loss = record.get("validation", {}).get(task, {}).get("loss")
    return loss if loss is not None and math.isfinite(loss) else None


def is_balanced(history: Sequence[Record], config: Config) -> bool:
    """Whether the epoch after these is judged by `total["balanced"]`."""
    totals = [record["total"] for record in history if "validation" in record["total"]]
    moves = balancing.create(config.loss_weighting, config.tasks, config.loss_weights).weights_move
    return moves and all("balanced" in total for total in totals)


def balanced(losses: Iterable[float | None]) -> float | None:
    """Returns the geometric mean of the task losses that are not None; None if all are, or one is not finite."""
    found = [loss for loss in losses if loss is not None]
    if not found or not all(map(math.isfinite, found)):
        return None
    return math.exp(sum(math.log(max(loss, _SMALLEST)) for loss in found) / len(found))


def eligible_loss(record: Record, task: str | None = None) -> float | None:
    """Returns `validation_loss` if the epoch may be the best one; None if its sparsity is off the target.

    In an epoch that heals, the sparsity is what the epochs before it have left, and nothing can change it any more.
    """
    off_target = record.get("sparsity", {}).get("off_target", 0.0)
    return validation_loss(record, task) if off_target <= TARGET_TOLERANCE or record.get("healing") else None


def eligible_losses(record: Record, tasks: Sequence[str]) -> dict[str, float | None]:
    """Returns `eligible_loss` of each task and, under "total", of the total: what checkpoints are ranked by."""
    return {task: eligible_loss(record, task) for task in tasks} | {"total": eligible_loss(record)}


def epochs_since_best(history: Sequence[Record], task: str | None = None) -> list[int]:
    """Returns, per epoch, how many epochs ago `task` (None: the total) had its lowest validation loss so far.

    As of the last epoch that was evaluated: one that was not is no sign that progress ended.
    """
    best, best_epoch, result = float("inf"), None, []
    for record in history:
        if "validation" not in record:
            result.append(result[-1] if result else 0)
            continue
        loss = eligible_loss(record, task)
        if loss is not None and loss < best:
            best, best_epoch = loss, record["epoch"]
        result.append(0 if best_epoch is None else record["epoch"] - best_epoch)
    return result


def is_best(history: Sequence[Record], task: str | None = None) -> bool:
    """Whether the last epoch has the lowest validation loss of `task` (None: the total) so far."""
    return eligible_loss(history[-1], task) is not None and epochs_since_best(history, task)[-1] == 0


def frozen_tasks(history: Sequence[Record], tasks: Sequence[str], patience: int) -> frozenset[str]:
    """Returns the tasks that went `patience` epochs without progress at some time; 0 = never. Frozen stays frozen."""
    if patience == 0:
        return frozenset()
    return frozenset(task for task in tasks if max(epochs_since_best(history, task), default=0) >= patience)


def should_stop(history: Sequence[Record], tasks: Sequence[str], patience: int) -> bool:
    """Whether training is over: no progress in total for `patience` epochs, or every head is frozen."""
    if patience == 0 or not history:
        return False
    return epochs_since_best(history)[-1] >= patience or len(frozen_tasks(history, tasks, patience)) == len(tasks)


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


def learning_rate(history: Sequence[Record], config: Config) -> float:
    """Returns the learning rate of the next epoch."""
    if config.learning_rate_schedule == "plateau":
        return plateau_learning_rate(history, config.learning_rate, config.plateau_patience, config.plateau_factor)
    return config.learning_rate


def evaluated_split(config: Config) -> str:
    """Returns the split on which epochs are evaluated."""
    return "validation" if config.dataset.validation_share else "test"


def is_evaluated(epoch: int, config: Config) -> bool:
    """Whether an epoch, counted from 1, ends with an evaluation: the last does, or those whose results are averaged."""
    last = 1 if evaluated_split(config) == "validation" else LAST_EPOCHS
    return epoch % config.eval_every_epochs == 0 or epoch > config.num_epochs - last


def mean_of_last(history: Sequence[Record]) -> dict[str, Any]:
    """Returns the mean results on the test split over the last epochs that were evaluated, `LAST_EPOCHS` at most.

    `{"epochs": their number, "mean": {task: {"loss": x, metric: x}}}`; None for what one of them has not.
    """
    last = [record["test"] for record in history if "test" in record][-LAST_EPOCHS:]

    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return math.fsum(known) / len(known) if len(known) == len(values) else None

    tasks = last[-1] if last else {}
    means = {task: {name: mean([test[task][name] for test in last]) for name in tasks[task]} for task in tasks}
    return {"epochs": len(last), "mean": means}


def is_saved(history: Sequence[Record], config: Config) -> bool:
    """Whether the last epoch ends with a checkpoint: it is a best one, the last of the run, or it is time for one."""
    epoch = len(history)
    return (
        any(is_best(history, task) for task in (None, *config.tasks))
        or epoch == config.num_epochs
        or should_stop(history, config.tasks, config.early_stopping_patience)
        or epoch % config.checkpoint_every_epochs == 0
    )
