"""What a compiled program consists of, and where its time goes: kernels, summed by name, most expensive first.

JAX's profile is read without TensorFlow, by `jax.profiler.ProfileData`.
"""

import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from benchmarks import worker

_ROWS = 25
_LONGEST_NAME = 120


def counts(compiled: Any) -> dict[str, float]:
    """Returns the numbers of fusions and custom calls of a program that XLA compiled, its operations and bytes.

    "held_mb" is all that it needs while it runs: arguments, results and temporary arrays.
    """
    text = compiled.as_text()
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "fusions": len(re.findall(r" fusion\(", text)),
        "custom_calls": len(re.findall(r" custom-call\(", text)),
        "gflops": cost.get("flops", 0) / 1e9,
        "gbytes": cost.get("bytes accessed", 0) / 1e9,
        "temporary_mb": memory.temp_size_in_bytes / 2**20,
        "held_mb": (held + memory.temp_size_in_bytes) / 2**20,
    }


def profile(call: Callable[[], Any], steps: int) -> list[dict[str, Any]]:
    """Returns the `_ROWS` kernels that take the most of `steps` calls: name, milliseconds and calls a step, share."""
    durations = (_jax_durations if "jax" in sys.modules else _torch_durations)(call, steps)
    found: dict[str, list[float]] = {}
    for name, milliseconds, number in durations:
        row = found.setdefault(_kind(name), [0.0, 0.0])
        row[0] += milliseconds / steps
        row[1] += number / steps
    total = sum(milliseconds for milliseconds, _ in found.values())
    rows = [{"kernel": "all", "ms": total, "calls": sum(number for _, number in found.values()), "share": 1.0}]
    for name, (milliseconds, number) in sorted(found.items(), key=lambda row: -row[1][0])[:_ROWS]:
        rows.append({"kernel": name, "ms": milliseconds, "calls": number, "share": milliseconds / total})
    return rows


def _kind(name: str) -> str:
    """Returns a kernel's name without the number by which XLA tells it from others of its kind."""
    return re.sub(r"(_\d+)+$|(\.\d+)+$", "", name)[:_LONGEST_NAME]


def _torch_durations(call: Callable[[], Any], steps: int) -> Iterable[tuple[str, float, int]]:
    import torch
    from torch.profiler import ProfilerActivity

    on_gpu = torch.cuda.is_available()
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiled:
        _calls(call, steps)
    for event in profiled.key_averages():
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if microseconds:
            yield event.key, microseconds / 1e3, event.count


def _jax_durations(call: Callable[[], Any], steps: int) -> Iterator[tuple[str, float, int]]:
    import jax

    with tempfile.TemporaryDirectory(prefix="benchmark_profile_") as directory:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        with jax.profiler.trace(directory, profiler_options=options):
            _calls(call, steps)
        (file,) = pathlib.Path(directory).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
        planes = [plane for plane in planes if plane.name.startswith("/device:GPU")] or planes
        lines = [line for plane in planes for line in plane.lines]
        # Beside the streams of kernels there may be lines that sum them up.
        for line in [line for line in lines if line.name.startswith("Stream")] or lines:
            for event in line.events:
                if event.duration_ns:
                    yield event.name, event.duration_ns / 1e6, 1


def _calls(call: Callable[[], Any], number: int) -> None:
    result = None
    for _ in range(number):
        result = call()
    worker.wait(result)
