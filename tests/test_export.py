"""Exported files run in processes that cannot import lim_jax and predict what it does; broken ones are refused."""

import dataclasses
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import types

import jax
import ml_collections
import numpy as np
import pytest

from lim_jax import compaction, export, exporting, models, predict
from lim_jax.data.specs import TargetSpec
from lim_jax.errors import UserError
from lim_jax.prediction import evaluation
from lim_jax.training import checkpoints
from tests import untrained
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]
SPECS = {
    "segmentation": TargetSpec("segmentation", "segmentation", ("wall", "floor", "rest")),
    "depth": TargetSpec("depth", "depth"),
    "normals": TargetSpec("normals", "normals"),
    "smiling": TargetSpec("smiling", "attribute"),
}
FORMATS = [
    "stablehlo",
    pytest.param(
        "onnx",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("jax2onnx") is None, reason="the extra is not installed: pip install -e '.[onnx]'"
        ),
    ),
]
# By file: run, size of the images, normalisation inside, predictions inside.
FILES = {
    "rooms": ("dense", (64, 64), True, True),
    "odd": ("compact", (72, 104), True, True),
    "raw": ("compact", (41, 57), False, False),
}
WITHOUT_LIM_JAX = "import sys\nfor name in ('lim_jax', 'flax', 'jax2onnx'):\n    sys.modules[name] = None\n"
RUN_ALL = {
    "stablehlo": "run = lambda name: jax.jit(export.deserialize(bytearray(open(name, 'rb').read())).call)",
    "onnx": """
def run(name):
    session = onnxruntime.InferenceSession(name)
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"images": images})))
""",
}
SAVE_ALL = """
assert "lim_jax" not in [name for name, module in sys.modules.items() if module is not None]
found = {f"readme/{task}": array for task, array in predictions.items()}
for name, images in np.load("images.npz").items():
    call = run(f"{name}.FORMAT")
    for batch in (1, 3):
        found |= {f"{name}/{batch}/{task}": array for task, array in call(images[:batch]).items()}
np.savez("found.npz", **found)
"""


def _with_moderate_logits(net, variables):
    """Scales the last layers, in place, so that neither sigmoid nor tanh hides what comes before it."""
    images = np.random.default_rng(1).integers(0, 256, (1, 32, 40, 3), np.uint8)
    for task, logits in jax.device_get(jax.jit(net.logits)(variables, images)).items():
        head = variables["params"][f"heads_{task}"]
        head["fc2" if "fc2" in head else "logits"]["kernel"] *= 2 / np.max(np.abs(logits))
    return variables


def _sparse(variables):
    """Zero groups here and there, and two residual branches that are dead."""

    def zero(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if leaf.ndim != 4 or not name.endswith("/kernel"):
            return leaf
        alive = np.arange(leaf.shape[2]) % 3 > 0
        if "layer3_1/conv1" in name or "layer2_0/conv1" in name:
            alive[:] = False
        return leaf * alive[:, None] if "layer" in name else leaf

    return jax.tree.map_with_path(zero, variables)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Workdirs with a head of each kind: one dense, and one compact of which little is left, trained in bfloat16."""
    config = tiny_config("nowhere")
    config.model.backbone = "resnet18d"
    config.tasks = tuple(SPECS)
    config.dataset.image_size = (64, 64)
    config.model.width_multiplier = 0.05
    config.model.head = "deeplabv3plus"
    config = ml_collections.FrozenConfigDict(config)  # no one data set has all these tasks
    dense = untrained.make(config, SPECS)
    dense = dataclasses.replace(dense, variables=_with_moderate_logits(dense.network, dense.variables))
    compacted = compaction.compact(dense.network.model, _sparse(dense.variables))
    small = dataclasses.replace(dense.network, model=models.with_dtype(compacted.model, "bfloat16"))
    compact = dataclasses.replace(dense, network=small, variables=compacted.variables)
    return {
        name: untrained.save(tmp_path_factory.mktemp(name), config, trained)
        for name, trained in (("dense", dense), ("compact", compact))
    }


def test_the_compact_network_has_what_could_go_wrong(runs):
    backbone = checkpoints.load_network(runs["compact"]).network.model.backbone
    convs = [conv for stage in backbone.architecture.stages for block in stage for conv in block.convs]
    assert any(conv.features == 0 for conv in convs)
    assert any(conv.inputs for conv in convs)
    assert any(conv.constant for conv in convs)


def _expected(workdir, images, normalises, predicts):
    trained = checkpoints.load_network(workdir)
    exact = dataclasses.replace(trained.network, model=models.with_dtype(trained.network.model, "float32"))
    if predicts:
        return jax.device_get(evaluation.predictor(exact, images.shape[1:3])(trained.variables, images))
    return jax.device_get(jax.jit(exact.model.apply)(trained.variables, images))


@pytest.mark.parametrize("format_name", FORMATS)
def test_files_run_without_lim_jax_and_predict_the_same(runs, tmp_path, monkeypatch, format_name):
    # What the verb checks by itself is tested with the file of the command line; here it would take as long again.
    monkeypatch.setattr(exporting, "differences", lambda *arguments: {"depth": 0.0})
    rng, images, expected = np.random.default_rng(0), {}, {}
    for name, (run, size, normalises, predicts) in FILES.items():
        pixels = rng.integers(0, 256, (3, *size, 3), np.uint8)
        images[name] = pixels if normalises else np.asarray(models.normalize_images(pixels))
        expected[name] = _expected(runs[run], images[name], normalises, predicts)
        assert np.ptp(expected[name]["depth"]) > 0.01
        output = tmp_path / f"{name}.{format_name}"
        if name == "rooms":
            _export_by_command_line(runs[run], output, format_name)
        else:
            options = {"image_size": size, "normalises": normalises, "predicts": predicts}
            export.export_run(runs[run], output, format_name, **options)
    np.savez(tmp_path / "images.npz", **images)
    found = _run_without_lim_jax(tmp_path, format_name, images["rooms"][0])
    for name, predictions in expected.items():
        for task, wanted in predictions.items():
            for batch in (1, 3):
                _assert_alike(found[f"{name}/{batch}/{task}"], wanted[:batch])
    for task, wanted in expected["rooms"].items():
        _assert_alike(found[f"readme/{task}"], wanted[:1])
    predict.predict_files(runs["dense"], [str(tmp_path / "room.png")], tmp_path / "predicted", raw=True, panel=False)
    with np.load(tmp_path / "predicted" / "room.npz") as raw:
        for task in SPECS:
            _assert_alike(found[f"readme/{task}"][0], raw[task])


def _run_without_lim_jax(folder, format_name, image):
    """Runs the guide's lines, and then all files, in a process of its own."""
    from PIL import Image

    Image.fromarray(image).save(folder / "room.png")
    section = (ROOT / "docs" / "guides" / "compact_and_export.md").read_text().split("## Export\n")[1]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (shown,) = [block for block in blocks if f'"rooms.{format_name}"' in block]
    save = SAVE_ALL.replace("FORMAT", format_name)
    program = "\n".join([WITHOUT_LIM_JAX, shown, RUN_ALL[format_name], save])
    ran = subprocess.run([sys.executable, "-I", "-c", program], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return np.load(folder / "found.npz")


def _assert_alike(found, wanted):
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    if wanted.dtype == np.uint8:  # where two classes are equally likely, rounding decides
        assert np.mean(found != wanted) < 1e-3
    else:
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.max(np.abs(wanted)), rtol=0)


def _export_by_command_line(workdir, output, format_name):
    """Exports with the defaults, and checks what a user sees and what the card says."""
    (workdir / "results.json").write_text(json.dumps({"test": {"depth": {"mae": 0.1}}}))
    command = [sys.executable, "-m", "lim_jax.export", f"--workdir={workdir}", f"--output={output}"]
    ran = subprocess.run([*command, f"--format={format_name}"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stderr.splitlines()) == 2, ran.stderr  # what it is doing, and nothing from libraries
    assert sorted(path.name for path in output.parent.iterdir()) == [output.name, f"{output.name}.json"]
    card = json.loads(output.with_name(f"{output.name}.json").read_text())
    content = output.read_bytes()
    assert (card["bytes"], card["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (card["input"]["shape"], card["input"]["dtype"]) == (["batch", 64, 64, 3], "uint8")
    outputs = card["outputs"]
    assert {task: outputs[task]["shape"][1:] for task in SPECS} == {
        "segmentation": [64, 64],
        "depth": [64, 64],
        "normals": [64, 64, 3],
        "smiling": [],
    }
    assert outputs["segmentation"]["classes"] == ["wall", "floor", "rest"]
    assert outputs["segmentation"]["range"] == [0, 2]
    assert (card["training"]["step"], card["training"]["test"]) == (3, {"depth": {"mae": 0.1}})


def test_a_difference_is_an_error_and_leaves_no_file(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(exporting, "differences", lambda *arguments: {"depth": 2e-4, "normals": 0.0})
    parsed = types.SimpleNamespace(
        workdir=str(runs["compact"]),
        output=str(tmp_path / "network"),
        format="stablehlo",
        image_size="32,40",
        preprocess="inside",
        postprocess="inside",
    )
    monkeypatch.setattr(export.flags, "FLAGS", parsed)
    with pytest.raises(SystemExit) as stop:
        export.main(["export"])
    assert stop.value.code == export.EXIT_DIFFERENT
    assert "differs from the network" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {
            "normals": lambda array: -array,
            "segmentation": lambda array: (array + 1) % 3,
            "smiling": lambda array: array.astype(np.float64),
        },
        {
            "depth": lambda array: array + 1e-3,
            "normals": lambda array: array[..., :2],
            "smiling": lambda array: array * np.nan,
        },
    ],
)
def test_what_counts_as_different(runs, changes):
    trained = checkpoints.load_network(runs["compact"])
    program = exporting.build_program(trained.network, trained.variables, (32, 40))
    call = jax.jit(program.__call__)

    def run(images):
        predictions = jax.device_get(call(images))
        return predictions | {task: change(predictions[task]) for task, change in changes.items()}

    found = exporting.differences(program, run, trained.network, trained.variables)
    for task, difference in found.items():
        assert (difference > export.LARGEST_DIFFERENCE) == (task in changes)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("missing/network", "no folder"),
        ("full", "is a folder"),
        ("file", "no export"),
        ("file/network", "no folder"),
        ("config", "config.json exists and is no model card"),
        ("damaged", "damaged.json exists and is no model card"),
    ],
)
def test_it_overwrites_nothing_else(runs, tmp_path, place, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "file").write_text("a thesis")
    (tmp_path / "config.json").write_text('{"batch_size": 16}')
    (tmp_path / "damaged.json").write_text("{")
    with pytest.raises(UserError, match=message):
        export.export_run(runs["dense"], tmp_path / place)
    assert (tmp_path / "file").read_text() == "a thesis"


def test_a_folder_that_cannot_be_written_to(runs, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "write_bytes", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        export.export_run(runs["dense"], tmp_path / "network")


def test_without_a_run_or_the_extra(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"config\.json"):
        export.export_run(tmp_path, tmp_path / "network")
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(UserError, match=r"jax2onnx.*pip install"):
        export.export_run(tmp_path, tmp_path / "network", "onnx")


def test_a_converter_that_does_not_know_this_jax(runs, tmp_path, monkeypatch):
    def fail(*arguments, **named):
        raise AttributeError("module 'jax._src.core' has no attribute 'ClosedJaxpr'")

    for name in ("jax2onnx", "onnx", "onnxruntime"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys.modules["jax2onnx"], "to_onnx", fail, raising=False)
    monkeypatch.setattr(importlib.metadata, "version", {"jax2onnx": "0.17.1", "jax": "0.12.0"}.get)
    with pytest.raises(UserError, match=r"jax2onnx 0\.17\.1 and jax 0\.12\.0 do not work together.*pip install"):
        export.export_run(runs["dense"], tmp_path / "network", "onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["64", "64,64,3", "8,64", "a,b", "-64,64"])
def test_bad_sizes(text):
    with pytest.raises(UserError, match="HEIGHT,WIDTH"):
        export._parse_size(text)
