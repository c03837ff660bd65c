"""Compacts networks that are not ours:

    python scripts/any_network.py [--only=ResNet] [--share=0.5]

Half of their input channels are zero. Prints the table in docs/any-network.md.
"""

import argparse
import time

import jax
from foreign.networks import KINDS, NETWORKS
from foreign.zeros import with_zero_groups

from lim_jax import structure
from lim_jax.compaction import latencies
from lim_jax.sparsity import groups as groups_lib


def row(name: str, share: float, repeats: int) -> list[str]:
    """Returns the table's row of one network."""
    fn, params, x = NETWORKS[name](False)
    groups = structure.trace(fn, params, x).groups(KINDS.get(name, "input_channels"))
    number = sum(layer.num_groups for layer in groups_lib.layers(groups, params))
    params = jax.device_put(with_zero_groups(params, groups, share, seed=0))
    started = time.perf_counter()
    small = structure.compact(fn, params, x)
    seconds = time.perf_counter() - started
    dense_fn, small_fn = jax.jit(fn), jax.jit(small.fn)
    ms = latencies(
        {"dense": lambda: dense_fn(params, x), "compact": lambda: small_fn(small.params, x)}, repeats, min_seconds=2
    )
    before, after = small.num_parameters
    return [
        name,
        f"{number:,}",
        f"{before / 1e6:.2f} M",
        f"{100 * (1 - after / before):.0f} %",
        f"{small.macs[0] / 1e6:,.0f} M",
        f"{100 * (1 - small.macs[1] / small.macs[0]):.0f} %",
        f"{small.difference:.0e}",
        f"{ms['dense']:.1f}",
        f"{ms['compact']:.1f}",
        f"{ms['dense'] / ms['compact']:.2f}",
        f"{seconds:.1f}",
    ]


def main() -> None:
    """Prints the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--share", type=float, default=0.5, help="of the groups that are made zero")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    header = ["network", "groups", "parameters", "removed", "MACs", "removed", "difference"]
    header += ["dense ms", "compact ms", "ratio", "compacting s"]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for name in NETWORKS:
        if arguments.only in name:
            print(f"| {' | '.join(row(name, arguments.share, arguments.repeats))} |", flush=True)


if __name__ == "__main__":
    main()
