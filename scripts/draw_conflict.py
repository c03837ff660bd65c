"""Draws what methods of loss balancing make of two tasks in conflict: `docs/images/conflict.png`.

    python scripts/draw_conflict.py [FILE]

Two quadratic losses of one parameter vector (x, y), the first ten times as steep as the second, pull to different
points. The left panel has the directions that each method makes of the two gradients at one point; the right one the
paths of small steps along them, on the way to the set where neither loss can fall without the other rising.
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
CURVATURES = np.array([[4.0, 40.0], [4.0, 1.0]])  # of each loss, along x and y
START = np.array([-0.55, 1.0])
METHODS = {
    "sum": balancing.CAGrad(0.0),
    "PCGrad": balancing.PCGrad(),
    "CAGrad": balancing.CAGrad(),
    "UPGrad": balancing.UPGrad(),
}
COLORS = {"sum": "0.25", "PCGrad": style.BLUE, "CAGrad": style.GREEN, "UPGrad": style.VERMILION}
STEPS, LENGTH = 1500, 2e-3


def gradients(point: np.ndarray) -> np.ndarray:
    """Returns the gradients (2, 2) of both losses at a point."""
    return CURVATURES * (point - CENTERS)


def direction(method: balancing.GradientBalancing, point: np.ndarray) -> np.ndarray:
    """Returns minus what a method makes of the gradients at a point."""
    rows = gradients(point)
    weights = _WEIGHTS[method](jnp.float32(rows @ rows.T), jnp.ones(2, bool), jax.random.key(0))
    return -np.asarray(weights) @ rows


_WEIGHTS = {method: jax.jit(method.weights) for method in METHODS.values()}


def draw_directions(axes: "Axes") -> None:
    """Draws unit arrows: each task's own descent, and what the methods make of both."""
    rows = -gradients(START)
    arrows = {"task 1": (rows[0], style.ORANGE), "task 2": (rows[1], style.PURPLE)}
    arrows |= {name: (direction(method, START), COLORS[name]) for name, method in METHODS.items()}
    for name, (vector, color) in arrows.items():
        tip = vector / np.linalg.norm(vector)
        width, line = (0.006, "-") if name.startswith("task") else (0.012, "-")
        axes.quiver(0, 0, *tip, color=color, angles="xy", scale_units="xy", scale=1, width=width, linestyle=line)
        axes.annotate(name, 1.12 * tip, color=color, ha="center", va="center", fontsize=8)
    for row in rows:  # to the side of this line the loss falls
        along = np.array([-row[1], row[0]]) / np.linalg.norm(row)
        axes.plot(*np.stack([-1.3 * along, 1.3 * along]).T, color="0.75", linewidth=0.8, linestyle=":", zorder=0)
    axes.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal", title="directions at the start")
    axes.set(xticks=[], yticks=[])


def draw_paths(axes: "Axes") -> None:
    """Draws the losses' contours and the methods' paths."""
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 200), np.linspace(-0.4, 1.3, 120))
    for center, curvature, color in zip(CENTERS, CURVATURES, (style.ORANGE, style.PURPLE), strict=True):
        loss = (curvature[0] * (x - center[0]) ** 2 + curvature[1] * (y - center[1]) ** 2) / 2
        axes.contour(x, y, loss, levels=np.geomspace(0.1, 30, 7), colors=color, linewidths=0.5, alpha=0.6)
    axes.plot([-1, 1], [0, 0], color="0.6", linewidth=3, alpha=0.5, label="neither can fall alone", zorder=1)
    for name, method in METHODS.items():
        path = [START]
        for _ in range(STEPS):
            step = direction(method, path[-1])
            path.append(path[-1] + LENGTH * step / max(np.linalg.norm(step), 0.2))
        axes.plot(*np.stack(path).T, color=COLORS[name], linewidth=1.6, label=name)
        axes.plot(*path[-1], "o", color=COLORS[name], markersize=4)
    axes.plot(*START, "ks", markersize=4)
    axes.set(title="paths of small steps", xlabel="x", ylabel="y", xlim=(-1.5, 1.5), ylim=(-0.4, 1.3))
    axes.legend(loc="upper right", fontsize=7)


def main() -> None:
    """Draws the picture."""
    root = pathlib.Path(__file__).parents[1]
    output = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "docs" / "images" / "conflict.png"
    with style.context():
        figure = style.figure(7.5, 3.2)
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.4])
        draw_directions(left)
        draw_paths(right)
        figure.savefig(output)


if __name__ == "__main__":
    main()
