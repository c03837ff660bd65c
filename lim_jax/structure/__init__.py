"""Any JAX function: find which channels can go, take them out, and show that the function stays the same."""

import lim_jax.structure.loops  # noqa: F401  registers the rule of `scan`, which needs the walks that need the others
from lim_jax.structure.compaction import Compacted, CompactFunction, compact, shrink
from lim_jax.structure.cost import macs
from lim_jax.structure.cuts import Cut, Cuts, take
from lim_jax.structure.pruning import prune
from lim_jax.structure.tracing import ChannelGroup, Member, Opaque, Structure, trace

__all__ = [
    "ChannelGroup",
    "CompactFunction",
    "Compacted",
    "Cut",
    "Cuts",
    "Member",
    "Opaque",
    "Structure",
    "compact",
    "macs",
    "prune",
    "shrink",
    "take",
    "trace",
]
