"""What is saved comes back to the last bit or is refused: every file of a checkpoint torn, flipped and taken away."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from lim_jax import balancing, evaluate
from lim_jax.errors import UserError
from lim_jax.training import checkpoints, digests, stored
from lim_jax.training.stored import UnusableError
from tests.training import saved

ROOT = pathlib.Path(__file__).parents[2]
STEPS = {36: 0.5, 40: 0.3, 44: 0.4}  # of these checkpoints, 36 is neither among the newest nor the best


def flipped(position):
    def damage(path):
        content = bytearray(path.read_bytes())
        content[int(position * (len(content) - 1))] ^= 0x10
        path.write_bytes(content)

    return damage


def truncated(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


DAMAGES = {
    **{f"flipped at {position}": flipped(position) for position in (0, 0.3, 0.6, 1)},
    "half": truncated(0.5),
    "empty": truncated(0),
    "missing": pathlib.Path.unlink,
}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A workdir with checkpoints at 40 (the best) and 44."""
    workdir = tmp_path_factory.mktemp("run")
    saved.save(workdir, STEPS)
    return workdir


@pytest.fixture
def workdir(original, tmp_path):
    shutil.copytree(original, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def original_small(tmp_path_factory):
    """A workdir with the same checkpoints of a state with few arrays."""
    workdir = tmp_path_factory.mktemp("small")
    saved.save(workdir, STEPS, saved.small_state)
    return workdir


@pytest.fixture
def small(original_small, tmp_path):
    shutil.copytree(original_small, tmp_path / "run")
    return tmp_path / "run"


def folder(workdir, step=44):
    return workdir / "checkpoints" / str(step)


def resumed(workdir, like):
    """The state and the position that a run in `workdir` would go on with, as resuming tries one after the other."""
    batches = saved.iterator()
    with checkpoints.Checkpoints(workdir, saved.TASKS) as checkpointer:
        state, _ = stored.first_usable(
            stored.ranked(workdir, stored.LATEST),
            lambda each: checkpointer.restore(each, like, batches),
        )
    return state, batches.get_state()


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_what_is_saved_comes_back(original):
    state, position = resumed(original, saved.shapes())
    assert_equal(state, saved.state(44))
    assert position["next_index"] == len(STEPS)
    assert_equal(checkpoints.load_network(original).variables, saved.state(40).variables)
    assert checkpoints.latest_meta(original) == json.loads(json.dumps(saved.meta(44)))


def test_in_the_background_what_was_given_is_saved_while_training_goes_on(tmp_path, monkeypatch):
    """The digests wait for training, which moves on the input and the history."""
    trained, of_arrays = threading.Event(), digests.of_arrays
    monkeypatch.setattr(digests, "of_arrays", lambda arrays: trained.wait(60) and of_arrays(arrays))
    batches, meta = saved.iterator(), saved.meta(4)
    next(batches)
    with checkpoints.Checkpoints(tmp_path, saved.TASKS, in_background=True) as checkpointer:
        checkpointer.save(saved.small_state(4), batches, meta, {"total": 0.5})
        next(batches)
        expected = json.loads(json.dumps(meta))
        meta["history"].append("what comes next")
        assert not (folder(tmp_path, 4) / "meta").exists()
        trained.set()
        assert checkpointer.step(checkpoints.LATEST) == 4
    state, position = resumed(tmp_path, saved.small_state(0))
    assert_equal(state, saved.small_state(4))
    assert position["next_index"] == 1
    assert checkpoints.latest_meta(tmp_path) == expected
    stored.Stored(folder(tmp_path, 4)).position()


def test_what_goes_wrong_in_the_background_is_raised_at_the_next_wait(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    checkpointer = checkpoints.Checkpoints(tmp_path, saved.TASKS, in_background=True)
    monkeypatch.setattr(checkpointer._manager, "save", full)
    checkpointer.save(saved.small_state(4), saved.iterator(), saved.meta(4), {})
    with pytest.raises(OSError, match="No space left"):
        checkpointer.wait()
    checkpointer.__exit__(None, None, None)


def test_an_average_is_the_network_and_what_is_trained_comes_back_beside_it(tmp_path):
    method = balancing.create("famo")

    def state(step):
        plain = saved.small_state(step)
        variables = jax.tree.map(lambda leaf: leaf + step, plain.variables)
        weighed = jax.tree.map(lambda leaf: np.asarray(leaf + step, leaf.dtype), method.init(1))
        return dataclasses.replace(plain, average=variables, balancing=weighed)

    saved.save(tmp_path, {4: 0.5}, state)
    found, _ = resumed(tmp_path, state(8))
    assert_equal(found, state(4))
    (checkpoint,) = stored.all_of(tmp_path)
    kernel = checkpoint.weights()["params/conv/kernel"]
    np.testing.assert_array_equal(kernel, state(4).average["params"]["conv"]["kernel"])


def test_the_two_newest_and_the_best_are_kept(tmp_path):
    losses = {4: 0.1, 8: None, 12: float("nan"), 16: 0.3, 20: float("inf"), 24: 0.2}
    saved.save(tmp_path, losses, saved.small_state)
    assert [each.step for each in stored.all_of(tmp_path)] == [24, 20, 4]
    assert [each.step for each in stored.ranked(tmp_path)] == [4, 24, 20]
    assert stored.Stored(folder(tmp_path, 20)).losses() == {}


def test_of_a_best_one_that_is_not_among_the_newest_weights_alone_are_kept(tmp_path):
    saved.save(tmp_path, {4: 0.1, 8: 0.4, 12: 0.3}, saved.small_state)
    best, *newest = reversed(stored.all_of(tmp_path))
    assert best.has_weights_alone and not any(each.has_weights_alone for each in newest)
    assert not (best.folder / "training").exists() and not (best.folder / "iterator").exists()
    assert best.weights() and best.losses()["total"] == 0.1
    with pytest.raises(UnusableError, match="kept for its weights alone"):
        best.arrays("training")
    for each in newest:
        shutil.rmtree(each.folder / "meta")
    state, _ = resumed(tmp_path, saved.small_state(0))
    assert state is None, "a run must not go on from weights alone"


def test_a_process_that_was_killed_while_it_removed_what_training_needs_leaves_no_damage(small):
    (folder(small, 40) / stored.WEIGHTS_ALONE).touch()
    truncated(0.5)(next(path for path in (folder(small, 40) / "training").rglob("*") if path.is_file()))
    assert stored.Stored(folder(small, 40)).has_weights_alone
    assert stored.Stored(folder(small, 40)).weights()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("item", ["weights", "training", "iterator", "meta", "metrics", "."])
def test_a_damaged_file_is_noticed_or_harmless(small, item, damage):
    """Whatever happens to one file: either everything comes back to the last bit, or the item is said to be damaged."""
    paths = (folder(small) / item).iterdir() if item == "." else (folder(small) / item).rglob("*")
    expected = content_of(folder(small))
    for path in [path for path in paths if path.is_file()]:
        before = path.read_bytes()
        DAMAGES[damage](path)
        try:
            found = content_of(folder(small))
        except UnusableError as error:
            assert str(error).startswith(f"damaged ({item}: ")
            assert "\n" not in str(error)
        else:
            assert_equal(found, expected)
        path.write_bytes(before)


def content_of(path):
    """All that is read of a checkpoint."""
    checkpoint = stored.Stored(path)
    arrays = {item: checkpoint.arrays(item) for item in stored.ITEMS}
    return arrays, checkpoint.position(), checkpoint.losses()["total"], json.dumps(checkpoint.meta())


@pytest.mark.parametrize("item", ["weights", "training", "iterator", "meta"])
def test_the_checkpoint_before_is_used(small, item):
    for path in (folder(small) / item).rglob("*"):
        if path.is_file():
            truncated(0.5)(path)
    state, position = resumed(small, saved.small_state(0))
    assert_equal(state, saved.small_state(40))
    assert position["next_index"] == 2


@pytest.mark.parametrize("name", ["weights", "training", "iterator", "meta"])
def test_a_missing_item_is_named(small, name):
    shutil.rmtree(folder(small) / name)
    with pytest.raises(UnusableError, match=rf"damaged \({name}: .*missing"):
        stored.Stored(folder(small)).check()


def test_exchanged_arrays_are_noticed(small):
    """Files that are as sound as can be, of another checkpoint."""
    for item in ("weights", "training"):
        shutil.rmtree(folder(small) / item)
        shutil.copytree(folder(small, 40) / item, folder(small) / item)
        with pytest.raises(UnusableError, match=f"damaged \\({item}: .* is not what was saved"):
            stored.Stored(folder(small)).arrays(item)


def test_a_workdir_may_be_relative(workdir, monkeypatch):
    """As it is by default: `runs/rooms`."""
    monkeypatch.chdir(workdir.parent)
    relative = pathlib.Path(workdir.name)
    assert_equal(resumed(relative, saved.shapes())[0], saved.state(44))
    assert checkpoints.load_network(relative).step == 40


@pytest.mark.parametrize("item", ["weights", "meta"])  # without the latter nobody knows that it was the best
def test_a_verb_names_the_damaged_checkpoint_and_uses_the_next(workdir, caplog, item):
    shutil.rmtree(folder(workdir, 40) / item)
    with caplog.at_level("WARNING", logger="lim_jax"):
        assert checkpoints.load_network(workdir).step == 44
    assert f"the checkpoint at step 40 is damaged ({item}: it is missing): using step 44" in caplog.text
    assert len(caplog.records) == 1
    shutil.rmtree(folder(workdir) / "meta")
    with pytest.raises(UserError, match=r"nothing in .* can be used") as error:
        checkpoints.load_network(workdir)
    assert "\n" not in str(error.value)


def test_reading_changes_nothing(workdir):
    (workdir / "checkpoints" / "48").mkdir()
    (workdir / "checkpoints" / "52.orbax-checkpoint-tmp-1").mkdir()
    before = sorted(workdir.rglob("*"))
    checkpoints.load_network(workdir)
    evaluate.verify(workdir)
    assert sorted(workdir.rglob("*")) == before


def test_a_writer_removes_what_is_half_done(small):
    (small / "checkpoints" / "48").mkdir()
    (small / "checkpoints" / "52.orbax-checkpoint-tmp-1").mkdir()
    saved.save(small, {48: 0.6}, saved.small_state)
    assert sorted(path.name for path in (small / "checkpoints").iterdir()) == ["40", "44", "48"]


def test_a_damaged_checkpoint_is_set_aside_for_a_new_one(workdir):
    truncated(0.5)(folder(workdir) / "meta" / "metadata")
    with checkpoints.Checkpoints(workdir, saved.TASKS) as checkpointer:
        checkpointer.set_aside([44])
        assert checkpointer.step(checkpoints.LATEST) == 40
    saved.save(workdir, {44: 0.2})
    assert checkpoints.load_network(workdir).step == 44
    assert (workdir / "damaged" / "44" / "meta" / "metadata").is_file()


def without_digests(workdir, step):
    """Makes a checkpoint what an older version would have saved."""
    path = folder(workdir, step) / "meta" / "metadata"
    content = json.loads(path.read_text())
    del content["digests"], content["losses"]
    path.write_text(json.dumps(content))


def test_older_checkpoints_are_read(workdir):
    for step in (40, 44):
        without_digests(workdir, step)
    assert_equal(resumed(workdir, saved.shapes())[0], saved.state(44))
    assert checkpoints.load_network(workdir).step == 40
    assert not stored.Stored(folder(workdir)).has_digests


@pytest.mark.parametrize("content", ["", "{", "[]", '{"total": "low"}', '{"total": NaN}', '{"total": true}'])
def test_older_losses_that_are_none_do_not_count(workdir, content):
    without_digests(workdir, 40)
    (folder(workdir, 40) / "metrics" / "metrics").write_text(content)
    assert checkpoints.load_network(workdir).step == 44


@pytest.mark.parametrize("tree", ["params", "batch_stats", "log_variances", "opt_state"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_is_not_finite_is_not_saved(tmp_path, tree, value):
    def spoilt(step):
        state = saved.small_state(step)
        old = getattr(state, tree)
        new = jax.tree.map(lambda leaf: np.full_like(leaf, value) if leaf.dtype.kind == "f" else leaf, old)
        return dataclasses.replace(state, **{tree: new})

    saved.save(tmp_path, {4: 0.5}, saved.small_state)
    with pytest.raises(UnusableError, match="not finite"):
        saved.save(tmp_path, {8: 0.4}, spoilt)
    assert [each.step for each in stored.all_of(tmp_path)] == [4]


def test_a_network_that_is_not_finite_is_not_used(workdir, monkeypatch):
    """Older versions saved such networks."""
    monkeypatch.setattr(digests, "first_not_finite", lambda arrays: None)
    nan = {"depth": np.float32("nan")}
    saved.save(workdir, {48: 0.1}, lambda step: dataclasses.replace(saved.state(step), log_variances=nan))
    monkeypatch.undo()
    assert [each.step for each in stored.ranked(workdir)] == [48, 44]
    assert checkpoints.load_network(workdir).step == 44
    shutil.rmtree(folder(workdir))
    with pytest.raises(UserError, match=r"step 48 is not finite \(weights: params/loss_weighting/depth\)"):
        checkpoints.load_network(workdir)


def test_another_network_is_told_from_a_damaged_one(workdir):
    other = dataclasses.replace(saved.shapes(), active={"normals": np.bool_(True)})
    with (
        checkpoints.Checkpoints(workdir, saved.TASKS) as checkpointer,
        pytest.raises(UserError, match="holds another network"),
    ):
        checkpointer.restore(stored.Stored(folder(workdir)), other, saved.iterator())


DESCRIPTIONS = [
    {"epoch": "three"},
    {"architecture": None},
    {"architecture": {}},
    {"architecture": {"model": {}, "tasks": []}},
    {"architecture": {"model": {"backbone": 3, "heads": {}}, "tasks": {}}},
    {"architecture": [1]},
]


@pytest.mark.parametrize("change", DESCRIPTIONS)
def test_wrong_types_in_a_strangers_meta_cost_a_line(workdir, change):
    rewrite_meta(workdir, lambda content: content | change)
    with pytest.raises(UserError, match=r"damaged \(meta: ") as error:
        checkpoints.load_network(workdir)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../escaped/evil", "/tmp/evil", "..", "a/b", "", "a\nb", "a b", "-"])
def test_names_of_a_strangers_tasks_are_plain(workdir, name):
    def rename(content):
        described = content["architecture"]
        for mapping in (described["tasks"], described["model"]["heads"]):
            mapping[name] = mapping.pop("depth")
        described["tasks"][name]["spec"]["name"] = name
        return content

    rewrite_meta(workdir, rename)
    with pytest.raises(UserError, match="is no name of a task"):
        checkpoints.load_network(workdir)


def rewrite_meta(workdir, change):
    """Changes the only checkpoint as somebody would who wants it to be believed."""
    shutil.rmtree(folder(workdir, 40))
    path = folder(workdir) / "meta" / "metadata"
    content = change(json.loads(path.read_text()))
    del content["digests"]["meta"]
    content["digests"]["meta"] = digests.of_json(content)
    path.write_text(json.dumps(content))


def test_verify_says_what_is_sound(workdir, capsys):
    assert evaluate.verify(workdir)
    assert capsys.readouterr().out.splitlines() == ["step  state", "  40  sound", "  44  sound"]
    without_digests(workdir, 40)
    shutil.rmtree(folder(workdir) / "training")
    assert not evaluate.verify(workdir)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  40  readable (saved without digests)",
        "  44  damaged (training: it is missing)",
    ]
    shutil.rmtree(workdir / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoints"):
        evaluate.verify(workdir)


def test_verify_is_a_flag(workdir):
    command = [sys.executable, "-m", "lim_jax.evaluate", f"--workdir={workdir}", "--verify"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.count("sound") == 2
    shutil.rmtree(folder(workdir) / "training")
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == evaluate.EXIT_UNSOUND


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.float32(3),
        np.zeros((0, 3), np.int8),
        np.array([True, False]),
        np.asarray(jnp.ones(4, jnp.bfloat16)),
    ],
)
def test_digests_see_every_bit_and_the_shape(array):
    digest = digests.of_arrays({"a": np.asarray(array)})["a"]
    assert digests.of_arrays({"a": np.array(array)})["a"] == digest
    others = [np.reshape(array, (1, *np.shape(array))), np.asarray(array).astype(np.float16)]
    if np.size(array):
        raw = np.array(array, order="C").reshape(-1)
        raw.view(np.uint8)[-1] ^= 1
        others.append(raw.reshape(np.shape(array)))
    assert all(digests.of_arrays({"a": other})["a"] != digest for other in others)


def test_a_compact_network_is_checked_too(original, tmp_path):
    checkpoints.save_network(tmp_path, checkpoints.load_network(original))
    checkpoint = stored.all_of(tmp_path)[0]
    checkpoint.check()
    assert checkpoint.has_digests
    weights = ocp.StandardCheckpointer().restore(checkpoint.folder.absolute() / "weights")
    assert weights.keys() == {"params", "batch_stats"}
