"""What the networks of a sweep cost on this machine, without their zeros too; measured once, and kept in a file."""

import contextlib
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from lim_jax.errors import UserError
from lim_jax.runtime import whole_files


def known(root: pathlib.Path, names: Sequence[str], path: pathlib.Path, *, backbone: bool) -> dict[str, Any]:
    """Returns what networks cost, as `lim_jax.prediction.costs.measured` does, by the names of their runs.

    Args:
      root: of the sweep.
      names: of runs that are done.
      path: of the file that holds it. Where it lacks one of the names, all are measured again, in turns.
      backbone: whether only the backbone counts.

    Returns:
      None of a run whose checkpoint is gone.
    """
    content = json.loads(path.read_text()) if path.is_file() else {}
    if not set(names) <= content.keys():
        content = _measured(root, names, backbone)
        path.parent.mkdir(exist_ok=True)
        whole_files.write_json(path, content)
    return content


def _measured(root: pathlib.Path, names: Sequence[str], backbone: bool) -> dict[str, Any]:
    from lim_jax import config as config_lib
    from lim_jax.prediction import costs
    from lim_jax.runtime import startup
    from lim_jax.training import checkpoints

    startup.prepare("auto")
    networks = {}
    for name in names:
        with contextlib.suppress(UserError):
            networks[name] = checkpoints.load_network(root / name)
    if not networks:
        print("no latency: no run has a checkpoint left", file=sys.stderr)
        return dict.fromkeys(names)
    size = config_lib.load(root / next(iter(networks))).dataset.image_size
    return dict.fromkeys(names) | costs.measured(networks, size, backbone=backbone)
