"""What a new run begins with: the network of its configuration and fresh weights, or those of another run."""

import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from lim_jax import checkpoints, network
from lim_jax import config as config_lib
from lim_jax.config import Config
from lim_jax.data.specs import TargetSpec
from lim_jax.errors import UserError
from lim_jax.train_state import initial_variables

logger = logging.getLogger(__name__)

PyTree = Any


def network_of(config: Config, specs: Mapping[str, TargetSpec]) -> network.Network:
    """Returns the network that `config` describes, compact if it starts from a compact one of that description."""
    net = network.build(config, specs)
    if not config.init_from:
        return net
    source = checkpoints.load_network(pathlib.Path(config.init_from)).network
    described = config_lib.load(pathlib.Path(config.init_from)).model
    same = all(described[key] == config.model[key] for key in ("backbone", "width_multiplier"))
    return network.with_channels_of(net, source) if same else net


def variables_of(config: Config, net: network.Network) -> PyTree:
    """Returns `{"params", "batch_stats"}` of `net`: freshly drawn, but for what `config.init_from` has that fits.

    Raises:
      UserError: nothing there fits.
    """
    variables = initial_variables(net.model, config.dataset.image_size, config.seed)
    if not config.init_from:
        return variables
    init_from = config.init_from
    source = checkpoints.load_network(pathlib.Path(init_from)).weights
    fitting = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(source)}
    taken, left = [], []

    def choose(path: Any, leaf: jax.Array) -> Any:
        name = jax.tree_util.keystr(path)
        fits = name in fitting and fitting[name].shape == leaf.shape
        (taken if fits else left).append(name)
        return fitting[name] if fits else leaf

    started = jax.tree_util.tree_map_with_path(choose, variables)
    if not taken:
        raise UserError(
            f"nothing in {init_from} fits this network: config.init_from must be a run of the same backbone"
        )
    logger.info("starting from %s: %d arrays taken over", init_from, len(taken))
    if left:
        logger.info("  not there, or of another shape, so freshly drawn: %s", ", ".join(left))
    return started
