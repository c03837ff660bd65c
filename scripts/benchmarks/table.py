"""All comparisons of the performance targets in one run, ending with a table of what was reached."""

import argparse

from benchmarks import comparison, markdown, startup
from benchmarks.comparison import ratio
from benchmarks.job import job_from

_HEADER = "what | against | medians | ratio | target"

# (what, baseline): how many times faster than it lim_jax is to be.
_TARGETS = {
    ("step", "paper"): 6,
    ("step", "paper_shared"): 4,
    ("optimizer", "paper"): 12,
    ("inference", "paper"): 3,
    ("inference", "paper_shared"): 1.7,
}


def run(arguments: argparse.Namespace) -> None:
    """Runs `step`, `optimizer`, `inference` and `startup`, and prints a Markdown table after their lines."""
    kinds = ("step", "optimizer", "inference")
    measured = {what: comparison.compare(job_from(arguments, what), arguments.rounds) for what in kinds}
    started = startup.measure(arguments)
    rows = []
    for what, contenders in measured.items():
        for baseline in list(contenders)[1:]:
            rows.append(_row(what, baseline, contenders))
    if "paper" in measured["step"]:
        memory = 1 / ratio(measured["step"], "paper")["memory"]
        sizes = " / ".join(f"{measured['step'][name].memory['peak_memory_mb']:.0f}" for name in ("lim_jax", "paper"))
        rows.append(("memory of training", "paper", f"{sizes} MB", f"{memory:.2f}", "≤ 0.8"))
    seconds = f"{started['filled_s']:.1f} / {started['empty_s']:.1f} s"
    rows.append(("first step after start", "empty cache", seconds, f"{started['time']:.1f}", "≥ 3, ≤ 15 s"))
    print("\n" + markdown.table(_HEADER, rows))


def _row(what: str, baseline: str, contenders: dict[str, comparison.Measured]) -> tuple[str, ...]:
    medians = " / ".join(f"{contenders[name].median:.3g}" for name in ("lim_jax", baseline))
    times = ratio(contenders, baseline)["time"]
    target = f"≥ {_TARGETS[what, baseline]:g}" if (what, baseline) in _TARGETS else ""
    return what, baseline, f"{medians} s", f"{times:.2f}", target
