"""Tests of two sweeps as wholes: is the one faster than the other, and not only its luckiest point?

Three questions per group of points (ISL/OSL): the geometric mean of the ratios; the hypervolume of the Pareto front,
that is the area under it; and the throughput that the front gives at fixed interactivities. The first is a plain sum of
logarithms, and its error follows from the noise. The front is a maximum over points, so noise alone lifts it, the more
the fewer repeats a sweep has. Therefore both sweeps are drawn many times as they would come out if nothing differed
(both around their common mean, each with its own repeats and starts): the mean of those draws is what noise adds, their
spread is the error. All tests together are held to one level by Holm's correction, which needs no independence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.analysis.front import areas
from sweep.analysis.interpolation import along_front
from sweep.analysis.measurements import Side
from sweep.analysis.noise import Noise, holm, quantile, two_sided

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

DRAWS = 200
"""Of both sweeps as they would come out if nothing differed; the error of a front is then known to 5 %."""
SPLINES = 100
"""Of these draws, for how many the throughput at an interactivity is computed: one spline takes 0.2 ms."""
SEED = 20250711
"""Of the draws, so that the same tables give the same answer."""
LEVELS = (0.25, 0.5, 0.75)
"""Where on the common front, on a logarithmic scale of interactivity, throughput is compared by default."""
POWER = 0.8
"""Chance with which a change as large as `detectable` is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One question to two sweeps as wholes.

    group: number of the group of points; None where all are asked together.
    at: interactivity of a throughput; None for the other questions.
    points: how many are asked.
    a, b: what each sweep has.
    change: logarithm of b / a, less what noise alone adds; error: its standard error; df: degrees of freedom.
    """

    group: int | None
    what: str
    at: float | None
    points: int
    a: float
    b: float
    change: float
    error: float
    df: float


GEOMETRIC_MEAN, HYPERVOLUME, THROUGHPUT_AT = "geometric mean", "hypervolume", "throughput at"


def means(a: Side, b: Side, groups: Sequence[Array], noise: Noise) -> Iterator[Test]:
    """Yield the test of the geometric mean of each group, and of all points where there are several groups.

    groups: numbers of the points of each.
    """
    import numpy as np

    points = sum(len(group) for group in groups)
    mean_a, mean_b = a.means(points)[:, 0], b.means(points)[:, 0]
    wanted: list[tuple[int | None, Array]] = list(enumerate(groups))
    if len(groups) > 1:
        wanted.append((None, np.concatenate(groups)))
    for number, group in wanted:
        weights = np.zeros(points)
        weights[group] = 1 / len(group)
        per_start, per_row = np.add(a.spreads(weights), b.spreads(weights))
        error, df = noise.errors(per_start, per_row)
        log_a, log_b = float(weights @ mean_a), float(weights @ mean_b)
        yield Test(
            group=number,
            what=GEOMETRIC_MEAN,
            at=None,
            points=len(group),
            a=float(np.exp(log_a)),
            b=float(np.exp(log_b)),
            change=log_b - log_a,
            error=float(error),
            df=float(df),
        )


def fronts(
    a: Side, b: Side, groups: Mapping[int, Array], noise: Noise, levels: Sequence[float] | None = None
) -> Iterator[Test]:
    """Yield the tests of the front of each group: its hypervolume, and throughput at fixed interactivities.

    Sides and noise have two metrics, throughput and interactivity, and every point has rows in both sides.

    groups: number of the group -> numbers of its points.
    levels: interactivities; by default LEVELS of the common front, to two digits. One that lies outside of a front is
        passed over.
    """
    import numpy as np

    points = sum(len(group) for group in groups.values())
    means = np.stack([a.means(points), b.means(points)])
    counts = np.stack([a.counts(points), b.counts(points)])[:, :, None]
    common = (means * counts).sum(axis=0) / counts.sum(axis=0)
    rng = np.random.default_rng(SEED)
    drawn = [common + side.drawn(noise, points, DRAWS, rng) for side in (a, b)]
    for number, group in groups.items():
        seen = np.exp(means[:, group])
        null = [np.exp(side[:, group]) for side in drawn]
        of_group = areas(seen[..., 1], seen[..., 0])
        of_null = np.log(areas(null[1][..., 1], null[1][..., 0]) / areas(null[0][..., 1], null[0][..., 0]))
        yield _test(number, HYPERVOLUME, None, len(group), of_group, of_null, noise)
        wanted = np.asarray(_levels(np.exp(common[group])) if levels is None else levels, "float64")
        found = np.stack([_throughput(side, wanted) for side in seen])
        if not np.isfinite(found).all(axis=0).any():
            continue
        at_null = np.stack([np.stack([_throughput(draw, wanted) for draw in side[:SPLINES]]) for side in null])
        for place, level in enumerate(wanted):
            with np.errstate(invalid="ignore"):
                ratio = np.log(at_null[1, :, place] / at_null[0, :, place])
            if np.isfinite(found[:, place]).all() and np.isfinite(ratio).mean() > 0.5:
                known = ratio[np.isfinite(ratio)]
                yield _test(number, THROUGHPUT_AT, float(level), len(group), found[:, place], known, noise)


def _test(number: int, what: str, at: float | None, points: int, seen: Array, null: Array, noise: Noise) -> Test:
    import numpy as np

    a, b = float(seen[0]), float(seen[1])
    return Test(
        group=number,
        what=what,
        at=at,
        points=points,
        a=a,
        b=b,
        change=float(np.log(b / a) - null.mean()),
        error=float(null.std()),
        df=noise.start_df,
    )


def _levels(points: Array) -> list[float]:
    """Return interactivities inside of the front of these points, to two digits."""
    import numpy as np

    xs = _front(points)[:, 1]
    logs = np.log(xs[0]) + np.asarray(LEVELS) * np.log(xs[-1] / xs[0])
    rounded = [float(f"{level:.2g}") for level in np.exp(logs)]
    return sorted({level for level in rounded if xs[0] <= level <= xs[-1]})


def _front(points: Array) -> Array:
    """Return the points, as (throughput, interactivity), that none beats, by rising interactivity."""
    import numpy as np

    down = points[np.lexsort((-points[:, 0], -points[:, 1]))]
    highest = np.maximum.accumulate(down[:, 0])
    rises = np.ones(len(down), bool)
    rises[1:] = highest[1:] > highest[:-1]
    return np.asarray(down[rises][::-1])


def _throughput(points: Array, levels: Array) -> Array:
    front = _front(points)
    return along_front(front[:, 1], front[:, 0], levels)


def judged(tests: Sequence[Test], alpha: float) -> dict[str, Array]:
    """Return columns for the tests: intervals, chances, and the smallest change that would have been found."""
    import numpy as np

    change, error, df = (np.array([getattr(test, name) for test in tests]) for name in ("change", "error", "df"))
    p = chances(change, error, df)
    width = quantile(1 - alpha / 2, df) * error
    found_from = quantile(1 - alpha / 2 / max(len(tests), 1), df) + quantile(POWER, df)
    return {
        "ratio": np.exp(change),
        "ratio_low": np.exp(change - width),
        "ratio_high": np.exp(change + width),
        "detectable": 1 - np.exp(-found_from * error),
        "p": p,
        "p_adjusted": holm(p),
    }


def chances(change: Array, error: Array, df: Array) -> Array:
    """Return two-sided p; where there is no noise, 0 for what differs and 1 for what does not."""
    import numpy as np

    differs = np.abs(change) > 1e-9  # less is the arithmetic's
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, change / error, np.where(differs, np.inf, 0.0))
    return two_sided(t, df)
