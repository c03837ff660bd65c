"""Plans: the paper's are whole and valid, mistakes are said before anything starts, runs that began are not changed."""

import dataclasses
import json
import pathlib

import pytest
from sweeps import planning, records
from sweeps import rows as rows_lib

from lim_jax import config as config_lib
from lim_jax.config import reading
from lim_jax.configs import common
from lim_jax.errors import UserError
from tests.scripts import made_up_faces

ROOT = pathlib.Path("runs/sweep")
EVIDENCE = ("protocols", "choices", "pruning", "compact")


def faces(root):
    """What the plans of faces are given after --."""
    return [f"--config.dataset.source_dir={made_up_faces.made(root)}"]


@pytest.mark.parametrize(
    ("plan", "config", "runs", "rows"),
    [
        ("table1", "configs/nyu.py", 105, 21),
        ("table2", "celeba", 60, 12),
        ("table3", "nyu", 15, 3),
        ("figure3", "nyu", 30, 6),
        ("rooms", "rooms", 105, 35),
        ("healing", "rooms", 6, 2),
        ("protocols", "rooms", 21, 7),
        ("choices", "rooms", 27, 9),
        ("pruning", "rooms", 21, 7),
        ("compact", "rooms", 12, 4),
        ("faces", "folder", 70, 14),
        ("faces_protocols", "folder", 35, 7),
    ],
)
def test_our_plans(plan, config, runs, rows, tmp_path):
    sweep = planning.made(plan, config, ROOT, faces(tmp_path) if config == "folder" else [])
    assert len(sweep.runs) == runs and len(rows_lib.rows(sweep)) == rows
    assert len({run.command for run in sweep.runs.values()}) == runs
    assert {metric for of in sweep.metrics.values() for metric in list(of)[:1]} <= {
        *("iou", "cosine_similarity", "mae", "accuracy")
    }


@pytest.mark.parametrize(
    ("names", "config", "further"),
    [(("rooms", *EVIDENCE), "rooms", 57), (("faces", "faces_protocols"), "folder", 30)],
)
def test_plans_of_one_root_agree_on_the_runs_that_they_share(names, config, further, tmp_path):
    extra = faces(tmp_path) if config == "folder" else []
    plans = [planning.made(plan, config, ROOT, extra).runs for plan in names]
    together = {name: run for runs in plans for name, run in runs.items()}
    for runs in plans:
        assert {name: run.overrides for name, run in runs.items()} == {name: together[name].overrides for name in runs}
    assert len(together.keys() - plans[0].keys()) == further


def test_the_published_protocol_is_that_of_the_configurations():
    default, published = (config_lib.flat(of) for of in (common.get_config(), common.as_published(common.get_config())))
    changed = {key: value for key, value in published.items() if value != default[key]}
    runs = planning.made("protocols", "rooms", ROOT, []).runs
    overrides = runs["segmentation+normals+depth_published_dense_seed0"].overrides
    assert changed.items() <= overrides.items()


def test_folder_and_seed_in_texts(tmp_path):
    start = "{root}/start_seed{seed}"
    runs = {f"on_{seed}": {"init_from": start, "label": "trained on", "seed": seed} for seed in (3, 4)}
    (tmp_path / "plan.py").write_text(f"RUNS = {runs}")
    sweep = planning.made(str(tmp_path / "plan.py"), "rooms", ROOT, [])
    assert f"--config.init_from={ROOT}/start_seed4" in sweep.runs["on_4"].command
    assert not any("label" in word for word in sweep.runs["on_4"].command)
    (row,) = rows_lib.rows(sweep)
    assert row.setting == "trained on" and list(row.runs) == [3, 4]
    assert row.run.overrides == {"init_from": start, "seed": 3}


def test_a_run_of_table_1():
    name = "normals+depth_lambda1e-6_seed2"
    run = planning.made("table1", "configs/nyu.py", ROOT, ["--config.batch_size=8"]).runs[name]
    flags = ["config=configs/nyu.py", "config.tasks=normals,depth", "config.sparsity.strength=1e-06"]
    flags += ["config.seed=2", "config.batch_size=8", f"workdir={ROOT / name}"]
    assert run.command == ("-m", "lim_jax.main", *(f"--{flag}" for flag in flags))
    assert (run.tasks, run.seed, run.strength, run.target) == (("normals", "depth"), 2, 1e-6, 0.0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dataset.image_size=32,40", [32, 40]),
        ("tasks=depth", ["depth"]),
        ("learning_rate=1", 1.0),
        ("dataset.source_dir=1,2", "1,2"),
        ("recompute=true", True),
    ],
)
def test_values_for_all_runs(text, value, tmp_path):
    (tmp_path / "plan.py").write_text("RUNS = {'one': {}}")
    sweep = planning.made(str(tmp_path / "plan.py"), "nyu", ROOT, [f"--config.{text}"])
    assert sweep.runs["one"].overrides == {text.partition("=")[0]: value}


@pytest.mark.parametrize(
    ("plan", "extra", "message"),
    [
        ("tabel1", [], "did you mean --plan=table1"),
        ("nothing", [], "there are choices, compact, faces, faces_protocols, figure3, healing"),
        ("1 +", [], "is no plan"),
        ("RUNS = {}", [], "has no RUNS"),
        ("RUNS = {'a/b': {}}", [], "needs a plain name"),
        ("RUNS = {'jobs': {}}", [], "needs a plain name"),
        ("RUNS = {'one': None}", [], r"of RUNS\['one'\] it takes"),
        ("RUNS = {1: {'seed': 1}}", [], r"of RUNS\[1\] it takes"),
        ("RUNS = {'one': {1: 1}}", [], r"of RUNS\['one'\] it takes"),
        ("RUNS = {'one': {}}; PAPER = 'x'", [], "has PAPER = 'x'; the paper has table1, table2, table3"),
        ("RUNS = {'one': {'sed': 1}}", [], "run one: there is no key config.sed"),
        ("RUNS = {'one': {'sparsity.target': 2.0}}", [], "run one: config.sparsity.target is 2.0"),
        ("RUNS = {'one': {'seed': 'x'}}", [], "run one: "),
        ("RUNS = {'one': {}}", ["--config.num_epoch=3"], "did you mean config.num_epochs"),
        ("RUNS = {'one': {}}", ["num_epochs=3"], "write --config.key=value"),
        ("RUNS = {'a': {'seed': 0}, 'b': {'seed': 1}}", ["--config.seed=3"], "seed is what the plan varies"),
        ("RUNS = {'a': {'seed': 0}, 'b': {}}", ["--config.seed=0"], "seed is what the plan varies"),
    ],
)
def test_mistakes_are_one_line(plan, extra, message, tmp_path):
    if " " in plan:
        (tmp_path / "plan.py").write_text(plan)
        plan = str(tmp_path / "plan.py")
    with pytest.raises(UserError, match=message) as caught:
        planning.made(plan, "rooms", ROOT, extra)
    assert "\n" not in str(caught.value)


def test_the_command_line_goes_before_the_plan():
    sweep = planning.made("rooms", "rooms", ROOT, ["--config.num_epochs=25"])
    assert {run.num_epochs for run in sweep.runs.values()} == {25}


def test_a_run_that_has_begun_stays_as_it_is(tmp_path):
    old = planning.made("rooms", "rooms", tmp_path, [])
    new = planning.made("rooms", "rooms", tmp_path, ["--config.batch_size=8"])
    planning.refuse_changes(new, old)
    (tmp_path / "depth_dense_seed0").mkdir()
    (tmp_path / "depth_dense_seed0" / "config.json").write_text("{}")
    planning.refuse_changes(old, old)
    with pytest.raises(UserError, match=r"holds a run depth_dense_seed0 with another config\.batch_size"):
        planning.refuse_changes(new, old)
    with pytest.raises(UserError, match="holds runs with --config=rooms"):
        planning.refuse_changes(dataclasses.replace(old, config="nyu"), old)


def test_a_run_that_has_begun_has_the_values_that_its_command_gives_now(tmp_path):
    """The file of the configuration may have changed since."""
    own = tmp_path / "own.py"
    text = pathlib.Path("configs/rooms.py").read_text()
    own.write_text(text)
    sweep = planning.made("rooms", str(own), tmp_path / "root", ["--config.learning_rate=0.5"])
    name = "segmentation+depth_target50_seed1"
    workdir = sweep.root / name
    workdir.mkdir(parents=True)
    config = planning._checked(name, reading.read(str(own)), sweep.root, sweep.runs[name].overrides)
    config_lib.save(config, workdir)
    records.save(sweep)
    for again in (sweep, records.load(sweep.root)):
        planning.refuse_others(again)
    own.write_text(text.replace("return config", "config.batch_size = 4\n    return config"))
    for again in (
        planning.made("rooms", str(own), sweep.root, ["--config.learning_rate=0.5"]),
        records.load(sweep.root),
    ):
        with pytest.raises(UserError, match=r"seed1 holds a run with config\.batch_size=16, not 4"):
            planning.refuse_others(again)
    own.write_text(text)
    fewer = {**config.to_dict(), "num_epochs": 3}
    (workdir / "config.json").write_text(json.dumps(fewer))
    planning.refuse_others(sweep)
    (workdir / records.RESULTS).write_text("{}")
    with pytest.raises(UserError, match="is done with 3 epochs, not 8"):
        planning.refuse_others(sweep)


def test_a_folder_that_was_moved_is_not_trained_into_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.py").write_text("RUNS = {'one': {}}")
    records.save(planning.made("plan.py", "rooms", pathlib.Path("runs/old"), []))
    planning.refuse_moved(records.load(pathlib.Path("runs/old")))
    planning.refuse_moved(records.load(tmp_path / "runs/old"))
    (tmp_path / "runs/old").rename(tmp_path / "new")
    with pytest.raises(
        UserError, match=r"begun in .*runs/old: to go on here, give --plan=plan.py --config=rooms --root="
    ):
        planning.refuse_moved(records.load(tmp_path / "new"))


def test_a_sweep_is_read_as_it_was_written(tmp_path):
    sweep = planning.made("table2", "celeba", tmp_path / "new", [])
    records.save(sweep)
    assert dataclasses.asdict(records.load(tmp_path / "new")) == dataclasses.asdict(sweep)
    (tmp_path / "new" / records.FILE).write_text("{}")
    with pytest.raises(UserError, match="is damaged"):
        records.load(tmp_path / "new")
    with pytest.raises(UserError, match="holds no sweep"):
        records.load(tmp_path)
