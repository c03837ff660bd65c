"""Any JAX function: find which channels can go, take them out, and show that the function stays the same."""

from lim_jax.structure import loops as _loops  # the rule of `scan`, which needs the walks that need the other rules
from lim_jax.structure.compaction import Compacted, CompactFunction, compact
from lim_jax.structure.cost import macs
from lim_jax.structure.cuts import Cut, Cuts, take

__all__ = ["CompactFunction", "Compacted", "Cut", "Cuts", "compact", "macs", "take"]
