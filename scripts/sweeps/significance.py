"""Paired tests: whether two rows differ, over the seeds that both have.

The same seed starts two runs from the same backbone and shows them the same images in the same order, so their
difference has less noise than either. Of five seeds a t-test finds large effects alone: no difference found does not
mean none.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lim_jax.errors import UserError
from sweeps.rows import Row, tasks_text

_Pair = tuple[str, Row, Row]  # what is compared, for people; the first row, and the one it is compared with


class Comparison(NamedTuple):
    """A metric of two rows.

    Attributes:
      what: of which tasks and settings, for people.
      metric: "task metric".
      seeds: that both rows have.
      difference: the mean over them of the first row's metric less the second's.
      better: whether that is a gain.
      p: of the paired t-test, two-sided; None where fewer than two seeds, or no variation, allow none.
      p_holm: p corrected for the number of all comparisons (Holm); None likewise.
    """

    what: str
    metric: str
    seeds: int
    difference: float
    better: bool
    p: float | None
    p_holm: float | None = None


def comparisons(
    rows: Sequence[Row], metrics: dict[str, dict[str, bool]], which: str, against: str = ""
) -> list[Comparison]:
    """Returns sparse against dense of the same tasks, then several tasks against one of the same setting.

    Args:
      rows: of a sweep.
      metrics: `{task: {metric: whether large values are good}}`, those to compare.
      which: results, as of `rows.of`.
      against: a setting: the others of the same tasks against this one are returned instead.

    Raises:
      UserError: no row has that setting.
    """
    pairs = _against(rows, against) if against else [*_sparse_against_dense(rows), *_several_against_one(rows)]
    found = [
        _comparison(what, one, other, task, metric, is_good, which)
        for what, one, other in pairs
        for task in one.tasks
        if task in other.tasks
        for metric, is_good in metrics.get(task, {}).items()
    ]
    return _with_holm([one for one in found if one is not None])


def _against(rows: Sequence[Row], setting: str) -> Iterator[_Pair]:
    settings = list(dict.fromkeys(row.setting for row in rows))
    if setting not in settings:
        raise UserError(f"no row is {setting!r}; there are {'; '.join(settings)}")
    for one in rows:
        for other in rows:
            if other.setting == setting != one.setting and one.tasks == other.tasks:
                yield _settings_pair(one, other)


def _sparse_against_dense(rows: Sequence[Row]) -> Iterator[_Pair]:
    for one in rows:
        for other in rows:
            if other.is_dense and not one.is_dense and one.tasks == other.tasks:
                yield _settings_pair(one, other)


def _several_against_one(rows: Sequence[Row]) -> Iterator[_Pair]:
    for one in rows:
        for other in rows:
            if len(other.tasks) == 1 and other.tasks[0] in one.tasks != other.tasks and one.setting == other.setting:
                yield f"{one.setting}: {tasks_text(one.tasks)} against {other.tasks[0]} alone", one, other


def _settings_pair(one: Row, other: Row) -> _Pair:
    return f"{tasks_text(one.tasks)}: {one.setting} against {other.setting}", one, other


def _comparison(
    what: str, one: Row, other: Row, task: str, metric: str, is_good: bool, which: str
) -> Comparison | None:
    first, second = (row.metric(task, metric, which) for row in (one, other))
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    differences = [first[seed] - second[seed] for seed in seeds]
    mean = math.fsum(differences) / len(seeds)
    return Comparison(what, f"{task} {metric}", len(seeds), mean, (mean > 0) == is_good, paired_p(differences))


def paired_p(differences: Sequence[float]) -> float | None:
    """Returns the two-sided p value of a t-test that the mean of differences is 0."""
    if len(differences) < 2 or max(differences) - min(differences) <= 1e-12 * max(map(abs, differences)):
        return None
    try:
        from scipy import stats
    except ImportError as error:
        raise UserError("paired tests need SciPy: pip install -e '.[sweep]'") from error
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _with_holm(found: Sequence[Comparison]) -> list[Comparison]:
    order = sorted((one.p, index) for index, one in enumerate(found) if one.p is not None)
    corrected, largest = {}, 0.0
    for place, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - place)))
        corrected[index] = largest
    return [one._replace(p_holm=corrected.get(index)) for index, one in enumerate(found)]
