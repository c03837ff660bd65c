"""Early stopping, freezing and the learning rate, as functions of made-up histories."""

import types

import pytest

from lim_jax.training import history


def records(total, **tasks):
    """A history with these validation losses per epoch; None: not evaluated (total) or not labelled (a task)."""
    result = []
    for index, loss in enumerate(total):
        record = {"epoch": index + 1, "step": 10 * (index + 1), "train": {}, "total": {"train": 1.0}}
        if loss is not None:
            record["total"]["validation"] = loss
            record["validation"] = {task: {"loss": losses[index]} for task, losses in tasks.items()}
        result.append(record)
    return result


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        ([3, 2, 1], [0, 0, 0]),
        ([1, 2, 3], [0, 1, 2]),
        ([2, 3, 1, 1], [0, 1, 0, 1]),  # an equal loss is no progress
        ([None, 2, None, 3], [0, 0, 0, 2]),
        ([None, 2, None, None, None], [0, 0, 0, 0, 0]),
        ([None, None], [0, 0]),
        ([float("nan"), 2.0], [0, 0]),
        ([2.0, float("nan"), float("-inf")], [0, 1, 2]),
        ([], []),
    ],
)
def test_epochs_since_the_best(total, expected):
    assert history.epochs_since_best(records(total)) == expected


def test_epochs_off_the_target_sparsity_are_no_progress():
    past = records([1, 3, 2, 4], depth=[1, 3, 2, 4])
    for record, off_target in zip(past, [30.0, 1.0, 2.0, 0.0], strict=True):
        record["sparsity"] = {"off_target": off_target}
    assert history.epochs_since_best(past) == history.epochs_since_best(past, "depth") == [0, 0, 0, 1]
    assert [history.is_best(past[:end]) for end in (1, 2, 3, 4)] == [False, True, True, False]


def test_a_head_freezes_after_its_patience_and_stays_frozen():
    past = records([4, 3, 2, 1, 0.5], depth=[1, 2, 2, 0.1, 0.1], normals=[5, 4, 3, 2, 1])
    assert history.frozen_tasks(past[:2], ["depth", "normals"], 2) == frozenset()
    assert history.frozen_tasks(past[:3], ["depth", "normals"], 2) == {"depth"}
    assert history.frozen_tasks(past, ["depth", "normals"], 2) == {"depth"}
    assert history.frozen_tasks(past, ["depth", "normals"], 0) == frozenset()


@pytest.mark.parametrize(
    ("total", "depth", "patience", "stops"),
    [
        ([1, 2, 3], [1, 0.9, 0.8], 2, True),  # no progress in total
        ([3, 2, 1], [1, 1, 1], 2, True),  # the only head is frozen
        ([3, 2, 1], [3, 2, 1], 2, False),
        ([1, 2, 3], [1, 2, 3], 0, False),
        ([1, 2], [1, 2], 2, False),
        ([1, None, None], [1, None, None], 2, False),  # two epochs that were not evaluated
        ([1, None, 2], [1, None, 2], 2, True),
        ([], [], 2, False),
    ],
)
def test_training_stops_without_progress(total, depth, patience, stops):
    assert history.should_stop(records(total, depth=depth), ["depth"], patience) == stops


def test_a_task_without_labels_neither_freezes_nor_is_best():
    past = records([1, 2, 3], depth=[None, None, None])
    assert history.frozen_tasks(past, ["depth"], 1) == frozenset()
    assert not history.is_best(past, "depth")


@pytest.mark.parametrize(("total", "best"), [([3, 2], True), ([2, 3], False), ([2, None], False), ([1], True)])
def test_is_best(total, best):
    assert history.is_best(records(total)) == best


@pytest.mark.parametrize(
    ("total", "reductions"),
    [
        ([3, 2, 1], 0),
        ([1, 2, 2], 1),
        ([1, 2, 2, 2, 2], 2),  # the waiting starts anew
        ([1, 2, 2, 0.5, 1], 1),
        ([], 0),
        ([1, None, None], 0),  # nothing is known of the last two
        ([1, None, 2], 1),
    ],
)
def test_plateau_reduces_the_rate_after_each_wait(total, reductions):
    rate = history.plateau_learning_rate(records(total), 1.0, patience=2, factor=0.5)
    assert rate == 0.5**reductions


def settings(**changes):
    values = {
        "tasks": ("depth",),
        "num_epochs": 6,
        "early_stopping_patience": 3,
        "eval_every_epochs": 2,
        "checkpoint_every_epochs": 4,
        "learning_rate": 0.1,
        "learning_rate_schedule": "constant",
        "plateau_patience": 2,
        "plateau_factor": 0.5,
        "loss_weighting": "uncertainty",
        "loss_weights": (),
        "dataset": types.SimpleNamespace(validation_share=0.1),
    }
    return types.SimpleNamespace(**(values | changes))


def test_which_epochs_are_evaluated():
    assert [epoch for epoch in range(1, 6) if history.is_evaluated(epoch, settings(num_epochs=5))] == [2, 4, 5]


def test_without_a_validation_split_the_last_epochs_are_evaluated_and_averaged():
    config = settings(num_epochs=14, dataset=types.SimpleNamespace(validation_share=0))
    evaluated = [epoch for epoch in range(1, 15) if history.is_evaluated(epoch, config)]
    assert evaluated == [2, *range(4, 15)]
    past = [{"epoch": epoch, "total": {"train": 1.0}} for epoch in range(1, 15)]
    for epoch in evaluated:
        past[epoch - 1]["test"] = {"depth": {"loss": 1.0, "mae": float(epoch), "f1": None if epoch == 6 else 1.0}}
    assert history.mean_of_last(past) == {"epochs": 10, "mean": {"depth": {"loss": 1.0, "mae": 9.5, "f1": None}}}
    assert history.mean_of_last(past[:1]) == {"epochs": 0, "mean": {}}
    assert not any(history.is_best(past[:end]) for end in range(1, 15))
    assert not history.should_stop(past, ("depth",), 1)


@pytest.mark.parametrize(
    ("total", "depth", "saved"),
    [
        ([1, 2], [1, 2], False),
        ([1, 0.9], [1, 2], True),  # best in total
        ([1, 2], [1, 0.9], True),  # best of a task
        ([1, 2, 2, 2], [1, 0.9, 2, 2], True),  # every fourth epoch
        ([1, 2, 2, 2, 2], [1, 0.9, 0.8, 2, 2], True),  # training ends early
        ([5, 4, 4, 4, 3, 4], [5, 4, 4, 4, 3, 4], True),  # the last
        ([5, 4, 4, 3, 4], [5, 4, 4, 3, 4], False),
    ],
)
def test_which_epochs_are_saved(total, depth, saved):
    assert history.is_saved(records(total, depth=depth), settings()) == saved


def test_the_learning_rate_follows_its_schedule():
    past = records([1, 2, 2])
    assert history.learning_rate(past, settings()) == 0.1
    assert history.learning_rate(past, settings(learning_rate_schedule="plateau")) == pytest.approx(0.05)


def test_checkpoints_are_ranked_by_eligible_losses():
    (record,) = records([0.5], depth=[0.25])
    assert history.eligible_losses(record, ("depth", "normals")) == {"depth": 0.25, "normals": None, "total": 0.5}
    record["sparsity"] = {"off_target": 30.0}
    assert history.eligible_losses(record, ("depth",)) == {"depth": None, "total": None}


def balanced_records(*losses):
    """A history of a task `a` and a task `b` whose total falls whatever they do."""
    past = records([-epoch for epoch in range(len(losses))], a=[a for a, _ in losses], b=[b for _, b in losses])
    for record in past:
        record["total"]["balanced"] = history.balanced(task["loss"] for task in record["validation"].values())
    return past


@pytest.mark.parametrize(
    ("losses", "since_best"),
    [
        ([(4, 0.1), (2, 0.1), (2, 0.2)], [0, 0, 1]),  # the total still falls in the third
        ([(4, 0.1), (4.4, 0.05)], [0, 0]),  # a tenth of one task's loss, half of the other's
        ([(1, 1e-3), (1.5, 9e-4)], [0, 1]),
        ([(1, None), (0.5, None)], [0, 0]),
        ([(1, 1), (0.5, float("nan"))], [0, 1]),
        ([(1, 0.0), (1, 0.1)], [0, 1]),
    ],
)
def test_epochs_are_judged_by_the_change_of_every_task_not_by_moving_weights(losses, since_best):
    assert history.epochs_since_best(balanced_records(*losses)) == since_best


@pytest.mark.parametrize(
    ("past", "weighting", "expected"),
    [
        ([], "uncertainty", True),
        ([], "uniform", False),
        ([], "famo", True),
        (records([None, None]), "uncertainty", True),
        (balanced_records((1, 2)), "uncertainty", True),
        (records([3.0, None]), "uncertainty", False),  # an older version began it
    ],
)
def test_a_run_is_judged_by_one_measure_to_its_end(past, weighting, expected):
    assert history.is_balanced(past, settings(loss_weighting=weighting)) == expected
