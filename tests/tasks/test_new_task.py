"""Adding a task takes a class, a line in `tasks` and a kind: everything above works with it as it is."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lim_jax import config as config_lib
from lim_jax import network, tasks
from lim_jax.data import specs, statistics
from lim_jax.figures import curves, examples, pictures, style
from lim_jax.prediction import Evaluator, Predictor, Writer, baseline
from lim_jax.tasks.legends import ColorKey, Entry
from lim_jax.tasks.sums import count, ratio
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow

SIZE = (32, 40)


class Shared:
    """What the two tasks below have in common: squared errors of numbers, those below 0 being invalid."""

    num_outputs = 1
    loss_label: ClassVar[str] = "squared error"
    metric_info: ClassVar = {"error": tasks.Metric("error", "share", False)}
    prediction_meaning = logits_meaning = meaning = "a share"
    prediction_range = (0.0, 1.0)

    def loss(self, logits, target):
        sums = self.metrics(logits, target)
        return sums["error"], sums["valid"].astype(jnp.float32)

    def summarize(self, sums):
        return {"error": ratio(sums["error"], sums["valid"])}

    def baseline_statistics(self, target):
        return {"valid": count(target >= 0)}

    def baseline_logits(self, sums):
        return np.zeros(1, np.float32)


@dataclasses.dataclass(frozen=True)
class Wetness(Shared, tasks.DenseTask):
    def metrics(self, logits, target):
        cells = tasks.sample_target(target, logits)
        error = jnp.where(cells >= 0, jnp.square(logits[..., 0] - cells), 0)
        return {"error": jnp.sum(error), "valid": count(cells >= 0)}

    def decode(self, values):
        return values[..., 0]

    def picture(self, values):
        return np.where(values[..., None] > 0, np.uint8(255), np.zeros(3, np.uint8))

    def legend(self, *values):
        return ColorKey((Entry("wet", np.full(3, 255, np.uint8)), Entry("dry", np.zeros(3, np.uint8))))


@dataclasses.dataclass(frozen=True)
class Daylight(Shared, tasks.ImageTask):
    def metrics(self, logits, target):
        error = jnp.where(target >= 0, jnp.square(logits[:, 0] - target), 0)
        return {"error": jnp.sum(error), "valid": count(target >= 0)}

    def activate(self, logits):
        return logits[:, 0]

    def caption(self, values):
        return f"daylight: {float(values):.1f}"

    def background(self, values):
        return (200, 200, 0)

    def is_wrong(self, target, prediction):
        return bool(target >= 0 and abs(target - prediction) > 1)


@pytest.fixture
def net(monkeypatch):
    """A network for both tasks."""
    monkeypatch.setattr(specs, "KINDS", (*specs.KINDS, "wetness", "daylight"))
    monkeypatch.setattr(tasks, "_TASKS", tasks._TASKS | {"wetness": Wetness, "daylight": Daylight})
    monkeypatch.setattr(
        specs.TargetSpec,
        "missing",
        lambda self, size: np.full(size if self.kind == "wetness" else (), -1, np.float32),
    )
    given = {name: specs.TargetSpec(name, name) for name in ("wetness", "daylight")}
    return network.build(config_lib.checked(tiny_config("")), given)


def test_everything_above_works_with_new_tasks(net, tmp_path):
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (2, *SIZE, 3)).astype(np.uint8),
        "targets": {"wetness": rng.uniform(size=(2, *SIZE)).astype(np.float32), "daylight": np.float32([0.5, -1])},
    }
    assert network.from_json(network.to_json(net)).tasks == net.tasks
    variables = jax.jit(lambda key: net.model.init(key, jnp.zeros((1, *SIZE, 3)), train=False))(jax.random.key(0))
    local_devices = jax.local_devices()[:1]
    measured = Evaluator(net, local_devices)(variables, [batch])
    constant = baseline(net, [batch], [batch], local_devices)
    assert constant["daylight"]["error"] == pytest.approx(0.25)
    assert constant["wetness"]["error"] == pytest.approx(np.square(batch["targets"]["wetness"][:, ::8, ::8]).mean())
    assert all(numbers["error"] >= 0 for numbers in measured.values())

    (found,) = Predictor(net, variables, None)([batch["image"][0, :17]])
    assert found["wetness"].shape == (17, 40) and found["daylight"].shape == ()
    path = tmp_path / "a.png"
    with Writer(tmp_path, net.tasks, [path], raw=True, panel=True, threads=1) as writer:
        writer.write(path, pictures.reduced(batch["image"][0, :17]), found)
    wanted = {"a_wetness.png", "wetness_legend.png", "a_panel.png", "a.npz", "predictions.csv", "predictions.jsonl"}
    assert {file.name for file in tmp_path.iterdir()} == wanted
    assert (tmp_path / "predictions.csv").read_text().splitlines()[0] == "image,name,height,width,daylight"

    predictions = {name: values[:1] for name, values in batch["targets"].items()}
    targets = {"image": batch["image"][:1], "targets": predictions}
    record = {"epoch": 1, "train": {}, "validation": measured, "total": {"train": 1.0, "validation": 1.0}}
    with style.context():
        for figure in (
            examples.prediction_panel(net.tasks, targets, predictions),
            curves.loss_curves(net.tasks, [record]),
            curves.metric_curves(net.tasks, [record]),
        ):
            figure.draw_without_rendering()

    source = [{"targets": jax.tree.map(lambda leaf, i=i: leaf[i], batch["targets"])} for i in range(2)]
    labelled = {name: numbers["labelled"] for name, numbers in statistics.describe(source, _specs(net)).items()}
    assert labelled == {"wetness": 2, "daylight": 1}
    assert [sorted(net.tasks[name].export_notes(decoded=False)) for name in net.tasks] == [
        ["cells", "meaning"],
        ["meaning"],
    ]


def _specs(net):
    return {name: task.spec for name, task in net.tasks.items()}
