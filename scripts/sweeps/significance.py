"""Paired tests: whether two rows differ, over the seeds that both have.

The same seed starts two runs from the same backbone and shows them the same images in the same order, so their
difference has less noise than either. Of five seeds a t-test finds large effects alone: no difference found does not
mean none.
"""

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lim_jax.errors import UserError
from sweeps.rows import Row, tasks_text


class Comparison(NamedTuple):
    """A metric of two rows, or the mean of that over several combinations of tasks.

    Attributes:
      what: of which tasks and settings, for people.
      metric: "task metric".
      seeds: that all rows have.
      difference: the mean over them of the first row's metric less the second's.
      better: whether that is a gain.
      p: of the paired t-test, two-sided; None where fewer than two seeds, or no variation, allow none.
      p_holm: p corrected for the number of all comparisons of its kind (Holm); None likewise.
    """

    what: str
    metric: str
    seeds: int
    difference: float
    better: bool
    p: float | None
    p_holm: float | None = None


class _Pair(NamedTuple):
    """Two rows to compare.

    Attributes:
      what: for people.
      alike: the same for all combinations of tasks.
      one, other: the rows.
    """

    what: str
    alike: str
    one: Row
    other: Row


def comparisons(
    rows: Sequence[Row], metrics: dict[str, dict[str, bool]], which: str, against: str = ""
) -> list[Comparison]:
    """Returns sparse against dense of the same tasks, and several tasks against one of the same setting.

    First come the means over the combinations of tasks, where there are several, then each by itself; each of these
    kinds is corrected for its own number. A mean is taken within a seed, so that only seeds count as repeats.

    Args:
      rows: of a sweep.
      metrics: `{task: {metric: whether large values are good}}`, those to compare.
      which: results, as of `rows.of`.
      against: a setting: the others of the same tasks against this one are returned instead.

    Raises:
      UserError: no row has that setting.
    """
    kinds = [_against(rows, against)] if against else [_sparse_against_dense(rows), _several_against_one(rows)]
    flat = [(task, metric, good) for task, of_task in metrics.items() for metric, good in of_task.items()]
    found = [[one for group in _alike(pairs) for one in _tests(group, flat, which, 2)] for pairs in kinds]
    found += [[one for pair in pairs for one in _tests([pair], flat, which, 1)] for pairs in kinds]
    return [one for kind in found for one in _with_holm(kind)]


def _against(rows: Sequence[Row], setting: str) -> list[_Pair]:
    settings = list(dict.fromkeys(row.setting for row in rows))
    if setting not in settings:
        raise UserError(f"no row is {setting!r}; there are {'; '.join(settings)}")
    others = (row for row in rows if row.setting == setting)
    return [
        _same_tasks(one, other) for other in others for one in rows if one is not other and one.tasks == other.tasks
    ]


def _sparse_against_dense(rows: Sequence[Row]) -> list[_Pair]:
    return [
        _same_tasks(one, other)
        for one in rows
        for other in rows
        if other.is_dense and not one.is_dense and one.tasks == other.tasks
    ]


def _same_tasks(one: Row, other: Row) -> _Pair:
    settings = f"{one.setting} against {other.setting}"
    return _Pair(f"{tasks_text(one.tasks)}: {settings}", settings, one, other)


def _several_against_one(rows: Sequence[Row]) -> list[_Pair]:
    return [
        _Pair(
            f"{one.setting}: {tasks_text(one.tasks)} against {other.tasks[0]} alone",
            f"{one.setting}: together against alone",
            one,
            other,
        )
        for one in rows
        for other in rows
        if len(other.tasks) == 1 and other.tasks[0] in one.tasks != other.tasks and one.setting == other.setting
    ]


def _alike(pairs: Sequence[_Pair]) -> list[list[_Pair]]:
    groups: dict[str, list[_Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.alike, []).append(pair)
    return list(groups.values())


def _tests(
    group: Sequence[_Pair], metrics: Sequence[tuple[str, str, bool]], which: str, fewest: int
) -> Iterator[Comparison]:
    """Yields a comparison for each metric that at least `fewest` pairs of the group have: of one, or the mean."""
    for task, metric, is_good in metrics:
        pairs = [pair for pair in group if task in pair.one.tasks and task in pair.other.tasks]
        if len(pairs) >= fewest:
            first = pairs[0]
            what = first.what if len(pairs) == 1 else f"mean of {len(pairs)} combinations: {first.alike}"
            yield from _comparison(what, pairs, task, metric, is_good, which)


def _comparison(
    what: str, pairs: Sequence[_Pair], task: str, metric: str, is_good: bool, which: str
) -> Iterator[Comparison]:
    """Yields the comparison, of the seeds that all rows have; nothing without one."""
    values = [[row.metric(task, metric, which) for row in (pair.one, pair.other)] for pair in pairs]
    seeds = sorted(set.intersection(*({*first} & {*second} for first, second in values)))
    if not seeds:
        return
    differences = [statistics.fmean(first[seed] - second[seed] for first, second in values) for seed in seeds]
    mean = statistics.fmean(differences)
    is_gain = mean > 0 if is_good else mean < 0
    yield Comparison(what, f"{task} {metric}", len(seeds), mean, is_gain, paired_p(differences))


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
