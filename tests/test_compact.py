"""The verb on a tiny run: a workdir that evaluates alike, trains on, and refuses what would do harm."""

import json
import types

import jax
import numpy as np
import pytest

from lim_jax import compact, data
from lim_jax import config as config_lib
from lim_jax.errors import UserError
from lim_jax.prediction import evaluation
from lim_jax.runtime import devices
from lim_jax.training import checkpoints, loop
from tests import untrained
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_dir):
    """A run whose best checkpoint has zero groups, and a dead residual branch."""
    config = tiny_config(data_dir)
    config.model.backbone = "resnet18d"  # blocks with and without a convolution on the identity path
    config = config_lib.checked(config)
    trained = untrained.make(config, data.load(config.dataset, config.tasks).specs)
    backbone = trained.variables["params"]["backbone"]
    for name, layer in backbone.items():
        for conv in layer.values():
            if name.startswith("layer") and "kernel" in conv:
                conv["kernel"][:, :, ::3] = 0
    backbone["layer3_1"]["conv1"]["kernel"][:] = 0
    return untrained.save(tmp_path_factory.mktemp("run"), config, trained)


@pytest.fixture(scope="module")
def compacted(run, tmp_path_factory):
    """The verb's output folder and the content of its `compact.json`."""
    output = tmp_path_factory.mktemp("output") / "compact"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compact, "_SECONDS", 0.0)
        return output, compact.compact_run(run, output)


def test_what_it_leaves(compacted):
    output, content = compacted
    assert json.loads((output / "compact.json").read_text()) == content
    assert (output / "compact.png").is_file()
    for key in ("parameters", "macs", "backbone_macs"):
        assert content[key]["compact"] < content[key]["dense"]
    for key in ("latency_ms", "backbone_latency_ms"):
        assert content[key].keys() == {"dense", "compact", "batch_1", "batch_8"}
        assert content[key]["batch_8"]["compact"] > 0
    assert content["max_abs_difference"] <= 1e-5 * content["largest_output"]
    gone = content["layers"]["backbone/layer3_1/conv1"]
    assert gone["inputs"]["compact"] == 0
    kept_by = content["layers"]["backbone/layer4_1/conv2"]["read_by"]
    assert set(kept_by) == {"heads_depth", "heads_normals"}


def test_the_compact_workdir_evaluates_alike(run, compacted):
    measured = []
    for workdir in (run, compacted[0]):
        settings, trained = config_lib.load(workdir), checkpoints.load_network(workdir)
        dataset = data.load(settings.dataset, tuple(trained.network.tasks))
        evaluator = evaluation.Evaluator(trained.network, devices.chosen(1, settings.batch_size))
        measured.append(evaluator(trained.variables, evaluation.split_batches(dataset, "test", settings)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), *measured)


def test_it_can_be_trained_on(compacted, data_dir, tmp_path, caplog):
    output, content = compacted
    config = tiny_config(data_dir)
    config.num_epochs = 1
    config.model.backbone, config.tasks = "resnet18d", ("depth",)
    config.init_from = str(output)
    with caplog.at_level("INFO", logger="lim_jax"):
        results = loop.train_and_evaluate(config, tmp_path)
    assert "freshly drawn" not in caplog.text
    layers = content["layers"].items()
    wanted = sum(row["parameters"]["compact"] for name, row in layers if not name.startswith("heads_normals"))
    assert results["parameters"] == wanted


def test_a_difference_is_an_error(monkeypatch, capsys, tmp_path):
    content = {"max_abs_difference": 2e-3, "largest_output": 1.0}
    monkeypatch.setattr(compact, "compact_run", lambda *arguments: content)
    parsed = types.SimpleNamespace(workdir=str(tmp_path), output=None, round_to=1, data_dir=None)
    monkeypatch.setattr(compact.flags, "FLAGS", parsed)
    with pytest.raises(SystemExit) as stop:
        compact.main(["compact"])
    assert stop.value.code == compact.EXIT_DIFFERENT
    assert "do not use it" in capsys.readouterr().err
    content["max_abs_difference"] = 1e-6
    compact.main(["compact"])


@pytest.mark.parametrize(
    ("place", "message"),
    [(".", "own workdir"), ("full", "something else"), ("file", "is a file"), ("file/below", "cannot write")],
)
def test_it_overwrites_nothing_else(run, tmp_path, place, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    (tmp_path / "file").write_text("")
    output = run if place == "." else tmp_path / place
    with pytest.raises(UserError, match=message):
        compact.compact_run(run, output)


def test_what_was_measured_of_an_earlier_network_goes_with_it(tmp_path):
    (tmp_path / "out" / "checkpoints").mkdir(parents=True)
    for name in ("compact.json", "evaluation_test.json"):
        (tmp_path / "out" / name).write_text("{}")
    compact._make_room(tmp_path / "out", tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["compact.json"]


def test_a_workdir_without_a_run(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        compact.compact_run(tmp_path, tmp_path / "out")
