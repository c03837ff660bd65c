"""Makes a trained network physically smaller: `python -m lim_jax.compact --workdir=DIR [--output=DIR/compact]`.

Removes from the best checkpoint every channel that nobody reads. The result is a workdir too: `evaluate` takes it, and
`main --config.init_from=OUTPUT` trains it further. Beside the checkpoint lie `compact.json` (parameters, MACs, latency
before and after, per layer too) and `compact.png`.

The compact network, as restored from disk, is compared with the dense one on images of the test split and on random
ones; a difference of more than 1e-3 of the largest output ends in exit code 1. Batch norm stays in the checkpoint, so
that it can be trained; latency is that of both networks with batch norm folded.
"""

import dataclasses
import logging
import pathlib
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from lim_jax import shipped
from lim_jax.errors import UserError
from lim_jax.runtime import cli, whole_files

logger = logging.getLogger("lim_jax.compact")  # as a verb, its __name__ is "__main__"

EXIT_DIFFERENT = 1
LARGEST_DIFFERENCE = 1e-3  # of the largest output
BATCH_SIZES = (1, 8)
_FILE = "compact.json"
_IMAGES_COMPARED = 32  # of the test split, and as many random ones
_ROUNDS = 5  # at least, when measuring latency
_SECONDS = 2.0  # of measuring at least, for each batch size

PyTree = Any


def define_flags() -> None:
    """Defines the verb's flags; apart from importing, so that verbs can be imported together."""
    flags.DEFINE_string("workdir", None, "The workdir of a training run.")
    flags.DEFINE_string("output", None, "Where the compact network goes; default WORKDIR/compact.")
    flags.DEFINE_integer("round_to", 1, "Round widths up to a multiple of this, e.g. 8 for tensor cores.", 1)
    flags.DEFINE_string("data_dir", None, "Where the prepared records are; default: where training had them.")


def main(argv: Sequence[str]) -> None:
    """Runs the verb on the parsed flags."""
    del argv
    workdir = shipped.workdir(cli.required_path("workdir", cli.TRAINED), written=True)
    output = pathlib.Path(flags.FLAGS.output) if flags.FLAGS.output else workdir / "compact"
    content = compact_run(workdir, output, flags.FLAGS.round_to, flags.FLAGS.data_dir)
    if content["max_abs_difference"] > LARGEST_DIFFERENCE * content["largest_output"]:
        print(
            f"the compact network differs from the dense one by {content['max_abs_difference']:.3g}: do not use it, "
            "and report this",
            file=sys.stderr,
        )
        sys.exit(EXIT_DIFFERENT)


def compact_run(
    workdir: pathlib.Path, output: pathlib.Path, round_to: int = 1, data_dir: str | None = None
) -> dict[str, Any]:
    """Compacts the best checkpoint of a run, writes the result to `output`, checks and measures it, prints a table.

    Args:
      workdir: of a training run.
      output: made if needed; an earlier compact network there is replaced.
      round_to: widths are rounded up to a multiple of this.
      data_dir: where the prepared records are, if not where training had them.

    Returns:
      The content of `compact.json`.
    """
    from lim_jax import compaction, config, data
    from lim_jax.figures import report
    from lim_jax.training import checkpoints
    from lim_jax.training.workdir import open_trained, with_records

    settings, dense = open_trained(workdir)
    settings = with_records(settings, data_dir)
    dataset = data.load(settings.dataset, tuple(dense.network.tasks))
    compacted = compaction.compact(dense.network.model, dense.variables, round_to)
    _make_room(output, workdir)
    small = dataclasses.replace(dense.network, model=compacted.model)
    checkpoints.save_network(output, dataclasses.replace(dense, network=small, variables=compacted.variables))
    config.save(settings, output)
    restored = checkpoints.load_network(output)
    networks = {
        "dense": (dense.network.model, dense.variables),
        "compact": (restored.network.model, restored.variables),
    }
    size = tuple(settings.dataset.image_size)
    costs = {name: compaction.layer_costs(model, size) for name, (model, _) in networks.items()}
    rows = compaction.summary.layers(compacted, costs["dense"], costs["compact"])
    print(compaction.summary.table(rows))
    print(compaction.summary.removed(rows), flush=True)
    logger.info("comparing both networks' outputs, then measuring their latency")
    content = {
        **_sizes(costs),
        **_differences(networks, _images(dataset)),
        **_latencies(networks, size),
        "image_size": list(size),
        "round_to": round_to,
        "layers": rows,
    }
    whole_files.write_json(output / _FILE, content)
    report.write_compaction(output / "compact.png", content)
    print(_conclusion(content))
    print(f"the compact network, {_FILE} and compact.png are in {output}")
    return content


def _make_room(output: pathlib.Path, workdir: pathlib.Path) -> None:
    """Makes the output folder, empty of an earlier result; refuses to touch anything else."""
    if output.resolve() == workdir.resolve():
        raise UserError("--output is the run's own workdir: give another folder")
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file: give another --output")
    if output.is_dir() and any(output.iterdir()) and not (output / _FILE).is_file():
        raise UserError(f"{output} holds something else than a compact network: give another --output")
    try:
        if (output / "checkpoints").is_dir():
            shutil.rmtree(output / "checkpoints")
        for evaluation in output.glob("evaluation_*.json"):
            evaluation.unlink()
        output.mkdir(parents=True, exist_ok=True)
        whole_files.write_json(output / _FILE, {})  # marks the folder as ours, should this be interrupted
    except OSError as error:
        raise UserError(f"cannot write to {output} ({error.strerror}): give another --output") from error


def _sizes(costs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Returns the parameters and MACs of each network, given its layers' costs: of all of it, and of the backbone."""
    from lim_jax import compaction

    return {
        f"{part}{field}": {name: getattr(compaction.total(cost, prefix), field) for name, cost in costs.items()}
        for part, prefix in (("", ""), ("backbone_", "backbone/"))
        for field in ("parameters", "macs")
    }


def _images(dataset: Any) -> PyTree:
    """Returns uint8 images (N, H, W, 3), spread over the test split, and as many of random pixels."""
    import numpy as np

    from lim_jax.data import pipeline

    source = dataset.sources["test"]
    real = np.stack([source[index]["image"] for index in pipeline.evenly_spaced(source, _IMAGES_COMPARED)])
    noise = np.random.default_rng(0).integers(0, 256, real.shape, np.uint8)
    return np.concatenate([real, noise])


def _differences(networks: Mapping[str, tuple[Any, PyTree]], images: PyTree) -> dict[str, float]:
    """Compares the networks' logits on all images, a batch at a time; whatever is not finite counts as infinite.

    Both compute in full float32, whatever the run's dtype, so that any difference is a mistake and not rounding.
    """
    import jax
    import numpy as np

    from lim_jax import models
    from lim_jax.runtime import platforms

    def logits_of(model: Any) -> Callable[..., Any]:
        exact = models.with_implementation(models.with_dtype(model, "float32"), platforms.default().forms)
        return jax.jit(lambda variables, batch: exact.apply(variables, models.normalize_images(batch), train=False))

    calls = {name: logits_of(model) for name, (model, _) in networks.items()}
    batch = BATCH_SIZES[-1]
    difference = largest = 0.0
    for first in range(0, len(images), batch):
        chosen = np.take(images, range(first, first + batch), axis=0, mode="wrap")
        with jax.default_matmul_precision("highest"):
            outputs = {name: jax.device_get(call(networks[name][1], chosen)) for name, call in calls.items()}
        for task, expected in outputs["dense"].items():
            largest = max(largest, float(np.max(np.abs(expected))))
            found = float(np.max(np.abs(outputs["compact"][task] - expected)))
            difference = max(difference, found if np.isfinite(found) else np.inf)
    return {"max_abs_difference": difference, "largest_output": largest}


def _latencies(networks: Mapping[str, tuple[Any, PyTree]], size: tuple[int, int]) -> dict[str, Any]:
    """Measures the whole network and the backbone alone, both with batch norm folded; milliseconds a batch."""
    from lim_jax import compaction
    from lim_jax.prediction import costs

    measured: dict[str, Any] = {}
    for key in ("latency_ms", "backbone_latency_ms"):
        measured[key] = {}
        for batch in BATCH_SIZES:
            calls = {
                name: costs.call(model, variables, size, batch, backbone=key.startswith("backbone"))
                for name, (model, variables) in networks.items()
            }
            times = compaction.latencies(calls, _ROUNDS, min_seconds=_SECONDS)
            measured[key][f"batch_{batch}"] = times
        measured[key] = measured[key][f"batch_{BATCH_SIZES[0]}"] | measured[key]
    return measured


def _conclusion(content: Mapping[str, Any]) -> str:
    lines = []
    for key, name in (
        ("parameters", "parameters"),
        ("macs", "MACs"),
        ("backbone_macs", "backbone MACs"),
        ("latency_ms", "latency, ms"),
        ("backbone_latency_ms", "backbone latency, ms"),
    ):
        before, after = content[key]["dense"], content[key]["compact"]
        shown = f"{before:,} -> {after:,}" if isinstance(before, int) else f"{before:.3g} -> {after:.3g}"
        lines.append(f"{name}: {shown} ({100 * after / max(before, 1e-9):.3g} %)")
    height, width = content["image_size"]
    lines.append(f"(MACs and latency for one image of {height}×{width})")
    share = content["max_abs_difference"] / max(content["largest_output"], 1e-30)
    lines.append(f"largest difference between their outputs: {share:.2g} of the largest output")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main, define_flags)
