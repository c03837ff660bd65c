#!/usr/bin/env python3
"""Draws which room of lim_jax imports which: `python scripts/draw_architecture.py`.

Writes docs/images/architecture.png and .svg. Rooms stand on a staircase, users above what they use: a line leaves a
room to the right and ends from above in the room that it imports; the number where it turns is how many pairs of
modules it stands for. Imports are read from the source, those inside functions included. The SVG holds the arrows as
JSON in its description, and `tests/test_architecture.py` compares them with the imports of today.

`--source=DIR --output=FILE` draws another checkout, whose rooms may be others; `--figures` prints numbers instead.
"""

import argparse
import ast
import collections
import dataclasses
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "lim_jax"
PICTURES = (ROOT / "docs/images/architecture.svg", ROOT / "docs/images/architecture.png")

VERBS = (
    *("main", "evaluate", "predict", "compact", "compare", "export", "look", "report", "tradeoff", "library"),
    *("__main__", "data.__main__"),
)

# What a module may import lies below it, or in its own room. From what a person types down to what all rooms share.
LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("commands", ("verbs",)),
    ("a run", ("training", "exporting")),
    ("results", ("prediction", "figures")),
    ("the problem", ("network", "config", "tasks", "data")),
    ("networks", ("compaction", "models", "structure")),
    ("groups, targets", ("sparsity", "balancing", "data.specs")),
    ("shared by all", ("shipped", "runtime", "ops", "errors")),
)
ROOMS = {
    "verbs": "a file each",
    "training": "loop, step, state",
    "exporting": "one file that runs alone",
    "prediction": "evaluation, image files",
    "figures": "plain data in, PNG out",
    "network": "a model and its tasks",
    "config": "checked before anything runs",
    "tasks": "loss, metrics, decoding",
    "data": "records, batches, sources",
    "compaction": "removes what nobody reads",
    "models": "backbones and heads",
    "structure": "removes channels of any JAX function",
    "sparsity": "proximal steps for optax",
    "balancing": "many losses, one step",
    "data.specs": "what a target is",
    "shipped": "trained networks",
    "runtime": "devices, memory, command line",
    "ops": "convolution, ReLU, sums",
    "errors": "UserError",
}

Arrow: TypeAlias = tuple[str, str]
_TINTS = ("#d9d9d9", "#f6dfa4", "#bfe3f5", "#b5e2d4", "#f5cfae", "#ecd0e2", "#e6e6e6")  # Okabe and Ito's, lighter
_PLAIN = "#f0f0f0"  # of rooms in no layer
_WRONG = "#d55e00"  # vermilion: an import that goes up
_STEP = 0.33  # inches from room to room
_BOX = 0.95  # inches, the width of a room's box
_EDGE = 0.13  # inches from where arrows arrive to the right edge of a box, and half its height
_MARGIN = 2.1  # inches at the left, for what is written beside the first boxes


@dataclasses.dataclass(frozen=True)
class Import:
    """One import statement's target: `source` and `target` are modules; `name` is what is imported from the target."""

    source: str
    target: str
    name: str | None = None


def modules(source: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the files of the package in a checkout by module name."""
    found = {}
    for path in sorted((source / PACKAGE).rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: pathlib.Path) -> set[Import]:
    """Returns what modules of the package import of the package, wherever in the file; each pair and name once."""
    files = modules(source)
    found = set()
    for module, path in files.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {Import(module, alias.name) for alias in node.names if _is_ours(alias.name)}
            elif isinstance(node, ast.ImportFrom):
                if node.level:
                    raise ValueError(f"{path}:{node.lineno}: write imports in full")
                if _is_ours(node.module or ""):
                    found |= {_from(module, str(node.module), alias.name, files) for alias in node.names}
    return found


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def _from(source: str, module: str, name: str, files: Mapping[str, Any]) -> Import:
    inner = f"{module}.{name}"
    return Import(source, inner) if inner in files else Import(source, module, name)


def room(module: str) -> str:
    """Returns the room that a module belongs to; the package itself, the front door, belongs to the verbs."""
    inner = module.removeprefix(PACKAGE).removeprefix(".")
    if inner in VERBS or not inner:
        return "verbs"
    return inner if inner == "data.specs" else inner.partition(".")[0]


def arrows(found: Iterable[Import]) -> dict[Arrow, int]:
    """Returns how many pairs of modules import one another, for each pair of rooms; `__version__` counts as none."""
    pairs = {(one.source, one.target) for one in found if one.target != PACKAGE}
    counted = collections.Counter((room(source), room(target)) for source, target in pairs)
    return {arrow: count for arrow, count in sorted(counted.items()) if arrow[0] != arrow[1]}


def order(rooms: Iterable[str], drawn: Mapping[Arrow, int]) -> list[str]:
    """Returns the rooms, users first: as in LAYERS, or, if other rooms are there, such that few arrows go up."""
    rooms, known = set(rooms), [name for _, names in LAYERS for name in names]
    if rooms <= set(known):
        return [name for name in known if name in rooms]
    placed: list[str] = []
    while left := sorted(rooms - set(placed)):
        users = {name: sum(source in left for source, target in drawn if target == name) for name in left}
        used = {name: sum(target in left for source, target in drawn if source == name) for name in left}
        placed.append(min(left, key=lambda name: (users[name], -used[name])))
    return placed


def described(drawn: Mapping[Arrow, int]) -> str:
    """Returns the arrows as JSON: `{"training -> data": 5, ...}`."""
    return json.dumps({" -> ".join(arrow): count for arrow, count in drawn.items()})


def arrows_in(svg: pathlib.Path) -> dict[Arrow, int]:
    """Returns the arrows that a drawing shows, from its description."""
    found = re.search(r"<dc:description>(.*?)</dc:description>", svg.read_text(), re.DOTALL)
    if found is None:
        raise ValueError(f"{svg} has no description: draw it with scripts/draw_architecture.py")
    text = found[1].replace("&quot;", '"').replace("&gt;", ">")
    return {tuple(name.split(" -> ")): count for name, count in json.loads(text).items()}  # pyright: ignore


def draw(drawn: Mapping[Arrow, int], rooms: Sequence[str], output: pathlib.Path) -> None:
    """Draws rooms and arrows to a PNG or SVG file.

    Room number i stands at (i, -i). Its arrows leave it to the right and turn down above the room that they end in, so
    that no line crosses a box or its text; arrows up, if there are any, run beside the way down, in another colour.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": PACKAGE, "font.family": "DejaVu Sans"}):
        width = _MARGIN + len(rooms) * _STEP + 0.1
        height = len(rooms) * _STEP + 0.15
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(-height + 0.1, 0.05))
        axes.set_axis_off()
        for number, name in enumerate(rooms):
            _draw_room(axes, number, name)
        _draw_layers(axes, rooms)
        places = {(rooms.index(source), rooms.index(target)): count for (source, target), count in drawn.items()}
        for (source, target), count in places.items():
            # Arrows of one room share a line to the right, those to one room a line down: each is drawn once.
            across = target == max(t for s, t in places if s == source)
            along = source == min(s for s, t in places if t == target)
            _draw_arrow(axes, source, target, count, across or target < source, along or target < source)
        metadata: dict[str, Any] = {"Title": "The rooms of lim_jax and their imports", "Description": described(drawn)}
        if output.suffix == ".svg":
            metadata["Date"] = None  # the same drawing is the same file
        figure.savefig(output, dpi=150, metadata=metadata)


def _center(number: int) -> tuple[float, float]:
    """Where a room's arrows arrive (x) and leave (y)."""
    return _MARGIN + (number + 0.5) * _STEP, -(number + 0.5) * _STEP


def _draw_room(axes: Any, number: int, name: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = _center(number)
    layer = _layer(name)
    box = FancyBboxPatch(
        (x + _EDGE - _BOX, y - _EDGE),
        _BOX,
        2 * _EDGE,
        boxstyle="round,pad=0,rounding_size=0.05",
        fc=_PLAIN if layer is None else _TINTS[layer],
        ec="#404040",
    )
    box.set(linewidth=0.8, zorder=3)
    axes.add_patch(box)
    size = min(10.5, 112 / len(name))  # points
    axes.text(x + _EDGE - _BOX / 2, y - 0.005, name, ha="center", va="center", fontsize=size, zorder=4)
    about = ROOMS.get(name, "")
    axes.text(x + _EDGE - _BOX - 0.06, y, about, ha="right", va="center", fontsize=8.5, color="#404040", zorder=4)


def _draw_layers(axes: Any, rooms: Sequence[str]) -> None:
    """Draws every second layer on grey, with its name at the left; nothing where rooms of no layer are."""
    if None in map(_layer, rooms):
        return
    for number, (title, names) in enumerate(LAYERS):
        places = [_center(rooms.index(name))[1] for name in names if name in rooms]
        if not places:
            continue
        if number % 2 == 0:
            axes.axhspan(min(places) - _STEP / 2, max(places) + _STEP / 2, color="#f3f3f3", zorder=0)
        axes.text(0.06, max(places), title, va="center", fontsize=8.5, style="italic", color="#404040", zorder=4)


def _layer(name: str) -> int | None:
    return next((index for index, (_, names) in enumerate(LAYERS) if name in names), None)


def _draw_arrow(axes: Any, source: int, target: int, count: int, across: bool, along: bool) -> None:
    """Draws one arrow, around the corner that is to the right of the upper and above the lower of its two rooms."""
    upper, lower = _center(min(source, target)), _center(max(source, target))
    down = target > source
    color, aside = ("#303030", 0.0) if down else (_WRONG, 0.11)
    corner = (lower[0] + aside, upper[1] - aside)
    beside, above = (upper[0] + _EDGE, corner[1]), (corner[0], lower[1] + _EDGE)
    start, end = (beside, above) if down else (above, beside)
    if across:
        axes.plot([start[0], corner[0]], [start[1], corner[1]], color=color, linewidth=0.8, zorder=1)
    style = "-|>,head_width=0.16,head_length=0.3"
    head = {"arrowstyle": style, "color": color, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    if along:
        axes.annotate("", end, corner, arrowprops=head, zorder=2)
    number = axes.text(*corner, str(count), ha="center", va="center", fontsize=8, color=color, zorder=5)
    number.set_bbox({"boxstyle": "circle,pad=0.13", "fc": "white", "ec": color, "linewidth": 0.8})


def figures(source: pathlib.Path) -> dict[str, Any]:
    """Returns the size of a checkout's package in a few numbers."""
    found = imports(source)
    pairs = {(one.source, one.target) for one in found if PACKAGE not in (one.source, one.target)}
    drawn = arrows(found)
    files = modules(source)
    functions, classes = (sorted(_lengths(files, kinds), reverse=True) for kinds in (_FUNCTIONS, (ast.ClassDef,)))
    return {
        "modules": len(files),
        "modules side by side at the top": sum(
            name.count(".") == 1 and path.name != "__init__.py" for name, path in files.items()
        ),
        "import arrows between modules": len(pairs),
        "of these between rooms": sum(drawn.values()),
        "arrows between rooms": len(drawn),
        "rooms": len({name for arrow in drawn for name in arrow}),
        "longest functions, lines": functions[:3],
        "longest classes, lines": classes[:3],
    }


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _lengths(files: Mapping[str, pathlib.Path], kinds: tuple[type, ...]) -> Iterator[tuple[int, str]]:
    for module, path in files.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kinds):
                yield node.end_lineno - node.lineno + 1, f"{module}.{node.name}"  # pyright: ignore


def main() -> None:
    """Draws, or prints figures, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=pathlib.Path, default=ROOT, help="a checkout of lim_jax; default: this one")
    parser.add_argument("--output", type=pathlib.Path, action="append", help="a .png or .svg file; may be repeated")
    parser.add_argument("--figures", action="store_true", help="print the size of the package instead of drawing it")
    given = parser.parse_args()
    if given.figures:
        print("\n".join(f"{name}: {value}" for name, value in figures(given.source).items()))
        return
    drawn = arrows(imports(given.source))
    rooms = order({name for arrow in drawn for name in arrow}, drawn)
    for output in given.output or PICTURES:
        draw(drawn, rooms, output)
        print(output)


if __name__ == "__main__":
    main()
