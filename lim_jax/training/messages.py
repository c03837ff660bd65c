"""What a run tells the person who watches it: what is about to be trained, and how each epoch went."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from clu import parameter_overview

from lim_jax import network as network_lib
from lim_jax.config import Config, estimates
from lim_jax.data import statistics
from lim_jax.figures.tables import number
from lim_jax.network import Network
from lim_jax.runtime import whole_files
from lim_jax.runtime.progress import duration
from lim_jax.training.run import Run, Standing

logger = logging.getLogger(__name__)

_WORTH_A_WORD = 1.0  # seconds of compiling
# Per cent of the groups, zero after one epoch: a sign, no proof. `rooms` has 44 to 69 over three seeds, and 70 with ten
# times its strength.
_TOO_MANY_AT_ONCE = 200 / 3


def describe(run: Run, standing: Standing) -> None:
    """Says what is about to be trained on what; the table of all parameters goes to `parameters.txt`."""
    network, params, dataset = standing.network, standing.state.params, run.dataset
    sizes = ", ".join(f"{len(source)} {split}" for split, source in dataset.sources.items())
    logger.info("%s: %s images; tasks %s", dataset.name, sizes, ", ".join(network.tasks))
    number = len(run.local_devices) * jax.process_count()
    logger.info(
        "%s parameters, %s of them in the backbone; %d %s %s; run in %s",
        f"{network_lib.num_parameters(params):,}",
        f"{network_lib.num_parameters(params['backbone']):,}",
        number,
        jax.default_backend().upper(),
        "device" if number == 1 else "devices",
        run.workdir,
    )
    if jax.process_index() == 0:
        for sentence in statistics.training_warnings(dataset):
            logger.warning("warning: %s", sentence)
        overview = parameter_overview.get_parameter_overview(standing.state.learned, include_stats=False)
        whole_files.write_text(run.workdir / "parameters.txt", overview + "\n")
    if standing.epoch <= run.config.num_epochs:
        logger.info("%s", cost(run.config, run.steps_per_epoch, len(run.local_devices)))
    if standing.state.step > 0:
        step = int(standing.state.step)
        logger.info("resuming %s after epoch %d (step %d)", run.workdir, len(standing.history), step)


def cost(config: Config, steps_per_epoch: int, num_devices: int) -> str:
    """Returns what training will take at most: known before it starts are steps and memory, seconds only afterwards."""
    batch = max(config.batch_size // (num_devices * jax.process_count()), 1)
    needed = estimates.as_bytes(sum(estimates.memory(config, batch)))
    sizes = (
        f"epochs: {config.num_epochs} at most; steps in each: {steps_per_epoch}; images in each: {config.batch_size}"
    )
    return f"{sizes}; memory: {needed} or more; the time left is said after the first steps"


def epoch_line(record: Mapping[str, Any], network: Network, config: Config) -> str:
    """Returns the line that tells how an epoch went."""
    parts = [f"epoch {record['epoch']}/{config.num_epochs}: loss {record['total']['train']:.4g}"]
    split = "test" if "test" in record else "validation"
    if split in record:
        metrics = [
            f"{name} {task.published_metric} {number(record[split][name][task.published_metric])}"
            for name, task in network.tasks.items()
        ]
        total = f" {number(record['total'][split])}" if split in record["total"] else ""
        parts.append(f"{split}{total} ({', '.join(metrics)})")
    zero = record["sparsity"]["group_percent"]
    parts.append(f"{zero:.1f} % of groups zero")
    if record.get("bad_steps"):
        parts.append(f"{record['bad_steps']} steps skipped that were not finite")
    if (compiling := sum(record["compile_seconds"].values())) >= _WORTH_A_WORD:
        parts.append(f"{duration(compiling)} compiling")
    return ", ".join(parts)


def epoch_warnings(history: Sequence[Mapping[str, Any]], config: Config) -> list[str]:
    """Returns what is wrong since the last epoch and was not before.

    That is a task without labels, most groups made zero in the first epoch, or an empty backbone.
    """
    *before, last = history
    warnings = [
        f"{task} had no label in epoch {last['epoch']}: nothing was learned of it"
        for task, values in last["train"].items()
        if values["loss"] is None and all(record["train"][task]["loss"] is not None for record in before)
    ]
    empty = [record["sparsity"]["group_percent"] == 100 for record in history]
    if empty[-1] and not any(empty[:-1]):
        warnings.append(_nothing_left(last, config))
    elif not before and _strength_may_be_too_large(last, config):
        warnings.append(
            f"{last['sparsity']['group_percent']:.0f} % of the groups became zero in the first epoch. If the next "
            f"epochs improve little, try a tenth of config.sparsity.strength (now {config.sparsity.strength:g}), or "
            "say how many groups shall go with config.sparsity.target"
        )
    return warnings


def _nothing_left(last: Mapping[str, Any], config: Config) -> str:
    """A group lasso some ten times too strong empties the backbone within an epoch or a few.

    From then on no prediction depends on the image, while losses still fall, since the heads learn the best constant.
    """
    cause = next((key for key in ("target", "target_macs") if config.sparsity[key] > 0), "strength")
    better = "higher" if cause == "target_macs" else "lower"
    return (
        f"nothing is left of the backbone after epoch {last['epoch']}: predictions no longer depend on the image. "
        f"Stop, and train in another workdir with a {better} config.sparsity.{cause} (now {config.sparsity[cause]:g})"
    )


def _strength_may_be_too_large(first: Mapping[str, Any], config: Config) -> bool:
    """Whether a fixed strength may have emptied too much of a network that begins with nothing at zero."""
    chosen = config.sparsity.target == config.sparsity.target_macs == 0 and not config.init_from
    return chosen and first["sparsity"]["group_percent"] > _TOO_MANY_AT_ONCE


def size(standing: Standing) -> tuple[int, int]:
    """Returns the number of parameters of the network, and of channels of its backbone."""
    return network_lib.num_parameters(standing.state.params), network_lib.num_channels(standing.network)


def shrunk(before: tuple[int, int], after: tuple[int, int]) -> str:
    """Returns the sentence that tells by how much the network has shrunk, from its `size` before and after."""
    parameters, channels = zip(before, after, strict=True)
    return "the network shrinks: {:,} -> {:,} parameters, {:,} -> {:,} channels of the backbone; compiling anew".format(
        *parameters, *channels
    )
