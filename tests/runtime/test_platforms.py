"""The table of platforms is complete, and programs get from it what it says: also a GPU's, lowered without one."""

import collections
import contextlib
import dataclasses
import functools
import io
import re

import jax
import ml_collections
import numpy as np
import pytest
from jax import export
from jax.ad_checkpoint import print_saved_residuals

from lim_jax import network, ops
from lim_jax.data.specs import TargetSpec
from lim_jax.ops import cpu, gpu, taps
from lim_jax.runtime import devices, platforms
from lim_jax.training import step as train_step
from lim_jax.training.state import create_train_state, make_optimizer, sparse_groups
from tests.training.tiny import tiny_config

SPECS = {
    "segmentation": TargetSpec("segmentation", "segmentation", ("wall", "floor", "rest")),
    "depth": TargetSpec("depth", "depth"),
    "smiling": TargetSpec("smiling", "attribute"),
}
SIZE = (64, 64)


@pytest.mark.parametrize("name", ["cpu", "gpu", "cuda", "rocm", "tpu"])
def test_the_table_is_complete(name):
    platform = platforms.named(name)
    for field in dataclasses.fields(platform):
        value = getattr(platform, field.name)
        assert isinstance(value, {"layers_at_once": int | None, "name": str, "forms": ops.Forms}.get(field.name, bool))
    for field in dataclasses.fields(ops.Forms):
        assert getattr(platform.forms, field.name) is not None
    assert platform.forms == {"cpu": ops.CPU, "tpu": ops.REFERENCE}.get(name, ops.GPU)
    assert hash(platform) == hash(platforms.named(name))


def test_devices_and_the_default_have_a_platform():
    assert platforms.of(jax.local_devices()) == platforms.default() == platforms.named("cpu")
    with jax.default_device("cpu"):
        assert platforms.default().name == "cpu"


def batch_shapes(examples):
    cells = (examples, *SIZE)
    targets = {"segmentation": (cells, np.uint8), "depth": (cells, np.float32), "smiling": ((examples,), np.float32)}
    return {
        "image": jax.ShapeDtypeStruct((*cells, 3), np.uint8),
        "targets": {task: jax.ShapeDtypeStruct(*target) for task, target in targets.items()},
    }


@functools.cache
def made_for(name):
    """Returns the network, in bfloat16, the optimizer, the configuration and the shapes of the state of three tasks."""
    config = tiny_config("nowhere")
    config.tasks, config.dataset.image_size = tuple(SPECS), SIZE
    config.model.width_multiplier, config.model.head_channels = 0.25, 40
    config.dtype = "bfloat16"
    config = ml_collections.FrozenConfigDict(config)
    whole = network.build(config, SPECS)
    init = functools.partial(whole.model.init, jax.random.key(0), train=False)
    variables = jax.eval_shape(init, jax.ShapeDtypeStruct((1, *SIZE, 3), np.float32))
    optimizer = make_optimizer(config, sparse_groups(config), 1, platform=name)
    state = jax.eval_shape(lambda v: create_train_state(v, config.tasks, optimizer), variables)
    return whole.on(platforms.named(name)), optimizer, config, state


@functools.cache
def lowered(name):
    """Returns StableHLO's text of a whole training step of three tasks, update included, for a platform."""
    whole, optimizer, config, state = made_for(name)
    step = functools.partial(train_step.whole_step, network=whole, config=config, optimizer=optimizer)

    def on_one_device(state, batch):
        shares = jax.tree.map(lambda leaf: leaf[None], batch)
        return jax.vmap(step, (None, 0), axis_name=devices.AXIS)(state, shares)

    return export.export(jax.jit(on_one_device), platforms=[name])(state, batch_shapes(2)).mlir_module()


@dataclasses.dataclass(frozen=True)
class Line:
    """An operation: its name, the names of its operands, and the text of its line."""

    name: str
    operands: tuple[str, ...]
    text: str


def functions(text):
    """Yields, for each function of a module, its operations by the name of their (first) result."""
    for body in re.split(r"\n  func\.func ", text)[1:]:
        found = {}
        for line in body.splitlines():
            match = re.match(r"\s*(%[\w.]+)(?::\d+)? = \"?(?:stablehlo\.)?([\w.]+)\"?(.*)", line)
            if match:
                result, name, rest = match.groups()
                found[result] = Line(name, tuple(re.findall(r"%[\w.]+", rest.split(" : ")[0])), line)
        yield found


def source(operations, name):
    """Returns the operation that a value comes from, through changes of its shape or dtype."""
    line = operations.get(name)
    while line is not None and line.name in ("broadcast_in_dim", "convert", "reshape"):
        line = operations.get(line.operands[0])
    return line


def is_infinity(operations, name):
    line = source(operations, name)
    return line is not None and line.name == "constant" and ("0x7F80" in line.text or "inf" in line.text)


def habits(text):
    """Counts what XLA for CPUs is given for its own sake."""
    counts = collections.Counter()
    for operations in functions(text):
        for line in operations.values():
            if line.name == "divide":
                divisor = source(operations, line.operands[1])
                # jnp.where is a function of its own
                called = divisor is not None and divisor.name in ("call", "func.call", "select")
                counts["ReLU by a division"] += called and any(is_infinity(operations, o) for o in divisor.operands)
            counts["wait"] += line.name == "compare" and "GT" in line.text and is_infinity(operations, line.operands[1])
            counts["sum of several"] += line.name == "reduce" and len(line.operands) > 2 and "across" in line.text
            folds = r"(?<!x16)xf32>\) -> tensor<(\d+x){3,}16xf32>"  # an axis of 16 that was not there before
            counts["lanes"] += line.name == "reshape" and re.search(folds, line.text) is not None
            counts["windows"] += "reduce_window" in line.name
    return counts


def test_a_program_for_gpus_has_no_habits_of_cpus():
    on_cpu, on_gpu = habits(lowered("cpu")), habits(lowered("cuda"))
    for habit in ("ReLU by a division", "wait", "sum of several", "lanes"):
        assert on_cpu[habit] > 0, f"nothing was found of {habit}: the test looks for the wrong thing"
        assert on_gpu[habit] == 0, habit
    assert on_cpu["windows"] == 0 and on_gpu["windows"] > 0


def matrices_of_kernels(text):
    """Returns the shapes of 3×3 kernels of which single taps are read, and of those whose gradients are made of taps.

    Gradients are those of a device's share of the batch, of which there is one.
    """
    read = re.findall(r"stablehlo\.slice .*\(tensor<3x3x(\w+)xbf16>\) -> tensor<1x1x\1xbf16>", text)
    stacked = re.findall(r"stablehlo\.reshape .*\(tensor<1x9x(\w+)xbf16>\) -> tensor<1x3x3x\1xbf16>", text)
    return set(read), set(stacked)


def test_taps_are_where_the_rule_of_gpus_says():
    """Maps are 8×8: rates 2 and 4 see 0.69 and 0.44 of the products, those of the pyramid a ninth."""
    share = {rate: taps.visible_share((2, 8, 8, 1), (3, 3, 1, 1), rate) for rate in (1, 2, 4, 12)}
    assert [round(value, 2) for value in share.values()] == [0.84, 0.69, 0.44, 0.11]
    assert share[12] < gpu.TAPS_BELOW < share[4] < share[2] < cpu.TAPS_BELOW
    pyramid, refine, rate_2, rate_4 = "128x40", "40x40", "64x64", "128x128"
    stage_1, stage_2, classifier = "16x16", "32x32", "128x10"
    read, stacked = matrices_of_kernels(lowered("cuda"))
    assert read == {pyramid}
    assert stacked == {pyramid, rate_2, rate_4}
    read, stacked = matrices_of_kernels(lowered("cpu"))
    assert read == {pyramid, rate_2, rate_4}
    assert stacked >= {pyramid, rate_2, rate_4, stage_1, stage_2, refine, classifier}


def kept_for_gradients(function, *arguments):
    """Returns (dtype, shape, where from) of what a function keeps for its gradients, in JAX's words."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        print_saved_residuals(function, *arguments)
    lines = [re.match(r"(\w+)\[([\d,]*)\] (.*)", line) for line in printed.getvalue().splitlines()]
    return [(line[1], tuple(map(int, filter(None, line[2].split(",")))), line[3]) for line in lines if line]


def test_what_a_gpu_keeps_for_gradients_is_bfloat16():
    whole, _, _, state = made_for("cuda")

    def predict(params, images):
        variables, key = {"params": params, "batch_stats": state_like.batch_stats}, jax.random.key(0)
        return whole.model.apply(variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key})[0]

    state_like = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    images = np.zeros((2, *SIZE, 3), np.float32)
    kept = kept_for_gradients(lambda params: predict(params, images), state_like.params)
    activations = [
        each for each in kept if len(each[1]) == 4 and each[1][0] == 2 and "from the argument" not in each[2]
    ]
    assert len(activations) > 50
    assert [each for each in activations if each[0] not in ("bf16", "bool")] == []


def test_convolutions_and_products_of_a_gpu_read_and_write_bfloat16():
    for operation in ("convolution", "dot_general"):
        lines = re.findall(rf"stablehlo\.{operation}\b.*", lowered("cuda"))
        assert len(lines) > 20, operation
        assert {dtype for line in lines for dtype in re.findall(r"tensor<(?:\d+x)*(\w+)>", line)} == {"bf16"}, operation


def executed(text):
    """Counts the operations of a module's main function, and of what it calls as often as it does so."""
    bodies = {re.search(r"@([\w.]+)", body)[1]: body for body in re.split(r"\n  func\.func ", text)[1:]}

    @functools.cache
    def counted(name):
        counts = collections.Counter(re.findall(r"stablehlo\.(\w+)", bodies[name]))
        for callee in re.findall(r"call @([\w.]+)", bodies[name]):
            counts.update(counted(callee))
        return counts

    return counted("main")


def test_the_update_of_a_gpu_is_few_operations():
    """Of resnet18d with three heads, 124 arrays of parameters. Limits are 3 % above what there was.

    Every sum may be a kernel. Beside them XLA has one for each array, or three, that is written: what Adam, decay, and
    the choices of a step that is taken and of active heads make of it.
    """
    _, optimizer, config, state = made_for("cuda")
    pair = (np.float32(0), np.float32(0))
    sums = {"losses": dict.fromkeys(SPECS, pair), "total": pair}
    gradients = train_step.BatchGradients(state.learned, state.batch_stats, sums)
    update = jax.jit(functools.partial(train_step.update, optimizer=optimizer, config=config))
    counts = executed(update.trace(state, gradients).lower(lowering_platforms=("cuda",)).as_text())
    limits = {
        "reduce": 300,
        "concatenate": 35,
        "slice": 15,
        "sqrt": 293,
        "divide": 692,
        "multiply": 1893,
        "select": 500,
    }
    assert {name: counts[name] for name, limit in limits.items() if not 0 < counts[name] <= limit} == {}
    assert not any(counts[name] for name in ("custom_call", "dot_general", "while"))
