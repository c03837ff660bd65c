"""A run goes on only with the data that it began with, in as many processes as there are now."""

import copy
import types

import numpy as np
import pytest

from lim_jax.data.specs import TargetSpec
from lim_jax.errors import UserError
from lim_jax.training import resuming, stored
from tests.training import saved


class Source:
    def __init__(self, count, name):
        self.count, self.name = count, name

    def __len__(self):
        return self.count

    def __repr__(self):
        return self.name


def dataset(train=32, records="folder/1", classes=("hair", "skin")):
    sources = {split: Source(count, f"{records}, {split}") for split, count in {"train": train, "test": 8}.items()}
    specs = {"parts": TargetSpec("parts", "segmentation", tuple(classes))}
    return types.SimpleNamespace(name="folder", sources=sources, specs=specs)


def refuse(before, now):
    resuming._refuse_other_data(types.SimpleNamespace(dataset=now, workdir="runs/a"), before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": 64}, r"\(64 train images, not 32\)"),
        ({"train": 16, "records": "folder/2"}, r"\(16 train images, not 32\)"),
        ({"records": "folder/2"}, r"\(train is folder/2, train, not folder/1, train\)"),
        ({"classes": ("skin", "hair")}, r"\(task parts has another meaning\)"),
        ({"train": 64, "classes": ("skin",)}, r"not 32; task parts has another meaning"),
    ],
)
def test_other_data_is_refused(changes, message):
    before = resuming.described(dataset())
    refuse(before, dataset())
    with pytest.raises(UserError, match=message) as error:
        refuse(before, dataset(**changes))
    assert "--config.init_from=runs/a" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("before", [3, [], {}, {"examples": 3}, {"examples": {}, "tasks": [], "records": {}}])
def test_a_description_that_is_none_is_damage(before):
    with pytest.raises(stored.UnusableError, match="meta: data"):
        refuse(before, dataset())


def test_older_checkpoints_do_not_say(tmp_path):
    refuse(None, dataset(train=1))


def batches_of(processes, number, states=None, **arguments):
    """The next batches of each of several processes, put together, and the processes' states afterwards."""
    iterators = [
        saved.iterator(process_index=index, process_count=processes, **arguments) for index in range(processes)
    ]
    for each in iterators if states else ():
        each.set_state(copy.deepcopy(states[0]))  # what a checkpoint is read for: the state of the first process
    batches = [[next(each)["image"] for each in iterators] for _ in range(number)]
    return np.concatenate([np.concatenate(parts) for parts in batches]), [each.get_state() for each in iterators]


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 2)])
def test_any_number_of_processes_goes_on_in_the_same_order(before, after, num_workers):
    expected, _ = batches_of(1, 9)
    first, states = batches_of(before, 5, num_workers=num_workers)
    assert all(state == states[0] for state in states)
    then, _ = batches_of(after, 4, states, num_workers=num_workers)
    np.testing.assert_array_equal(np.concatenate([first, then]), expected)
