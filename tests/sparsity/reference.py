"""Float64 solutions of the proximal problems, by bisection and comparison; they share nothing with the package."""

import numpy as np


def group_lasso(u: np.ndarray, threshold: float, metric: np.ndarray) -> np.ndarray:
    """Solves one group, given as a vector."""
    u, d = np.asarray(u, np.float64), np.asarray(metric, np.float64)
    if threshold == 0:
        return u
    a = d * u
    if np.linalg.norm(a) <= threshold:
        return np.zeros_like(u)
    low, high = 0.0, np.linalg.norm(u)
    for _ in range(200):
        middle = np.sqrt(low * high) if low > 1e-3 * high else (low + high) / 2
        if np.linalg.norm(a / (d * middle + threshold)) > 1:
            low = middle
        else:
            high = middle
    return u * d * high / (d * high + threshold)


def l1(u: np.ndarray, threshold: float, metric: np.ndarray) -> np.ndarray:
    """Solves element by element."""
    u, d = np.asarray(u, np.float64), np.asarray(metric, np.float64)
    if threshold == 0:
        return u
    with np.errstate(divide="ignore", over="ignore"):
        return np.sign(u) * np.maximum(np.abs(u) - threshold / d, 0)


def sparse_group_lasso(u: np.ndarray, threshold: float, l1_threshold: float, metric: np.ndarray) -> np.ndarray:
    """Solves one group by fixing its norm: `w(θ)` follows elementwise, the right θ is where `‖w(θ)‖ = θ`."""
    u, d = np.asarray(u, np.float64), np.asarray(metric, np.float64)
    if threshold == 0:
        return l1(u, l1_threshold, d)

    def given(theta):
        return np.sign(u) * np.maximum(d * np.abs(u) - l1_threshold, 0) * theta / (d * theta + threshold)

    low, high = 0.0, np.linalg.norm(u)
    tiny = 1e-12 * high
    if high == 0 or np.linalg.norm(given(tiny)) <= tiny:
        return np.zeros_like(u)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.linalg.norm(given(middle)) > middle else (low, middle)
    return given(high)


def group_mcp_objective(w, u, learning_rate, strength, gamma, metric):
    """The objective of group MCP's proximal operator for one group; `w` may hold several points as rows."""
    w, u, d = (np.asarray(x, np.float64) for x in (w, u, metric))
    size = np.minimum(np.linalg.norm(w, axis=-1), gamma * strength)
    return 0.5 * np.sum(d * (w - u) ** 2, -1) + learning_rate * (strength * size - size**2 / (2 * gamma))


def group_mcp(u, learning_rate, strength, gamma, metric) -> np.ndarray:
    """Solves one group: the best of 0, u and a fine grid, refined twice, of all that stationary points can be.

    Every stationary point is `d u / (d + μ)` for a multiplier `μ ≥ 0`.
    """
    u, d = np.asarray(u, np.float64), np.asarray(metric, np.float64)
    if strength == 0:
        return u
    grid = max(d.max(), 1e-300) * np.logspace(-16, 12, 1000)
    points = [u, np.zeros_like(u)]
    for _ in range(3):
        bottom = d + grid[:, None]
        curve = np.divide(d * u, bottom, out=np.zeros_like(bottom), where=bottom > 0)
        k = int(np.argmin(group_mcp_objective(curve, u, learning_rate, strength, gamma, d)))
        points.append(curve[k])
        grid = np.geomspace(grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)], 100)
    values = group_mcp_objective(np.array(points), u, learning_rate, strength, gamma, d)
    return np.zeros_like(u) if values[1] <= values.min() * (1 + 1e-13) else points[int(np.argmin(values))]
