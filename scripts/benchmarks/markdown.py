"""Makes Markdown for docs/performance.md of the lines that measurements on a GPU printed, or of a part of them."""

import argparse
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Line = Mapping[str, Any]

_DTYPES = ("bfloat16", "float32")
_FAST_ENOUGH = {"bfloat16": 36.0}  # milliseconds of a training step
_FASTER_THAN = {"flax": "≥ 1.25", "paper": "≥ 20", "paper_shared": "≥ 20"}  # goals, in times


def run(arguments: argparse.Namespace) -> None:
    """Prints the Markdown of a file of JSON lines."""
    print(render([json.loads(line) for line in pathlib.Path(arguments.file).read_text().splitlines()]))


def render(lines: Sequence[Line]) -> str:
    """Returns the tables for which there are lines, the goals first."""
    parts = [_machines(lines), table("what | beside | measured | ratio | goal", _goals(lines))]
    sections = {
        "All times": table(
            "what | contender | dtype | ms: median (smallest to largest) | peak GPU memory | first run after s | cache",
            _times(lines),
        ),
        "Compact backbones": table(
            "network | dtype | batch | ms in a row | ms of a single call | times faster | GMACs", _compact(lines)
        ),
        "Forms of convolutions": _convolutions(lines),
        "Programs": table(
            "what | contender | dtype | program | fusions | custom calls | GFLOP | GB accessed | MB held | temporary",
            _programs(lines),
        ),
    }
    parts += [f"### {title}\n\n{text}" for title, text in sections.items() if text]
    parts += [f"### Where the time goes: {title}\n\n{text}" for title, text in _profiles(lines).items()]
    parts.append("\n".join(_missing(lines)))
    return "\n\n".join(part for part in parts if part)


def _machines(lines: Iterable[Line]) -> str:
    """Returns the devices and versions of all lines."""
    keys = ("device", "jax", "torch", "python")
    found = [f"{key} {line[key]}" if key != "device" else line[key] for line in lines for key in keys if key in line]
    return ", ".join(dict.fromkeys(found))


def _goals(lines: Sequence[Line]) -> Iterable[Sequence[str]]:
    steps = {(line["contender"], line["dtype"]): line for line in _in_a_row(lines, "step")}
    for dtype in _DTYPES:
        ours = steps.get(("lim_jax", dtype))
        if ours is None:
            continue
        if dtype in _FAST_ENOUGH:
            yield f"training step, {dtype}", "", f"{ours['median_ms']:.1f} ms", "", f"≤ {_FAST_ENOUGH[dtype]:g} ms"
        for (name, other_dtype), other in steps.items():
            if other_dtype == dtype and name != "lim_jax":
                ratio, goal = other["median_ms"] / ours["median_ms"], _FASTER_THAN.get(name, "")
                measured = f"{ours['median_ms']:.1f} / {other['median_ms']:.1f} ms"
                yield f"training step, {dtype}", name, measured, f"{ratio:.2f}× faster", goal
        other = steps.get(("torch_modern", dtype), {})
        memory = [line.get("peak_device_memory_mb") for line in (ours, other)]
        if all(memory):
            goal = "≤ 1.0" if dtype == "bfloat16" else ""
            measured = f"{memory[0]:.0f} / {memory[1]:.0f} MB"
            yield f"peak GPU memory, {dtype}", "torch_modern", measured, f"{memory[0] / memory[1]:.2f} of it", goal
    updates = {line["contender"]: line["median_ms"] for line in _in_a_row(lines, "optimizer")}
    if "lim_jax" in updates:
        ours, other = updates["lim_jax"], updates.get("optax")
        measured, ratio = f"{ours:.2f} / {other:.2f} ms" if other else f"{ours:.2f} ms", ours / other if other else None
        yield "update", "optax.adamw", measured, f"{ratio:.2f} of it" if ratio else "", "≤ 1.5, ≤ 3 ms"
    for row in _compact(lines):
        if row[0].startswith("compact"):
            yield f"backbone, {row[0]}, {row[1]}, batch {row[2]}", "dense", f"{row[3]} ms", f"{row[5]}× faster", "≥ 2"
    for cache, goal in (("empty", 120), ("filled", 15)):
        found = [line["first_run_s"] for line in lines if _is_start(line) and line.get("cache") == cache]
        if found:
            yield "first step after start", f"{cache} cache", f"{min(found):.1f} s", "", f"≤ {goal} s"
    for line in lines:
        if "not_steps_percent" in line:
            measured = f"{line['epoch_s']:.2f} s, {line['steps']} steps of {1e3 * line['step_s']:.1f} ms"
            name = f"epoch of {line['images']} images, {line['dtype']}, examples on the {line['place']}"
            yield name, "its steps", measured, f"{line['not_steps_percent']:.1f} % of it is not steps", "≤ 5 %"


def _is_start(line: Line) -> bool:
    """Tells whether this is a start of lim_jax; in bfloat16, as others may find a part of its programs in the cache."""
    told = tuple(line.get(name) for name in ("event", "what", "contender", "dtype"))
    return told == ("first run", "step", "lim_jax", "bfloat16")


def _in_a_row(lines: Iterable[Line], *whats: str) -> list[Line]:
    return [line for line in lines if line.get("event") == "in a row" and line["what"] in whats]


def _times(lines: Sequence[Line]) -> Iterable[Sequence[str]]:
    first: dict[tuple[str, ...], Line] = {}
    for line in lines:
        key = tuple(line.get(name, "") for name in ("what", "contender", "dtype"))
        if line.get("event") == "first run":
            first[key] = line
        elif line.get("event") == "in a row":
            memory, begun = line.get("peak_device_memory_mb"), first.get(key, {})
            yield (
                *key,
                f"{line['median_ms']:.3g} ({line['min_ms']:.3g} to {line['max_ms']:.3g})",
                f"{memory:.0f} MB" if memory else "",
                f"{begun['first_run_s']:.1f}" if begun else "",
                begun.get("cache", ""),
            )


def _compact(lines: Sequence[Line]) -> Iterable[Sequence[str]]:
    found = [line for line in lines if line["what"] == "compact" and "median_ms" in line]
    dense = {(line["dtype"], line["batch_size"]): line["median_ms"] for line in found if line["network"] == "dense"}
    for line in found:
        case = (line["dtype"], line["batch_size"])
        faster = f"{dense[case] / line['median_ms']:.2f}" if case in dense else ""
        times = f"{line['median_ms']:.3f}", f"{line['single_ms']:.3f}"
        yield line["network"], *map(str, case), *times, faster, f"{line['gmacs']:.2f}"


def _convolutions(lines: Sequence[Line]) -> str:
    found = [line for line in lines if line["what"] == "convolutions" and "left_out" not in line]
    suffix = ", all ms"
    names = list(dict.fromkeys(key.removesuffix(suffix) for line in found for key in line if key.endswith(suffix)))

    def cell(line: Line, name: str) -> str:
        times = [line.get(f"{name}, {part} ms") for part in ("forward", "all")]
        return f"{times[0]:.3f} / {times[1]:.3f}" if all(times) else ""

    rows = []
    for line in found:
        shape = f"{line['cells']}², {line['inputs']}→{line['outputs']}"
        kernel = f"{line['kernel_size']}×{line['kernel_size']}, {line['dilation']}"
        rows.append((shape, kernel, line["dtype"], f"{line['gflops']:.0f}", *(cell(line, name) for name in names)))
    return table(" | ".join(("map, channels", "kernel, rate", "dtype", "GFLOP", *names)), rows)


def _programs(lines: Sequence[Line]) -> Iterable[Sequence[str]]:
    for line in lines:
        if line.get("event") == "program":
            name = [line[key] for key in ("what", "contender", "dtype", "program")]
            counts = [f"{line[key]:.0f}" for key in ("fusions", "custom_calls", "gflops")]
            memory = [f"{line[key]:.0f}" for key in ("held_mb", "temporary_mb")]
            yield *name, *counts, f"{line['gbytes']:.2f}", *memory


def _profiles(lines: Sequence[Line]) -> dict[str, str]:
    rows: dict[str, list[Sequence[str]]] = {}
    for line in lines:
        if line.get("event") == "profile":
            title = f"{line['contender']}, {line['what']}, {line['dtype']}"
            kernel = line["kernel"].replace("|", "\\|")
            cells = (f"`{kernel}`", f"{line['ms']:.3f}", f"{line['calls']:.0f}", f"{100 * line['share']:.1f} %")
            rows.setdefault(title, []).append(cells)
    return {title: table("kernel | ms a step | calls a step | share", found) for title, found in rows.items()}


def _missing(lines: Sequence[Line]) -> Iterable[str]:
    for line in lines:
        for reason in ("left_out", "failed"):
            if reason in line:
                name = ", ".join(str(value) for key, value in line.items() if key != reason)
                yield f"- {reason.replace('_', ' ')}: {name}: {str(line[reason]).strip().splitlines()[-1]}"


def table(header: str, rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of cells, its header with " | " between them; nothing where there are no rows."""
    found = [f"| {' | '.join(row)} |" for row in rows]
    rule = "|".join("---" for _ in header.split(" | "))
    return "\n".join([f"| {header} |", f"|{rule}|", *found]) if found else ""
