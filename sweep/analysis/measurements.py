"""The measurements of two sweeps as numbers: logarithms of each row, with its point and its engine start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.analysis import noise as noises
from sweep.analysis import rows as of
from sweep.analysis.matching import Pairs
from sweep.analysis.noise import Noise

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """The measurements of one sweep.

    values: logarithms, shape (rows, metrics): of what is compared, then of the interactivity where there is one.
    point: of each row the number of its point, shape (rows,); both sweeps number them alike.
    start: of each row the number of its engine start, from 0 without gaps, shape (rows,).
    """

    values: Array
    point: Array
    start: Array

    def counts(self, points: int) -> Array:
        """Return how many rows each point has."""
        import numpy as np

        return np.bincount(self.point, minlength=points)

    def means(self, points: int) -> Array:
        """Return the mean of each point, shape (points, metrics); NaN where it has no row."""
        import numpy as np

        sums = np.stack([np.bincount(self.point, column, points) for column in self.values.T], axis=1)
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / self.counts(points)[:, None])

    def shares(self, points: int) -> Any:
        """Return what share of a point's mean each start has, a sparse matrix of shape (points, starts)."""
        import numpy as np
        from scipy.sparse import coo_array

        weight = 1 / self.counts(points)[self.point]
        return coo_array((weight, (self.point, self.start)), shape=(points, int(np.max(self.start)) + 1)).tocsr()

    def spreads(self, weights: Array) -> tuple[float, float]:
        """Return the squares that starts, and rows, weigh in the weighted sum of the points' means, added up."""
        import numpy as np

        counts = self.counts(len(weights))
        of_rows = np.divide(weights**2, counts, out=np.zeros(len(weights)), where=counts > 0)
        return float(((self.shares(len(weights)).T @ weights) ** 2).sum()), float(of_rows.sum())

    def drawn(self, noise: Noise, points: int, draws: int, rng: np.random.Generator) -> Array:
        """Return errors of the points' means, drawn from the noise, shape (draws, points, metrics)."""
        import numpy as np

        shares, metrics = self.shares(points), self.values.shape[1]
        offsets = noise.start - noise.leak * noise.within  # the residuals in it are drawn with the rows
        starts = _correlated(offsets, (draws, shares.shape[1]), rng)
        flat = shares @ starts.transpose(1, 0, 2).reshape(shares.shape[1], draws * metrics)
        rows = _correlated(noise.within, (draws, points), rng) / np.sqrt(self.counts(points))[None, :, None]
        return np.asarray(flat.reshape(points, draws, metrics).transpose(1, 0, 2) + rows)


def _correlated(covariance: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return draws of this covariance; what luck made negative in it counts as nothing."""
    import numpy as np

    sizes, vectors = np.linalg.eigh(covariance)
    return np.asarray(rng.standard_normal((*shape, len(sizes))) * np.sqrt(np.maximum(sizes, 0)) @ vectors.T)


def logs(df: pd.DataFrame, name: str) -> Array:
    """Return the logarithms of a column; NaN of what is unknown, infinite or not positive.

    Raises:
        UsageError: the column holds no numbers.
    """
    import numpy as np

    values = of.numbers(df, name)
    return np.log(np.where(values > 0, values, np.nan))


def complete(pairs: Pairs, names: Sequence[str]) -> Array:
    """Return for each point whether both sweeps have a row of it in which all of these metrics are known."""
    import numpy as np

    points = len(pairs.points)
    return np.asarray(np.all([side.counts(points) > 0 for side in sides(pairs, names)], axis=0))


def sides(pairs: Pairs, names: Sequence[str]) -> tuple[Side, Side]:
    """Return of both sweeps the rows in which all of these metrics are known."""
    import numpy as np

    made = []
    for df, point in ((pairs.a, pairs.a_point), (pairs.b, pairs.b_point)):
        values = np.stack([logs(df, name) for name in names], axis=1)
        known = np.isfinite(values).all(axis=1)
        _, start = np.unique(labels(df, point)[known], return_inverse=True)
        made.append(Side(values=values[known], point=point[known], start=start))
    return made[0], made[1]


def labels(df: pd.DataFrame, point: Array) -> Array:
    """Return for each row the number of its engine start.

    A start is a `deployment_id`. Where nobody knows it (imported rows), all first rows of an engine's points count as
    one start, all second ones as another: the careful guess, since shared noise is what makes whole sweeps look worse
    or better than they are.
    """
    import numpy as np
    import pandas as pd

    nth = pd.Series(point).groupby(point).cumcount().to_numpy()
    engine = (
        df["engine_id"].astype("string").fillna("").to_numpy() if "engine_id" in df.columns else np.full(len(df), "")
    )
    guess = pd.Series([f"{name} {number}" for name, number in zip(engine, nth, strict=True)], dtype="string")
    if "deployment_id" not in df.columns:
        known = pd.Series(pd.NA, index=guess.index, dtype="string")
    else:
        known = df["deployment_id"].astype("string").reset_index(drop=True)
    found, _ = pd.factorize(known.fillna(guess))
    return np.asarray(found)


def noise_of(a: Side, b: Side, given: float | None, predicted: bool) -> Noise:
    """Return the noise of two sides together; every point and start of b is another than those of a."""
    import numpy as np

    metrics = a.values.shape[1]
    if given is not None:
        return noises.assumed(metrics, given)
    if predicted:
        return noises.exact(metrics)
    _, point = np.unique(np.concatenate([a.point * 2, b.point * 2 + 1]), return_inverse=True)
    start = np.concatenate([a.start, b.start + a.start.max() + 1])
    return noises.estimate(np.concatenate([a.values, b.values]), point, start) or noises.assumed(
        metrics, noises.ASSUMED_NOISE
    )
