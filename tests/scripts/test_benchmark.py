"""The benchmarks run, and their baseline computes what lim_jax computes. Nothing here depends on how long it takes."""

import argparse
import functools
import json
import pathlib
import subprocess
import sys

import benchmark
import jax
import numpy as np
import pytest
from benchmarks import (
    comparison,
    convolutions,
    gpu_table,
    lim_jax_code,
    markdown,
    networks,
    plain_flax,
    roofline,
    scaling,
    startup,
    supervised,
    worker,
)
from benchmarks.job import OUTPUTS, Job

from lim_jax import ops
from lim_jax.runtime import platforms

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
SIZES = {"backbone": "resnet10d", "width_multiplier": 0.05, "head_channels": 8, "batch_size": 1, "image_size": 32}
OPTIONS = [f"--{name}={value}" for name, value in SIZES.items()]


class InThisProcess:
    """Stands for `worker.Worker`, without a process: what is imported and compiled is shared by all tests."""

    prepared = staticmethod(functools.cache(worker.prepared))

    def __init__(self, job):
        self._job = job

    def __enter__(self):
        self._run, self.machine = self.prepared(self._job), worker.machine()
        return self

    def __exit__(self, *exception):
        pass

    def seconds(self):
        return worker.run_once(self._run)

    def finish(self):
        return worker.memory()


def measured(arguments, monkeypatch, capsys):
    """Runs the command with workers in this process; returns the JSON lines and what else was printed."""
    for module in (comparison, scaling):
        monkeypatch.setattr(module, "Worker", InThisProcess)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
    benchmark.main()
    printed = capsys.readouterr().out.splitlines()
    return [json.loads(line) for line in printed if line.startswith("{")], [line for line in printed if line[:1] != "{"]


def random_variables(model, images):
    """Variables in which nothing is zero or one, so that everything counts."""
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return jax.tree.map(
        lambda leaf: generator.uniform(0.05, 0.2, leaf.shape).astype(np.float32) - 0.1 * (leaf.ndim > 1), shapes
    )


@pytest.mark.parametrize("backbone", ["resnet18d", "resnet50d"])
def test_plain_flax_computes_the_same(backbone):
    job = Job("step", **(SIZES | {"backbone": backbone, "image_size": 120}))
    config = networks.configuration(job)
    config.model.dropout_rate = 0.0
    ours, plain = networks.build(config).model, plain_flax.PlainModel(job, dropout=0.0)
    images = np.random.default_rng(1).standard_normal((2, 120, 120, 3), np.float32)
    variables = random_variables(ours, images)
    renamed = plain_flax.from_lim_jax(variables)
    assert jax.tree.structure(jax.eval_shape(plain.init, jax.random.key(0), images)) == jax.tree.structure(renamed)

    def train_mode(model):
        return jax.jit(lambda v: model.apply(v, images, train=True, mutable=["batch_stats"]))

    for mode in (lambda model: jax.jit(lambda v: (model.apply(v, images), {})), train_mode):
        (a, ours_updated), (b, plain_updated) = mode(ours)(variables), mode(plain)(renamed)
        assert a.keys() == b.keys() == OUTPUTS.keys()
        for task, outputs in OUTPUTS.items():
            assert a[task].shape == (2, 15, 15, outputs)
            np.testing.assert_allclose(a[task], b[task], rtol=0, atol=1e-4 * np.max(np.abs(a[task])))
        if ours_updated:
            stats = plain_flax.from_lim_jax({"params": {}, **ours_updated})["batch_stats"]
            jax.tree.map(
                lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5), stats, plain_updated["batch_stats"]
            )


def test_contenders_run_in_processes_of_their_own():
    command = [sys.executable, "scripts/benchmark.py", "optimizer", "--rounds=2", *OPTIONS]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    ours, optax, ratio = map(json.loads, printed.splitlines())
    assert (ours["contender"], optax["contender"], ratio["ratio"]) == ("lim_jax", "optax", "optax / lim_jax")
    for line in (ours, optax):
        assert line.items() >= SIZES.items()
        assert 0 < line["min_s"] <= line["median_s"] <= line["max_s"]
        assert line["rounds"] == 2
        assert line["peak_memory_mb"] > 50
        assert line.keys() >= {"device", "cores", "jax", "flax"}
    assert optax["min_s"] / ours["max_s"] <= ratio["time"] * 1.001
    assert ratio["time"] <= optax["max_s"] / ours["min_s"] * 1.001


def test_a_worker_that_fails_ends_the_benchmark():
    with pytest.raises(SystemExit, match="lim_jax optimizer"), worker.Worker(Job("optimizer", "lim_jax", "vgg16")):
        pass


def test_starts_are_timed(monkeypatch, capsys):
    empty, filled, ratio = measured(["startup", *OPTIONS], monkeypatch, capsys)[0]
    assert [line["cache"] for line in (empty, filled)] == ["empty", "filled"]
    assert ratio["time"] == pytest.approx(empty["median_s"] / filled["median_s"], rel=1e-2)


def test_the_table_compares_everything(monkeypatch, capsys):
    seconds = {"ratio": "", "time": 3.0, "empty_s": 30.0, "filled_s": 10.0}
    monkeypatch.setattr(startup, "measure", lambda arguments: seconds)
    lines, table = measured(["table", "--rounds=1", *OPTIONS], monkeypatch, capsys)
    contenders = [(line["what"], line["contender"]) for line in lines if "contender" in line]
    assert contenders == [
        ("step", "lim_jax"),
        ("step", "flax"),
        ("optimizer", "lim_jax"),
        ("optimizer", "optax"),
        ("inference", "lim_jax"),
        ("inference", "lim_jax_folded"),
        ("inference", "flax"),
    ]
    assert [row.split("|")[1].strip() for row in table if "|" in row][2:] == [
        *("step", "optimizer", "inference", "inference", "first step after start")
    ]


def test_scaling_draws_its_figure(monkeypatch, capsys, tmp_path):
    def gradients_only(job):  # the table's test runs the other jobs
        return worker.prepared(job) if job.what == "gradients" else lambda: None

    monkeypatch.setattr(InThisProcess, "prepared", staticmethod(functools.cache(gradients_only)))
    options = ["--rounds=1", "--batch_sizes=1", "--image_sizes=32", f"--plot={tmp_path / 'scaling.png'}"]
    lines, _ = measured(["scaling", *options, *OPTIONS], monkeypatch, capsys)
    points = [(line["what"], line["sweep"], line["batch_size"]) for line in lines if "us_per_pixel" in line]
    assert points == [
        ("optimizer", "optimizer", 1),
        ("gradients", "batch_size", 1),
        ("inference", "batch_size", 1),
        ("gradients", "image_size", 1),
        ("inference", "image_size", 1),
    ]
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


def test_roofline_counts_what_a_gpu_would_multiply(monkeypatch, capsys):
    lines, _ = measured(["roofline", *OPTIONS], monkeypatch, capsys)
    assert [(line["contender"], line["dtype"]) for line in lines] == [
        (contender, dtype) for contender in ("lim_jax", "flax") for dtype in ("float32", "tf32", "bfloat16")
    ]
    ours, plain = lines[0], lines[3]
    assert ours["gflops"] <= ours["gflops_with_padding"]
    # At 4×4 cells the dilated convolutions of the heads read nearly nothing but padding.
    assert plain["gflops_with_padding"] - plain["gflops"] > 2 * (ours["gflops_with_padding"] - ours["gflops"])


@pytest.mark.parametrize(("stride", "dilation", "size"), [(1, 1, 7), (2, 1, 7), (2, 1, 8), (1, 3, 7), (1, 9, 7)])
def test_padding_is_what_xla_leaves_out(stride, dilation, size):
    """With and without an image that is padded beforehand, XLA's own count differs by the operations on padding."""
    kernel = np.ones((3, 3, 4, 5), np.float32)

    def convolve(image, padding):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            image,
            kernel,
            (stride, stride),
            [(padding, padding)] * 2,
            rhs_dilation=(dilation,) * 2,
            dimension_numbers=numbers,
        )

    def flops(padding, image):
        return jax.jit(lambda image: convolve(image, padding)).lower(image).cost_analysis()["flops"]

    image = np.ones((2, size, size, 4), np.float32)
    padded = np.pad(image, [(0, 0), (dilation, dilation), (dilation, dilation), (0, 0)])
    jaxpr = jax.make_jaxpr(lambda image: convolve(image, dilation))(image).jaxpr
    assert sum(roofline.multiplied_padding(jaxpr)) == pytest.approx(flops(0, padded) - flops(dilation, image))


def test_input_and_compact_run(monkeypatch, capsys, data_dir):
    options = ["--rounds=1", "--workers=0", "--steps=1", f"--data_dir={data_dir}"]
    lines, _ = measured(["input", *options, *OPTIONS], monkeypatch, capsys)
    assert [line["read"] for line in lines] == ["one example", "batches", "beside training"]
    options = ["--rounds=1", "--backbone=resnet10d", "--batch_size=1", "--image_size=32"]
    dense, compact, ratio = measured(["compact", *options], monkeypatch, capsys)[0]
    assert compact["gmacs"] < dense["gmacs"]
    assert 50 < ratio["zero_group_percent"] < 80


def test_steps_in_a_row_are_timed_and_profiled(tmp_path):
    kept = tmp_path / "lines.jsonl"
    options = ["--steps=2", "--repeats=2", "--contenders=optax", "--profile", f"--output={kept}", f"--cache={tmp_path}"]
    command = [sys.executable, "scripts/benchmark.py", "optimizer", *options, *OPTIONS]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed == kept.read_text()
    first, row, program, *profile = map(json.loads, printed.splitlines())
    assert first["event"] == "first run" and first["cache"] == "empty" and first["first_run_s"] > 0.5
    assert (row["event"], row["steps"], row["rounds"]) == ("in a row", 2, 2)
    assert 0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"]
    assert program["program"] == "update" and program["fusions"] > 0 and program["gbytes"] > 0
    assert profile[0]["kernel"] == "all" and profile[0]["ms"] >= profile[1]["ms"] >= profile[-1]["ms"] > 0
    assert "optax" in markdown.render([json.loads(line) for line in printed.splitlines()])


@pytest.mark.parametrize(
    ("code", "needs", "minutes", "expected"),
    [
        ("print('{\"ms\": 1}'); print('no line')", 1, 1, [{"ms": 1}]),
        ("print('{\"ms\": 1}')", 61, 1, [{"who": "x", "left_out": "60 s left, needs 61"}]),
        ("raise SystemExit('broken')", 1, 1, [{"who": "x", "failed": "broken\n"}]),
        ("import time; print('{\"ms\": 1}', flush=True); time.sleep(60)", 0, 0.02, [{"ms": 1}, "no time left"]),
    ],
)
def test_processes_end_with_the_deadline(code, needs, minutes, expected, capsys):
    task = supervised.Task({"who": "x"}, [sys.executable, "-c", code], needs)
    found = list(supervised.run([task], supervised.Deadline.after(minutes)))
    if expected[-1] == "no time left":
        expected = [*expected[:-1], {"who": "x", "failed": "no time left"}][-len(found) :]
    assert found == expected
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == expected


def test_what_measures_steps_imports_no_data_pipeline():
    modules = "compact, convolutions, gpu_table, in_a_row, lim_jax_code, plain_flax, worker"
    unwanted = "{'array_record', 'clu', 'grain', 'orbax', 'tensorflow', 'tensorflow_datasets'}"
    code = f"import sys; from benchmarks import {modules}; assert not {unwanted} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=worker.environment(), check=True)


@pytest.mark.parametrize("place", ["device", "none"])
def test_the_share_of_an_epoch_that_is_not_steps(place, tmp_path):
    """By the loop of training, with checkpoints, where there is no TensorFlow."""
    absent = "import sys; sys.modules['tensorflow'] = sys.modules['tensorflow_datasets'] = None"
    code = f"{absent}; from benchmarks import epoch; epoch.main()"
    job = json.dumps(vars(Job("epoch", "lim_jax", **SIZES)))
    command = [sys.executable, "-c", code, job, "3", "2", place]
    done = subprocess.run(command, env=worker.environment(), check=True, capture_output=True, text=True)
    (line,) = map(json.loads, done.stdout.splitlines())
    assert line["place"] == ("device" if place == "device" else "host or none")
    assert (line["steps"], line["events"]) == (3, False)
    share = 100 * (1 - 3 * line["step_s"] / line["epoch_s"])
    assert line["not_steps_percent"] == pytest.approx(share, abs=0.1)
    assert f"examples on the {line['place']} | its steps |" in markdown.render([line])


def test_the_forms_of_a_convolution_are_a_table(monkeypatch, capsys):
    shapes = (convolutions.Shape(8, 16, 3, 2, 8), convolutions.Shape(4, 8, 1, 1, 8))
    monkeypatch.setattr(convolutions, "SHAPES", shapes)
    options = ["--steps=1", "--repeats=1", "--batch_size=1", "--image_size=32", "--dtype=float32"]
    lines, _ = measured(["convolutions", *options], monkeypatch, capsys)
    assert [(line["cells"], line["kernel_size"]) for line in lines] == [(4, 3), (8, 1)]
    table = markdown.render(lines)
    assert "| 4², 16→8 | 3×3, 2 | float32 |" in table and "product" in table
    lines, _ = measured(["convolutions", "--minutes=0.01", *options], monkeypatch, capsys)
    assert all("left_out" in line for line in lines)


def test_a_compact_backbone_is_timed_in_a_row(monkeypatch, capsys):
    options = ["--backbone=resnet18d", "--batch_size=1", "--image_size=32", "--round_to=8", "--dtype=bfloat16"]
    found, _ = measured(["compact", "--steps=1", "--repeats=1", "--profile", *options], monkeypatch, capsys)
    lines = [line for line in found if "network" in line]
    costs = {line["network"]: line["gmacs"] for line in lines}
    assert list(costs) == ["dense", "zeros kept", "compact, multiples of 8"]
    assert costs["dense"] == costs["zeros kept"] > 2 * costs["compact, multiples of 8"]
    assert lines[0]["zero_group_percent"] == pytest.approx(70, abs=1)
    table = markdown.render(found)
    assert "| backbone, compact, multiples of 8, bfloat16, batch 1 | dense |" in table
    assert "### Where the time goes: compact, multiples of 8, batch 1, compact, bfloat16\n" in table


def test_the_table_of_a_gpu_names_what_is_missing(monkeypatch, capsys, tmp_path):
    """The plan's commands are all understood, and the table comes also where some of them fail."""
    plan = gpu_table.plan
    for tiny in (False, True):
        rows = plan(argparse.Namespace(tiny=tiny, torch_reference="x"))
        for _, _, *command in rows:
            benchmark._parser().parse_args(command)
    rows = [(60, 1, "optimizer", *OPTIONS, "--steps=1", "--contenders=optax"), (60, 1, "optimizer", "--steps=one")]
    monkeypatch.setattr(gpu_table, "plan", lambda arguments: [*rows, (60, 1e6, "step")])
    lines, printed = measured(["gpu_table", f"--output={tmp_path}"], monkeypatch, capsys)
    assert [line.get("event") for line in lines] == ["first run", "in a row", "program", None, None]
    assert (tmp_path / "table.md").read_text().strip() == "\n".join(printed).strip()
    assert "| optimizer | optax | float32 |" in printed[-1] or any("| optimizer | optax" in row for row in printed)
    assert [row.split(":")[0] for row in printed[-2:]] == ["- failed", "- left out"]


def test_goals_stand_beside_what_was_measured():
    def step(contender, milliseconds, megabytes, dtype="bfloat16"):
        name = {"what": "step", "contender": contender, "dtype": dtype, "device": "some GPU"}
        times = dict.fromkeys(("median_ms", "min_ms", "max_ms"), milliseconds)
        start = {"event": "first run", "first_run_s": 100.0, "cache": "empty"}
        return [name | start, name | {"event": "in a row", "peak_device_memory_mb": megabytes} | times]

    lines = [*step("lim_jax", 40.0, 3000), *step("torch_modern", 50.0, 4000), *step("lim_jax", 80.0, 1, "float32")]
    lines += step("paper", 1200.0, 15000, "float32")
    table = markdown.render(lines)
    for row in (
        "| training step, bfloat16 |  | 40.0 ms |  | ≤ 36 ms |",
        "| training step, bfloat16 | torch_modern | 40.0 / 50.0 ms | 1.25× faster |  |",
        "| training step, float32 | paper | 80.0 / 1200.0 ms | 15.00× faster | ≥ 20 |",
        "| peak GPU memory, bfloat16 | torch_modern | 3000 / 4000 MB | 0.75 of it | ≤ 1.0 |",
        "| first step after start | empty cache | 100.0 s |  | ≤ 120 s |",
    ):
        assert row in table
    assert "some GPU" in markdown.render(lines[:1])
    assert markdown.render([]) == ""


def test_forms_take_the_place_of_the_platform_s(monkeypatch):
    monkeypatch.setattr(platforms, "PLATFORMS", dict(platforms.PLATFORMS))
    monkeypatch.setattr(lim_jax_code, "_inference", lambda job: platforms.default().forms)
    for contender, forms in (("lim_jax", ops.CPU), ("lim_jax_gpu", ops.GPU), ("lim_jax_reference", ops.REFERENCE)):
        assert lim_jax_code.prepare(Job("inference", contender)) is forms
