"""Which channels several networks have in common: live groups of networks of one task each, and of the one of all.

All of one seed start from the same backbone, so their channels can be told apart by their places.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lim_jax.errors import UserError
from lim_jax.figures import style
from sweeps.rows import Row, tasks_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Live = Mapping[str, np.ndarray]  # {layer: which groups are not zero}


class Overlap(NamedTuple):
    """How much of one network's live groups is live in another.

    Attributes:
      names: of the networks.
      shares: (networks, networks), percent: of the live groups of the row, how many live in the column; NaN: none live.
      chance: what shares would be if each network had drawn its live groups of each layer at random.
      seeds: over which they are averaged.
    """

    names: Sequence[str]
    shares: np.ndarray
    chance: np.ndarray
    seeds: int


def overlap(networks: Sequence[Live]) -> tuple[np.ndarray, np.ndarray]:
    """Returns `Overlap.shares` and `.chance` of the networks of one seed, which have the same layers."""
    size = len(networks)
    shares, chance = np.full((size, size), np.nan), np.full((size, size), np.nan)
    for i, one in enumerate(networks):
        total = sum(int(live.sum()) for live in one.values())
        if not total:
            continue
        for j, other in enumerate(networks):
            shares[i, j] = 100 * sum(int((one[name] & other[name]).sum()) for name in one) / total
            expected = sum(one[name].sum() * other[name].mean() for name in one)
            chance[i, j] = 100 * expected / total
    return shares, chance


def of_setting(root: pathlib.Path, rows: Sequence[Row]) -> Overlap | None:
    """Returns the overlap of the networks of one task each, and of the one of most tasks, in rows of one setting.

    Only seeds count of which all of these are done; None without one, or without two networks.
    """
    singles = [row for row in rows if len(row.tasks) == 1 and row.results]
    several = [row for row in rows if len(row.tasks) > 1 and row.results]
    chosen = [*singles, *([max(several, key=lambda row: len(row.tasks))] if several else [])]
    if len(chosen) < 2:
        return None
    seeds = [seed for seed in chosen[0].results if all(seed in row.results for row in chosen)]
    found = []
    for seed in seeds:
        try:
            networks = [live_groups(root / row.runs[seed].name) for row in chosen]
        except UserError:  # to save space, somebody has kept the results alone
            continue
        if len({tuple((name, live.shape) for name, live in one.items()) for one in networks}) == 1:
            found.append(overlap(networks))  # networks that shrank while they trained have other places
    if not found:
        return None
    shares, chance = (np.mean(parts, axis=0) for parts in zip(*found, strict=True))
    return Overlap([tasks_text(row.tasks) for row in chosen], shares, chance, len(found))


def live_groups(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns which groups of the best network of a run are not zero, by layer."""
    from lim_jax import config as config_lib
    from lim_jax.training import checkpoints, group_watch, state

    params = checkpoints.load_network(workdir).variables["params"]
    zeros = group_watch.zeros(params, state.sparse_groups(config_lib.load(workdir)))
    return {name: ~np.asarray(zero).ravel() for name, zero in zeros.items()}


def draw(found: Overlap) -> "Figure":
    """Draws the shares as a table of colours, with what chance would give in brackets."""
    size = len(found.names)
    figure = style.figure(3.4, 0.62 * size + 1.3)
    axes = figure.subplots()
    axes.imshow(np.nan_to_num(found.shares), cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for i, j in np.ndindex(size, size):
        share = found.shares[i, j]
        text = "none live" if np.isnan(share) else f"{share:.0f} %"
        if i != j and not np.isnan(share):
            text += f"\n({found.chance[i, j]:.0f})"
        axes.text(j, i, text, ha="center", va="center", fontsize=style.SMALL, color="white" if share > 60 else "black")
    names = [name.replace(" + ", "\n+ ") for name in found.names]
    axes.set_xticks(range(size), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), names)
    axes.set(xlabel="... live in the network of", ylabel="of the live groups of ...")
    axes.set_title(f"in brackets: by chance; mean of {found.seeds} seed{'s' * (found.seeds > 1)}")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return figure
