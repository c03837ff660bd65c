"""Any JAX function: find which channels can go, take them out, and show that the function stays the same."""

from lim_jax.structure import loops as _loops  # the rule of `scan`, which needs the walks that need the other rules
from lim_jax.structure.compaction import Compacted, CompactFunction, compact, shrink
from lim_jax.structure.cost import macs
from lim_jax.structure.cuts import Cut, Cuts, take
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
    "shrink",
    "take",
    "trace",
]
