#!/usr/bin/env python3
"""Makes the networks that runs of a sweep start from: `python scripts/starts.py --root=DIR`.

Of each seed whose runs are done in DIR, a dense and a sparse one, as those of the plans `choices` and `rooms`:

    DIR/starts/magnitude_groups_seed0     the dense network without the groups that had the least norms
    DIR/starts/magnitude_channels_seed0   without the channels, with all their slices (`lim_jax.structure.prune`)
    DIR/starts/compact_seed0              the sparse network without what is zero
    DIR/starts/fresh_seed0                that architecture with new weights

Norms are relative to the mean of their layer. As large a share of the backbone's groups leaves as is zero in the sparse
network of that seed, or about that. All are workdirs: `lim-jax evaluate --workdir=DIR/starts/magnitude_groups_seed0`
tells how good a network is before it is trained on. Prints the share and the parameters of each, which are in its
start.json, too; what is there already is left as it is.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from plans.rooms import TASKS
from sweeps import command, records

from lim_jax import compaction, data, sparsity, structure
from lim_jax import config as config_lib
from lim_jax.config import Config
from lim_jax.errors import UserError
from lim_jax.network import Trained, num_parameters
from lim_jax.runtime import startup, whole_files
from lim_jax.runtime.tables import aligned
from lim_jax.sparsity import groups as groups_lib
from lim_jax.training import checkpoints, initialization
from lim_jax.training.state import sparse_groups

PyTree = Any

FOLDER, FILE = "starts", records.START
_DENSE, _SPARSE = (f"{'+'.join(TASKS)}_{word}" for word in ("dense", "target70"))
_EXCLUDED = ("heads_",)  # in the paths of parameters: their channels stay, as under a penalty on the backbone
_HALVINGS = 8


class Done(NamedTuple):
    """A run that is done.

    Attributes:
      config: of it.
      trained: its best network.
      group_percent: how many of the backbone's groups are zero in that.
    """

    config: Config
    trained: Trained
    group_percent: float


def write(root: pathlib.Path, dense: str = _DENSE, sparse: str = _SPARSE) -> dict[str, dict[str, Any]]:
    """Makes what is not there yet, and returns the content of the `start.json` of each network by its name.

    Args:
      root: of a sweep.
      dense, sparse: the beginning of the names of its runs, up to "_seed".

    Raises:
      UserError: of no seed both runs are done.
    """
    makers = {
        "magnitude_groups": lambda whole, thin: (whole, without_least_groups(whole, thin.group_percent / 100)),
        "magnitude_channels": lambda whole, thin: (whole, without_least_channels(whole, thin.group_percent / 100)),
        "compact": lambda _, thin: (thin, thin.trained.variables),
        "fresh": lambda _, thin: (thin, thin.trained.variables),
    }
    found = {}
    for seed in _seeds(root, dense, sparse):
        runs = functools.cache(lambda seed=seed: [_done(root / f"{name}_seed{seed}") for name in (dense, sparse)])
        for kind, make in makers.items():
            output = root / FOLDER / f"{kind}_seed{seed}"
            if not (output / FILE).is_file():
                _save(output, *make(*runs()), has_new_weights=kind == "fresh")
            found[output.name] = json.loads((output / FILE).read_text())
    return found


def without_least_groups(done: Done, share: float) -> PyTree:
    """Returns variables in which a share of the backbone's groups is zero: those with the least norms."""
    leaves, treedef = jax.tree.flatten(done.trained.variables["params"])
    groups = sparse_groups(done.config)
    layers = groups_lib.layers(groups, done.trained.variables["params"])
    norms = jax.device_get(sparsity.group_norms(done.trained.variables["params"], groups))
    scores = np.concatenate([norms[layer.name] / max(float(norms[layer.name].mean()), 1e-30) for layer in layers])
    gone = np.zeros(scores.size, bool)
    gone[np.argsort(scores, kind="stable")[: round(share * scores.size)]] = True
    for layer, zero in zip(layers, np.split(gone, np.cumsum([layer.num_groups for layer in layers])[:-1]), strict=True):
        place, axis = layer.leaves[0], layer.axes[0][0]
        others = tuple(other for other in range(leaves[place].ndim) if other != axis)
        leaves[place] = np.where(np.expand_dims(zero, others), 0, leaves[place])
    return {**done.trained.variables, "params": jax.tree.unflatten(treedef, leaves)}


def without_least_channels(done: Done, share: float) -> PyTree:
    """Returns variables without the channels with the least norms: about a share of the backbone's groups is zero."""
    model, size = done.trained.network.model, done.config.dataset.image_size
    prune = functools.partial(
        structure.prune,
        lambda variables, images: model.apply(variables, images, train=False),
        done.trained.variables,
        np.zeros((1, *size, 3), np.float32),
        importance="magnitude",
        exclude=_EXCLUDED,
    )
    tried = {}
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        variables = prune(share=middle)
        reached = _group_percent(done.config, variables) / 100
        tried[abs(reached - share)] = variables
        low, high = (middle, high) if reached < share else (low, middle)
    return tried[min(tried)]


def _group_percent(config: Config, variables: PyTree) -> float:
    return sparsity.sparsity_summary(variables["params"], sparse_groups(config)).group_percent


def _seeds(root: pathlib.Path, dense: str, sparse: str) -> list[int]:
    found = []
    for path in sorted(root.glob(f"{dense}_seed*/{records.RESULTS}")):
        seed = path.parent.name.removeprefix(f"{dense}_seed")
        if seed.isdecimal() and (root / f"{sparse}_seed{seed}" / records.RESULTS).is_file():
            found.append(int(seed))
    if not found:
        raise UserError(f"{root} has no seed of which {dense} and {sparse} are done: train them first")
    return found


def _done(workdir: pathlib.Path) -> Done:
    results = json.loads((workdir / records.RESULTS).read_text())
    trained = checkpoints.load_network(workdir)
    return Done(config_lib.load(workdir), trained, results["sparsity"]["group_percent"])


def _save(output: pathlib.Path, done: Done, variables: PyTree, has_new_weights: bool) -> None:
    """Writes what is left of a network without what is zero in `variables`; `start.json` last, as a sign of its end."""
    small = compaction.compact(done.trained.network.model, variables)
    network = dataclasses.replace(done.trained.network, model=small.model)
    trained = dataclasses.replace(done.trained, network=network, variables=small.variables)
    if has_new_weights:
        trained = dataclasses.replace(trained, variables=_new_weights(done.config, trained))
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    checkpoints.save_network(output, trained)
    config_lib.save(done.config, output)
    content = {
        "group_percent": _group_percent(done.config, variables),
        "parameters": num_parameters(trained.variables["params"]),
    }
    whole_files.write_json(output / FILE, content)


def _new_weights(config: Config, trained: Trained) -> PyTree:
    """Returns variables as a run of this architecture and seed begins with."""
    dataset = data.load(config.dataset, tuple(trained.network.tasks))
    initializer = initialization.VariableInitializer(trained.network.model, config.dataset.image_size)
    constants = initialization.constants_of(trained.network, dataset.sources["train"])
    return initialization.variables_of(config_lib.with_value(config, "init_from", ""), initializer, constants)


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the command line, makes the networks and prints what they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, required=True, help="the folder of the sweep")
    parser.add_argument("--dense", default=_DENSE, help="its dense runs, without _seed0 (default: %(default)s)")
    parser.add_argument("--sparse", default=_SPARSE, help="its sparse runs, likewise (default: %(default)s)")
    arguments = parser.parse_args(argv)
    startup.prepare("auto")
    print(table(write(arguments.root, arguments.dense, arguments.sparse)))
    print(f"in {arguments.root / FOLDER}")


def table(made: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns what `write` returns as text."""
    rows = [("network", "groups gone, %", "parameters")]
    rows += [(name, f"{one['group_percent']:.1f}", f"{one['parameters']:,}") for name, one in made.items()]
    return aligned(rows)


if __name__ == "__main__":
    command.run(main)
