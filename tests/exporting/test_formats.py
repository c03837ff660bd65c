"""One StableHLO file is for CPUs and GPUs, in the forms of each, and holds its weights once."""

import re

import jax
import ml_collections
import numpy as np
import pytest
from jax import export

from lim_jax import exporting, network
from lim_jax.data.specs import TargetSpec
from tests.models import reference_weights
from tests.training.tiny import tiny_config

SPECS = {"depth": TargetSpec("depth", "depth"), "smiling": TargetSpec("smiling", "attribute")}


@pytest.fixture(scope="module", params=["resnet18d", "resnet18"])
def program(request):
    config = tiny_config("nowhere")
    config.model.backbone = request.param
    config.tasks, config.model.width_multiplier = tuple(SPECS), 0.25
    net = network.build(ml_collections.FrozenConfigDict(config), SPECS)
    variables = reference_weights.variables(net.model, np.zeros((1, 64, 72, 3), np.float32))
    return exporting.build_program(net, variables, (64, 72))


def test_a_file_holds_the_forms_of_both_platforms_and_runs_here(program):
    format_ = exporting.FORMATS["stablehlo"]
    content = format_.serialize(program)
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(program.weights))
    assert weights > 1e6 and weights < len(content) < 1.1 * weights, "the weights are in it once"
    text = export.deserialize(bytearray(content)).mlir_module()
    choices = re.findall(
        r"^    %\S+ = \"stablehlo.case\"\(%\w+\) \(\{(.*?)\n    \}, \{(.*?)\n    \}\)", text, re.DOTALL | re.M
    )
    on_cpu, on_gpu = max(choices, key=lambda branches: len(branches[0]))
    assert "reduce_window" not in on_cpu and on_cpu.count("stablehlo.maximum") == 9 + 4
    assert on_gpu.count("stablehlo.reduce_window") == on_gpu.count("stablehlo.maximum") == 2
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 72, 3), np.uint8)
    found, expected = format_.load(content)(images), jax.jit(program.__call__)(images)
    for task, values in expected.items():
        np.testing.assert_allclose(found[task], values, rtol=0, atol=1e-4 * float(np.max(np.abs(values))))
