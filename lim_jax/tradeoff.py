"""Trains at several sparsities and draws what each costs: `python -m lim_jax.tradeoff --config=rooms [--workdir=DIR]`.

One network is trained densely (in DIR/start). From it start a dense network and one for each of `--targets`, all for
half as many epochs as the configuration says, so that they differ in their zeros alone (DIR/dense, DIR/target70, ...):
an answer costs far less than training each from scratch. Then each loses what is zero, and all are timed in turns.

Prints the test metrics beside parameters, MACs and latency for one image, and writes them to DIR/tradeoff.json and
DIR/tradeoff.png. The same command resumes it, wherever it was interrupted; further targets train only what is new. The
networks are workdirs like any other: `lim-jax compact --workdir=DIR/target70`. Latencies are those of this machine.
"""

import json
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from lim_jax import config as config_lib
from lim_jax.config import Config, reading
from lim_jax.errors import UserError
from lim_jax.runtime import cli, whole_files

logger = logging.getLogger("lim_jax.tradeoff")  # as a verb, its __name__ is "__main__"

_FILE = "tradeoff.json"
_START, _DENSE = "start", "dense"
_SHARE = 0.5  # of the epochs of the configuration, for each network after the dense start
_SIMILAR = -1.0  # percent, of Δm: what is called as good as dense
_DENSELY = {
    "sparsity.target": 0.0,
    "sparsity.target_macs": 0.0,
    "sparsity.strength": 0.0,
    "sparsity.start_epoch": 0,
    "sparsity.healing_epochs": 0,
    "sparsity.compact_every_epochs": 0,
}


def define_flags() -> None:
    """Defines the verb's flags; apart from importing, so that verbs can be imported together."""
    config_lib.define_flag()
    flags.DEFINE_string("workdir", None, "Where all networks live; default runs/<name of the configuration>_tradeoff.")
    flags.DEFINE_list("targets", ["0.3", "0.5", "0.7", "0.8", "0.9"], "The shares of groups that shall be zero.")


def main(argv: Sequence[str]) -> None:
    """Runs the verb on the parsed flags."""
    del argv
    if flags.FLAGS["config"].value is None:
        raise UserError("no configuration: add --config=rooms (or nyu, celeba, or the path of a file of yours)")
    run = reading.default_workdir(config_flags.get_config_filename(flags.FLAGS["config"]))
    workdir = pathlib.Path(flags.FLAGS.workdir or f"{run}_tradeoff")
    tradeoff(flags.FLAGS.config, workdir, _parsed(flags.FLAGS.targets))


def tradeoff(config: Config, workdir: pathlib.Path, targets: Sequence[float]) -> dict[str, Any]:
    """Trains, measures and draws.

    Args:
      config: as `--config` has it; its `sparsity.target` and `.strength` do not count.
      workdir: made if needed.
      targets: shares of groups that shall be zero.

    Returns:
      The content of `tradeoff.json`.

    Raises:
      UserError: the user can fix it, as in training.
    """
    from lim_jax.figures import report
    from lim_jax.figures import tradeoff as figure

    if config.sparsity.penalty in ("none", "l1"):
        raise UserError(
            f"config.sparsity.penalty is {config.sparsity.penalty!r}, which makes no groups zero: leave it out"
        )
    configs = plan(config, workdir, targets)
    _refuse_other_lengths(configs, workdir)
    results = {}
    for place, (name, settings) in enumerate(configs.items(), 1):
        logger.info("network %d of %d: %s", place, len(configs), workdir / name)
        results[name] = _trained(settings, workdir / name)
    names = [name for name in configs if name != _START]
    content = measured(workdir, {name: (configs[name].sparsity.target, results[name]) for name in names})
    whole_files.write_json(workdir / _FILE, content)
    report.write(workdir / "tradeoff.png", lambda: figure.draw(content))
    print(figure.table(content))
    print(conclusion(content))
    print(f"(for one image; {_FILE} and tradeoff.png are in {workdir})")
    return content


def plan(config: Config, workdir: pathlib.Path, targets: Sequence[float]) -> dict[str, Config]:
    """Returns the configuration of each network by the name of its folder, in the order of training; checked."""
    further = _DENSELY | {
        "num_epochs": max(round(_SHARE * config.num_epochs), 1),
        "init_from": str(workdir / _START),
    }
    changes = {_START: _DENSELY, _DENSE: further}
    changes |= {f"target{100 * target:g}": further | {"sparsity.target": target} for target in targets}
    configs = {}
    for name, values in changes.items():
        configs[name] = ml_collections.ConfigDict(config.to_dict())
        configs[name].update_from_flattened_dict(values)
        config_lib.checked(configs[name])
    return configs


def measured(workdir: pathlib.Path, networks: Mapping[str, tuple[float, Mapping[str, Any]]]) -> dict[str, Any]:
    """Returns what the networks reached and cost: the content of `tradeoff.json`.

    Args:
      workdir: of the verb.
      networks: target and content of `results.json`, by the name of the folder.
    """
    from lim_jax.prediction import costs
    from lim_jax.tasks import delta_m
    from lim_jax.training import checkpoints

    trained = {name: checkpoints.load_network(workdir / name) for name in networks}
    tasks = next(iter(trained.values())).network.tasks
    signs = {
        task: {metric: info.higher_is_better for metric, info in of.metric_info.items()} for task, of in tasks.items()
    }
    published = {task: {of.published_metric: signs[task][of.published_metric]} for task, of in tasks.items()}
    size = tuple(config_lib.load(workdir / _DENSE).dataset.image_size)
    logger.info("measuring the latency of %d networks", len(trained))
    cost = costs.measured(trained, size)
    points = {}
    for name, (target, content) in networks.items():
        base = networks[_DENSE][1]["test"]
        points[name] = {
            "target": target,
            "group_percent": content["sparsity"]["group_percent"],
            "test": content["test"],
            "delta_m": delta_m(content["test"], base, published),
            **{key: value["compact"] for key, value in cost[name].items()},
        }
    labels = {
        task: {"metric": of.published_metric, **vars(of.metric_info[of.published_metric])} for task, of in tasks.items()
    }
    return {"image_size": list(size), "metrics": labels, "networks": points}


def conclusion(content: Mapping[str, Any]) -> str:
    """Returns the smallest network that is about as good as the dense one, as a sentence."""
    points = content["networks"]
    dense = points[_DENSE]
    good = {
        name: one
        for name, one in points.items()
        if name != _DENSE and one["delta_m"] is not None and one["delta_m"] >= _SIMILAR
    }
    if not good:
        return (
            f"no sparse network is within {-_SIMILAR:g} % of the dense one (Δm): train longer, or try lower --targets"
        )
    name = min(good, key=lambda one: good[one]["parameters"])
    best = good[name]
    return (
        f"the smallest network within {-_SIMILAR:g} % of the dense one (Δm): {name}, with "
        f"{100 * best['parameters'] / dense['parameters']:.0f} % of its parameters, "
        f"{100 * best['latency_ms'] / dense['latency_ms']:.0f} % of its latency"
    )


def _trained(config: Config, workdir: pathlib.Path) -> dict[str, Any]:
    """Trains a network, or reads the results of one that this configuration has trained."""
    from lim_jax.config import files
    from lim_jax.training import loop

    path = workdir / "results.json"
    if path.is_file() and files.holds_run(workdir):
        before, now = (config_lib.flat(each) for each in (config_lib.load(workdir), config_lib.checked(config)))
        if {key: value for key, value in before.items() if key in now} == now:
            return json.loads(path.read_text())
    return loop.train_and_evaluate(config, workdir)


def _refuse_other_lengths(configs: Mapping[str, Config], workdir: pathlib.Path) -> None:
    """Raises `UserError` if a network is there that has, or will have, another number of epochs than is wanted now.

    It would begin with another network than those that are trained now, or be trained for longer.
    """
    from lim_jax.config import files

    for name, config in configs.items():
        if not files.holds_run(workdir / name):
            continue
        before = config_lib.load(workdir / name).num_epochs
        if before != config.num_epochs:
            raise UserError(
                f"{workdir} has networks of other lengths ({name}: {before} epochs, not {config.num_epochs}): "
                "give another --workdir, or the old config.num_epochs"
            )


def _parsed(texts: Sequence[str]) -> list[float]:
    targets = []
    for text in texts:
        try:
            targets.append(float(text))
        except ValueError:
            raise UserError(f"--targets has {text!r}: write shares of the groups, as in --targets=0.3,0.7") from None
        if not 0 < targets[-1] < 1:
            raise UserError(f"--targets has {text}: a share of the groups is more than 0 and less than 1")
    if not targets:
        raise UserError("no targets: leave --targets out, or write shares, as in --targets=0.3,0.7")
    return sorted(set(targets))


if __name__ == "__main__":
    cli.run(main, define_flags)
