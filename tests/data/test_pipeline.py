"""Batches: which examples, in which order, on which process, and exactly where a restored iterator goes on."""

import itertools

import grain
import numpy as np
import orbax.checkpoint as ocp
import pytest

from lim_jax.data import pipeline, records
from lim_jax.data.rooms import dataset as rooms
from lim_jax.data.specs import IGNORE, TargetSpec
from lim_jax.errors import UserError

SPECS = {
    "segmentation": TargetSpec("segmentation", "segmentation", ("a", "b")),
    "depth": TargetSpec("depth", "depth"),
    "normals": TargetSpec("normals", "normals"),
    "smiling": TargetSpec("smiling", "attribute"),
}


class Numbered:
    """A source whose examples carry their index, counted from 1, everywhere."""

    def __init__(self, length):
        self._length = length

    def __len__(self):
        return self._length

    def __getitem__(self, index):
        if not 0 <= index < self._length:
            raise IndexError(index)
        targets = {
            "segmentation": np.full((4, 6), index % 2, np.uint8),
            "depth": np.full((4, 6), index + 1, np.float32),
            "normals": np.full((4, 6, 3), index + 1, np.float32),
            "smiling": np.array(index % 2, np.int8),
        }
        return {"image": np.full((4, 6, 3), index + 1, np.uint8), "targets": targets}


def _numbers(batch):
    """The examples of a batch; 0 stands for padding."""
    return batch["image"][:, 0, 0, 0].tolist()


def _train(length, count, **settings):
    batches = pipeline.train_iterator(Numbered(length), **settings)
    return [_numbers(next(batches)) for _ in range(count)]


@pytest.mark.parametrize(("length", "batch_size"), [(12, 4), (10, 4), (3, 8), (1, 4), (33, 16), (5, 1)])
def test_every_epoch_has_every_example_once(length, batch_size):
    stream = list(itertools.chain(*_train(length, 4 * length, batch_size=batch_size, seed=3)))
    epochs = [stream[i : i + length] for i in range(0, 4 * length, length)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(1, length + 1))
    if length > 5:
        assert epochs[0] != epochs[1]
        assert epochs[0] != sorted(epochs[0])


def test_order_is_fixed_by_the_seed():
    assert _train(20, 9, batch_size=4, seed=1) == _train(20, 9, batch_size=4, seed=1, num_threads=1, prefetch=1)
    assert _train(20, 9, batch_size=4, seed=1) != _train(20, 9, batch_size=4, seed=2)


@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_global_batches_do_not_depend_on_the_number_of_processes(process_count):
    alone = _train(10, 7, batch_size=8, seed=5)
    shares = [
        _train(10, 7, batch_size=8, seed=5, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    assert [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)] == alone


def test_batches_have_the_dtypes_of_specs():
    batch = next(pipeline.train_iterator(Numbered(5), batch_size=4, seed=0))
    assert batch["image"].dtype == np.uint8
    for name, spec in SPECS.items():
        missing = spec.missing((4, 6))
        assert batch["targets"][name].shape == (4, *missing.shape)
        assert batch["targets"][name].dtype == missing.dtype


@pytest.mark.parametrize("position", [0, 1, 5, 8])
def test_a_restored_iterator_goes_on_with_the_next_example(position):
    batches = pipeline.train_iterator(Numbered(10), batch_size=4, seed=7)
    for _ in range(position):
        next(batches)
    state = batches.get_state()
    expected = [_numbers(next(batches)) for _ in range(6)]
    restored = pipeline.train_iterator(Numbered(10), batch_size=4, seed=7)
    next(restored)
    restored.set_state(state)
    assert [_numbers(next(restored)) for _ in range(6)] == expected


def test_orbax_saves_and_restores_the_position(tmp_path):
    batches = pipeline.train_iterator(Numbered(10), batch_size=4, seed=7)
    for _ in range(4):
        next(batches)
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(4, args=ocp.args.Composite(iterator=grain.checkpoint.CheckpointSave(batches)))
        expected = [_numbers(next(batches)) for _ in range(6)]
        manager.wait_until_finished()
        restored = pipeline.train_iterator(Numbered(10), batch_size=4, seed=7)
        manager.restore(4, args=ocp.args.Composite(iterator=grain.checkpoint.CheckpointRestore(restored)))
    assert [_numbers(next(restored)) for _ in range(6)] == expected


def test_records_batch_and_restore(tmp_path):
    directory = rooms.prepare(str(tmp_path), (16, 24), (6, 1, 1))
    source = records.RecordSource(directory, "train", rooms.SPECS)
    batches = pipeline.train_iterator(source, batch_size=4, seed=0)
    next(batches)
    state = batches.get_state()
    expected = next(batches)
    batches.set_state(state)
    again = next(batches)
    np.testing.assert_array_equal(again["image"], expected["image"])
    for name, target in again["targets"].items():
        np.testing.assert_array_equal(target, expected["targets"][name])


@pytest.mark.parametrize("process_count", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 17])
def test_evaluation_has_every_example_once_over_all_processes(length, process_count):
    shares = []
    for index in range(process_count):
        batches = pipeline.evaluation_batches(
            Numbered(length), SPECS, batch_size=8, process_index=index, process_count=process_count
        )
        shares.append([_numbers(batch) for batch in batches])
    count = pipeline.num_batches(length, 8)
    assert all([len(batch) for batch in share] == [8 // process_count] * count for share in shares)
    stream = [number for parts in zip(*shares, strict=True) for part in parts for number in part]
    assert stream == [*range(1, length + 1)] + [0] * (8 * count - length)


def test_padding_carries_no_label():
    (batch,) = pipeline.evaluation_batches(Numbered(3), SPECS, batch_size=5)
    targets = batch["targets"]
    assert np.all(batch["image"][3:] == 0)
    assert np.all(targets["segmentation"][3:] == IGNORE)
    assert np.all(targets["depth"][3:] == 0) and np.all(targets["depth"][:3] > 0)
    assert np.all(targets["normals"][3:] == 0)
    assert targets["smiling"].tolist() == [0, 1, 0, -1, -1]
    assert {name: target.dtype for name, target in targets.items()} == {
        name: spec.missing((4, 6)).dtype for name, spec in SPECS.items()
    }


def test_evaluation_may_be_repeated():
    batches = pipeline.evaluation_batches(Numbered(5), SPECS, batch_size=2)
    assert [_numbers(b) for b in batches] == [_numbers(b) for b in batches] == [[1, 2], [3, 4], [5, 0]]


@pytest.mark.parametrize(("batch_size", "process_count"), [(6, 4), (0, 1), (2, 4)])
def test_batches_that_cannot_be_shared_out(batch_size, process_count):
    with pytest.raises(UserError, match=f"batch_size={batch_size}"):
        pipeline.train_iterator(Numbered(5), batch_size=batch_size, seed=0, process_count=process_count)
    with pytest.raises(UserError, match=f"batch_size={batch_size}"):
        pipeline.evaluation_batches(Numbered(5), SPECS, batch_size=batch_size, process_count=process_count)


def test_an_empty_training_split():
    with pytest.raises(UserError, match="empty"):
        pipeline.train_iterator(Numbered(0), batch_size=2, seed=0)


def test_worker_processes_read_the_same_stream():
    batches = pipeline.train_iterator(Numbered(10), batch_size=4, seed=5, num_workers=1)
    expected = _train(10, 8, batch_size=4, seed=5)
    assert [_numbers(next(batches)) for _ in range(5)] == expected[:5]
    state = batches.get_state()
    assert [_numbers(next(batches)) for _ in range(3)] == expected[5:]
    batches.set_state(state)
    assert [_numbers(next(batches)) for _ in range(3)] == expected[5:]
    batches.close()


@pytest.mark.parametrize(
    ("length", "count", "indices"), [(10, 4, [0, 3, 6, 9]), (3, 6, [0, 1, 2]), (4, None, [0, 1, 2, 3]), (5, 1, [0])]
)
def test_evenly_spaced(length, count, indices):
    assert pipeline.evenly_spaced([None] * length, count) == indices
