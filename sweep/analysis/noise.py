"""How much measurements of equal points differ: between engine starts, and within one.

All that one start measures shares its luck: the node, the autotuner's choices, where memory came to lie. Rows of one
start are therefore not independent, and 132 points of three starts are three pieces of evidence rather than 132. The
model, on logarithms so that noise is relative:

    log(metric) = mean of the point in its sweep + offset of the start + residual of the row

Both variances are pooled over all points of both sweeps, since no point alone has repeats enough. Each start's offset
is seen in the deviations of its rows from the means of their points. Those deviations are turned into independent
pieces (the eigenvectors of the starts' design, computed for each set of starts that share points), of which piece j has
the variance `between + within / size_j`. In a balanced design this is the analysis of variance, and t tests with it are
exact; in others it is weighted by what each piece is worth, and degrees of freedom are Satterthwaite's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

ASSUMED_NOISE = 0.025
"""Standard deviation between engine starts where no repeats tell it.

TensorRT-LLM's own performance CI calls a run after a merge a regression when it is 5 % below its baseline (10 % before
a merge; its perf_regression_utils.py). Taken as what 95 % of equal runs stay within, 5 % are two standard deviations.
It can be worse: one commit was told to be 14 % slower there, and then 28 % (its pull request 17630). All of it is taken
to be shared by the points of a start, which is the worst case for a whole sweep.
"""
ASSUMED_FROM = "TensorRT-LLM's performance CI takes a run that is 5 % below its baseline for a regression"

_ROUNDS = 5
"""Of weighting; the weights hardly change after the second."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noise:
    """Variances of the logarithms of one or more metrics, and how well they are known.

    start: covariance of a start's offset, shape (metrics, metrics). It holds `leak` times `within` too: an offset is
        never seen without the residuals of its rows. That makes it positive, whatever the luck of the estimate.
    within: covariance of a row's residual, of the same shape.
    start_df, within_df: degrees of freedom; infinite where it is assumed.
    assumed: whether `start` is an assumption and not an estimate.
    """

    start: Array
    within: Array
    leak: float
    start_df: float
    within_df: float
    assumed: bool

    @property
    def between_starts(self) -> float:
        """Standard deviation of the offset of a start, of the first metric, as a share; 0.015 is 1.5 %."""
        return float(max(self.start[0, 0] - self.leak * self.within[0, 0], 0.0) ** 0.5)

    @property
    def within_start(self) -> float:
        """Standard deviation of a row's residual, of the first metric, as a share."""
        return float(self.within[0, 0] ** 0.5)

    def errors(self, per_start: Any, per_row: Any) -> tuple[Array, Array]:
        """Return standard error and degrees of freedom of sums of the first metric's logarithms.

        per_start: for each sum, the squares of what each start weighs in it, added up.
        per_row: the same of each row.
        """
        import numpy as np

        starts = np.asarray(per_start, "float64") * self.start[0, 0]
        rows = np.maximum(np.asarray(per_row, "float64") - self.leak * np.asarray(per_start), 0) * self.within[0, 0]
        variance = starts + rows
        with np.errstate(divide="ignore", invalid="ignore"):
            df = variance**2 / (starts**2 / self.start_df + rows**2 / max(self.within_df, 1))
        return np.sqrt(variance), np.where(np.isfinite(df), df, np.inf)


def exact(metrics: int) -> Noise:
    """Return no noise at all, which is what predictions have."""
    return assumed(metrics, 0.0)


def assumed(metrics: int, between_starts: float, within: Array | None = None, within_df: float = 0.0) -> Noise:
    """Return noise of which the part between starts is assumed: a slow start is slow in all metrics alike."""
    import numpy as np

    return Noise(
        start=np.full((metrics, metrics), between_starts**2),
        within=np.zeros((metrics, metrics)) if within is None else within,
        leak=0.0,
        start_df=np.inf,
        within_df=within_df,
        assumed=True,
    )


def estimate(values: Array, point: Array, start: Array) -> Noise | None:
    """Return the noise that repeats show; None where no point was measured twice.

    Where all repeats of each point are of one start, only the residual can be estimated, and `start` is assumed to be
    ASSUMED_NOISE.

    values: logarithms, shape (rows, metrics); the first metric decides what each piece of evidence is worth.
    point, start: of each row the number of its point and of its start, both from 0 without gaps, shape (rows,).
    """
    import numpy as np

    points = int(point.max(initial=-1)) + 1
    deviations = values - _means(values, point, points)[point]
    pieces = list(_pieces(deviations, point, start))
    sizes = np.concatenate([size for size, _ in pieces]) if pieces else np.zeros(0)
    offsets = np.concatenate([offset for _, offset in pieces]) if pieces else np.zeros((0, values.shape[1]))
    within_df = len(values) - points - len(sizes)
    if within_df <= 0 and not len(sizes):
        return None
    left = deviations.T @ deviations - (offsets * sizes[:, None]).T @ offsets
    within = left / within_df if within_df > 0 else np.zeros_like(left)
    np.fill_diagonal(within, np.maximum(within.diagonal(), 0.0))
    if not len(sizes):
        return assumed(values.shape[1], ASSUMED_NOISE, within, within_df)
    weights = _weights(offsets[:, 0] ** 2, sizes, within[0, 0])
    start_cov = (offsets * weights[:, None]).T @ offsets
    leak = float((weights / sizes).sum())
    expected = weights * (max(start_cov[0, 0] - leak * within[0, 0], 0.0) + within[0, 0] / sizes)
    total = float(expected.sum())
    return Noise(
        start=start_cov,
        within=within,
        leak=leak,
        start_df=total**2 / float((expected**2).sum()) if total > 0 else float(len(sizes)),
        within_df=float(max(within_df, 0)),
        assumed=False,
    )


def _means(values: Array, group: Array, groups: int) -> Array:
    import numpy as np

    counts = np.bincount(group, minlength=groups)
    sums = np.stack([np.bincount(group, column, minlength=groups) for column in values.T], axis=1)
    return np.asarray(sums / np.maximum(counts, 1)[:, None])


def _pieces(deviations: Array, point: Array, start: Array) -> Iterator[tuple[Array, Array]]:
    """Yield sizes (pieces,) and offsets (pieces, metrics) for each set of starts that share points.

    An offset is what a combination of starts is above the others, and its variance is `between + within / size`.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    points, starts = int(point.max(initial=-1)) + 1, int(start.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(point)), (point, points + start)), shape=(points + starts, points + starts))
    _, label = connected_components(edges, directed=False)
    order = np.argsort(label[point], kind="stable")
    bounds = np.flatnonzero(np.diff(label[point][order])) + 1
    for rows in np.split(order, bounds):
        those, column = np.unique(start[rows], return_inverse=True)
        if len(those) < 2:
            continue
        _, line = np.unique(point[rows], return_inverse=True)
        counts = np.zeros((line.max() + 1, len(those)))
        np.add.at(counts, (line, column), 1.0)
        design = np.diag(counts.sum(axis=0)) - counts.T @ (counts / counts.sum(axis=1, keepdims=True))
        sizes, vectors = np.linalg.eigh(design)
        seen = sizes > 1e-9 * sizes[-1]
        sums = np.stack([np.bincount(column, of_metric, len(those)) for of_metric in deviations[rows].T], axis=1)
        yield sizes[seen], (vectors[:, seen].T @ sums) / sizes[seen][:, None]


def _weights(squares: Array, sizes: Array, within: float) -> Array:
    """Return what each piece is worth for the variance between starts: the inverse of its own variance; sums to 1."""
    import numpy as np

    weights = sizes / sizes.sum()
    for _ in range(_ROUNDS):
        between = max(float(weights @ (squares - within / sizes)), 0.0)
        variance = between + within / sizes
        if not variance.max() > 0:
            break
        weights = variance.min() ** 2 / np.maximum(variance, 1e-300) ** 2
        weights = weights / weights.sum()
    return np.asarray(weights)


def two_sided(t: Any, df: Any) -> Array:
    """Return the chance of a t at least this far from 0 where nothing differs; without noise 0 or 1."""
    import numpy as np
    from scipy.special import ndtr, stdtr

    t, df = np.broadcast_arrays(np.abs(np.asarray(t, "float64")), np.asarray(df, "float64"))
    with np.errstate(invalid="ignore"):
        tails = np.where(np.isfinite(df), stdtr(np.where(np.isfinite(df), df, 1.0), -t), ndtr(-t))
    return np.asarray(2 * tails)


def quantile(share: float, df: Any) -> Array:
    """Return the t that this share of draws stays below."""
    import numpy as np
    from scipy.special import ndtri, stdtrit

    df = np.asarray(df, "float64")
    return np.asarray(np.where(np.isfinite(df), stdtrit(np.where(np.isfinite(df), df, 1.0), share), ndtri(share)))


def holm(p: Array) -> Array:
    """Return p adjusted so that the chance of any false alarm among all stays below what one is compared with."""
    import numpy as np

    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def benjamini_hochberg(p: Array) -> Array:
    """Return p adjusted so that the expected share of false ones among those that are told stays below the limit."""
    import numpy as np

    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted
