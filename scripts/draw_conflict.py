"""Draws what methods of loss balancing make of two tasks in conflict: `docs/images/conflict.png`.

    python scripts/draw_conflict.py [FILE]

Two quadratic losses of (x, y), the first four times as steep as the second, have their minima at different points. The
left panel has the directions that the methods make of the two gradients at one point; the right one the paths of small
steps along them. Of two tasks PCGrad and UPGrad make the same.
"""

import pathlib
import sys
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax import balancing
from lim_jax.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CENTERS = np.array([[1.0, 0.0], [-1.0, 0.0]])
STEEPNESS = np.array([[4.0], [1.0]])
START = np.array([-0.3, 0.6])
METHODS = {"sum": balancing.CAGrad(0.0), "CAGrad": balancing.CAGrad(), "PCGrad, UPGrad": balancing.UPGrad()}
COLORS = {"sum": "0.25", "CAGrad": style.GREEN, "PCGrad, UPGrad": style.VERMILION}
TASKS = {"task 1": style.ORANGE, "task 2": style.PURPLE}
STEPS, LENGTH = 2000, 1e-3
_LABELS = {"task 1": (0.7, 0.25), "task 2": (-0.9, 0.1), "sum": (0.6, -0.1), "CAGrad": (0.85, -0.1)}  # from the tip


def gradients(point: np.ndarray) -> np.ndarray:
    """Returns the gradients (2, 2) of both losses at a point."""
    return STEEPNESS * (point - CENTERS)


def direction(method: balancing.GradientBalancing, point: np.ndarray) -> np.ndarray:
    """Returns minus what a method makes of the gradients at a point."""
    rows = gradients(point)
    weights = _WEIGHTS[method](jnp.float32(rows @ rows.T), jnp.ones(2, bool), jax.random.key(0))
    return -np.asarray(weights) @ rows


_WEIGHTS = {method: jax.jit(method.weights) for method in METHODS.values()}


def draw_directions(axes: "Axes") -> None:
    """Draws each task's own descent and what the methods make of both, and shades where a task's loss rises."""
    rows = dict(zip(TASKS, -gradients(START), strict=True))
    x, y = np.meshgrid(np.linspace(-3, 7, 300), np.linspace(-6.5, 2, 300))
    for name, row in rows.items():
        axes.contourf(x, y, row[0] * x + row[1] * y < 0, levels=[0.5, 1], colors=[TASKS[name]], alpha=0.12)
    arrows = {name: (row, TASKS[name]) for name, row in rows.items()}
    arrows |= {name: (direction(method, START), COLORS[name]) for name, method in METHODS.items()}
    for name, (vector, color) in arrows.items():
        axes.quiver(0, 0, *vector, color=color, angles="xy", scale_units="xy", scale=1, width=0.009)
        place = vector + _LABELS.get(name, (0.2, -0.45))
        axes.annotate(name, place, color=color, ha="center", va="center", fontsize=8)
    axes.set(xlim=(-3, 7), ylim=(-6.5, 2), aspect="equal", title="one step")
    axes.set(xticks=[], yticks=[])


def draw_paths(axes: "Axes") -> None:
    """Draws the losses' contours and the methods' paths."""
    x, y = np.meshgrid(np.linspace(-1.3, 1.3, 200), np.linspace(-0.3, 0.9, 120))
    for center, steepness, color in zip(CENTERS, STEEPNESS[:, 0], TASKS.values(), strict=True):
        loss = steepness * ((x - center[0]) ** 2 + (y - center[1]) ** 2) / 2
        axes.contour(
            x, y, loss, levels=steepness * np.array([0.02, 0.1, 0.25, 0.5, 0.9, 1.5]), colors=color, linewidths=0.6
        )
    axes.plot([-1, 1], [0, 0], color="0.6", linewidth=4, alpha=0.4, label="neither can fall alone", zorder=1)
    for name, method in METHODS.items():
        path = [START]
        for _ in range(STEPS):
            path.append(path[-1] + LENGTH * direction(method, path[-1]))
        axes.plot(*np.stack(path).T, color=COLORS[name], linewidth=1.8, label=name)
        axes.plot(*path[-1], "o", color=COLORS[name], markersize=5)
    axes.plot(*START, "ks", markersize=5)
    for (name, color), center in zip(TASKS.items(), CENTERS, strict=True):
        axes.annotate(name, (center[0], -0.1), color=color, ha="center", fontsize=8)
    axes.set(title="many small steps", xlabel="x", ylabel="y", xlim=(-1.3, 1.3), ylim=(-0.3, 0.9), aspect="equal")
    axes.legend(loc="upper right", fontsize=7)


def main() -> None:
    """Draws the picture."""
    root = pathlib.Path(__file__).parents[1]
    output = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "docs" / "images" / "conflict.png"
    with style.context():
        figure = style.figure(7.5, 3.0)
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.4])
        draw_directions(left)
        draw_paths(right)
        figure.savefig(output)


if __name__ == "__main__":
    main()
