"""How much better several tasks are than their baselines, in one number."""

from collections.abc import Mapping

Results = Mapping[str, Mapping[str, float | None]]  # {task: {metric: number}}


def delta_m(results: Results, baseline: Results, higher_is_better: Mapping[str, Mapping[str, bool]]) -> float | None:
    """Returns Δm, the mean relative gain over the tasks in percent (Maninis et al. 2019, arXiv 1904.08918).

        Δm = 100 / T · Σ_t 1 / M_t · Σ_m ± (results[t][m] - baseline[t][m]) / |baseline[t][m]|

    with - for metrics of which small values are good: positive is better than the baseline. Metrics are averaged within
    a task first, so that a task does not weigh more for having many.

    Args:
      results: `{task: {metric: number}}`.
      baseline: likewise, usually of networks that were trained for one task each.
      higher_is_better: whether large values are good, for every metric that counts.

    Returns:
      Percent. Metrics that one of them lacks, or whose baseline is 0, do not count; None if nothing is left.
    """
    gains = []
    for task, signs in higher_is_better.items():
        of_task = []
        for metric, is_good in signs.items():
            reached, base = (each.get(task, {}).get(metric) for each in (results, baseline))
            if reached is not None and base:
                of_task.append((1 if is_good else -1) * (reached - base) / abs(base))
        if of_task:
            gains.append(sum(of_task) / len(of_task))
    return 100 * sum(gains) / len(gains) if gains else None
