"""Two sweeps side by side: what became faster or slower, as a whole and point by point."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sweep.analysis import bounds, matching, measurements, prediction, whole
from sweep.analysis import noise as noises
from sweep.analysis import rows as of
from sweep.analysis.direction import is_throughput, less_is_better
from sweep.analysis.matching import Pairs
from sweep.analysis.noise import Noise
from sweep.errors import UsageError, nearest
from sweep.point import SETTINGS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]

GROUPS = ("model", "bench", "isl", "osl")
"""What makes a group where nothing else is asked."""
INTERACTIVITY = ("tps_per_user", "tps_per_user_e2e")
"""The x of the front: the first that both sweeps have; without streaming only end-to-end times are known."""


class Verdict(StrEnum):
    """What a comparison finds, of a point or of a whole sweep: b beside a."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    MIXED = "mixed"
    """Of whole sweeps: some questions say faster, some slower."""
    NOT_COMPARABLE = "not comparable"
    PREDICTION = "prediction"
    """One is measured and the other predicted: the prediction may be off, but neither is faster."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """What `compare` finds.

    verdict: of the sweep as a whole; `same` means that no difference was found, and `tests.detectable` says how large
        it could still be.
    metric: the column that is compared.
    rows: one line per point that is in both, numbered from 0: its settings; `rows_a`, `rows_b`, `starts_a`, `starts_b`,
        how many measurements and engine starts there are; `a`, `b`, geometric means of the metric; `ratio` = b / a
        with a 95 % interval `ratio_low`, `ratio_high`; `p`, and `q`, adjusted over the table; `verdict`; `differs`,
        what it ran on that is not the same. Where the metric is a P99 or P95, `a_at_most` and `b_at_most` are means of
        the maximum where `a` or `b` is NaN for lack of requests: bounds, with which nothing is computed. Of a
        prediction: `measured_METRIC`, `predicted_METRIC` and `ratio` = predicted / measured of the metric.
    tests: one line per question to the whole: columns of the group (null: all), `test`, `at` (tokens/s/user), `points`,
        `a`, `b`, `ratio` (less what noise alone lifts a front by), `ratio_low`, `ratio_high`, `detectable` (share; the
        change that would be found with a chance of 80 %), `p`, `p_adjusted`, `verdict`. Of a prediction: its errors,
        see `sweep.analysis.prediction.errors`.
    unmatched: settings of the points that are not in both, `side` (a or b), `why`.
    changed: settings that differ between the sweeps as wholes, with what each has.
    noise: what was found or assumed; None of a prediction and where nothing was compared.
    notes: sentences that a reader must know.
    """

    verdict: Verdict
    metric: str
    rows: pd.DataFrame
    tests: pd.DataFrame
    unmatched: pd.DataFrame
    changed: Mapping[str, tuple[str, str]]
    noise: Noise | None
    notes: tuple[str, ...]

    @property
    def regressed(self) -> bool:
        """Whether any question to the whole sweep says slower."""
        return self.verdict in (Verdict.SLOWER, Verdict.MIXED)


def compare(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    metric: str = "output_tput_per_gpu",
    by: str | Sequence[str] = GROUPS,
    at: float | Sequence[float] | None = None,
    noise: float | None = None,
    allow: str | Collection[str] = (),
    alpha: float = 0.05,
) -> Comparison:
    """Say what is faster and what is slower in b than in a, and how sure that is.

    Points are matched by their settings; where all points of one sweep differ from the other in a setting (another
    image), that is left out of the match and told in `changed`. Points whose rows ran on something else beside that
    (another driver, other clocks, another engine configuration than was asked for) are not comparable, unless `allow`
    names it. Statistics are on logarithms, with noise that the points of an engine start (`deployment_id`) share and
    noise of each row, both pooled over all points; see `sweep/analysis/noise.py`. Rows are adjusted by
    Benjamini-Hochberg. The verdict is that of the whole: geometric means per group and, of a throughput, the front's
    hypervolume and throughput at fixed interactivities, held to one level by Holm's method, so that of equal sweeps at
    most a share `alpha` looks different. Without repeats noise is assumed, and `notes` says so.

    Measured rows against simulated ones give the errors of the prediction and no verdict.

    Args:
        a, b: rows of `sweep.load` of one source each; rows that are not ok only say why a point is missing.
        metric: the column that is compared. Of latencies, times, costs, energy, failures less is better; of settings
            and counts neither, so they are only held against a prediction.
        by: settings whose values make a group, where both have them.
        at: interactivities, in tokens/s/user, at which throughput is compared; by default three of the common front.
        noise: standard deviation between engine starts, as a share, in place of what repeats show; 0.02 is 2 %.
        allow: columns that may differ, such as `driver_version`.
        alpha: chance of calling equal sweeps different.

    Raises:
        UsageError: a column is missing, the metric is no number or neither more nor less of it is better, one of a and
            b has both measured and simulated rows, or `by`, `at`, `noise`, `allow` or `alpha` is not as said above.

    Example:
        >>> import pandas
        >>> a = pandas.DataFrame({
        ...     "isl": 1024, "osl": 1024, "concurrency": [4, 64] * 3, "deployment_id": list("uuvvww"),
        ...     "output_tput_per_gpu": [100.0, 800.0, 101.0, 806.0, 99.0, 794.0],
        ... })
        >>> found = compare(a, a.assign(output_tput_per_gpu=a.output_tput_per_gpu * 0.9))
        >>> found.verdict.value, found.rows.ratio.round(3).tolist(), found.rows.verdict.tolist()
        ('slower', [0.9, 0.9], ['slower', 'slower'])
    """
    import numpy as np

    by, allow = of.names(by), of.names(allow)
    levels = None if at is None else of.levels(at, "at").tolist()
    if levels is not None and not all(map(math.isfinite, levels)):
        raise UsageError(f"at must have one or more finite numbers, not {at!r}")
    _check(a, b, metric, by, noise, allow, alpha)
    source_a, source_b = _source(a, "a"), _source(b, "b")
    pairs = matching.pair(a, b)
    keys = [name for name in by if name in pairs.points.columns and name not in pairs.changed]
    if source_a != source_b:
        told = _predicted_as(a, b)
        return _prediction(pairs, keys, metric, measured_is_a=source_b == "simulated", told=told)
    predicted = source_a == "simulated"
    sign = -1.0 if less_is_better(metric) else 1.0
    differs = matching.differences(pairs, predicted=predicted)
    blocked = [sorted(found.keys() - set(allow)) for found in differs]
    table = pairs.points.assign(**_measured(pairs, metric))
    usable = measurements.complete(pairs, [metric]) & ~np.array([bool(names) for names in blocked], bool)
    notes = [*_predicted_as(a, b), *pairs.notes, *_notes(pairs, usable, table, predicted)]
    found: Noise | None = None
    tests = _no_tests(keys)
    columns = {name: np.full(len(table), np.nan) for name in ("ratio", "ratio_low", "ratio_high", "p", "q")}
    if usable.any():
        kept = pairs.only(usable)
        found, said = _noise(kept, metric, noise, predicted)
        notes.append(said)
        for name, values in _row_tests(kept, metric, found, alpha).items():
            columns[name][usable] = values
        tests = _whole_tests(kept, keys, metric, found, alpha, levels, noise, predicted)
        notes += _not_asked(tests, metric, levels)
    table = table.assign(**columns)
    table["verdict"] = [
        _verdict(ratio, q, alpha, sign) if use else Verdict.NOT_COMPARABLE.value
        for ratio, q, use in zip(table["ratio"], table["q"], usable, strict=True)
    ]
    if (most := bounds.maximum_of(metric)) in a.columns and most in b.columns:
        bound = _measured(pairs, str(most))
        for side in ("a", "b"):
            table[bounds.column_of(side)] = np.where(np.isnan(table[side]), bound[side], np.nan)
    table["differs"] = [
        "; ".join(f"{name} {one} → {other}" for name, (one, other) in sorted(names.items())) for names in differs
    ]
    return Comparison(
        verdict=_of_whole(tests),
        metric=metric,
        rows=table,
        tests=tests,
        unmatched=pairs.unmatched,
        changed=pairs.changed,
        noise=found,
        notes=tuple(notes),
    )


def _check(
    a: pd.DataFrame,
    b: pd.DataFrame,
    metric: str,
    by: Collection[str],
    noise: float | None,
    allow: Collection[str],
    alpha: float,
) -> None:
    of.numbers(a, metric)
    of.numbers(b, metric)
    for name in by:
        if name not in SETTINGS:
            raise UsageError(f"by: {name} is no setting, and groups are made of settings{nearest(name, SETTINGS)}")
        if tuple(by) != GROUPS and name not in a.columns and name not in b.columns:
            raise UsageError(f"by: neither a nor b has a column {name}")
    if noise is not None and not (of.is_number(noise) and 0 <= noise < 1):
        raise UsageError(f"noise must be a share from 0 to 1, such as 0.02 for 2 %, not {noise!r}")
    if not (of.is_number(alpha) and 0 < alpha < 1):
        raise UsageError(f"alpha must be a share between 0 and 1, such as 0.05, not {alpha!r}")
    for name in allow:
        known = {*matching.RAN_ON, *matching.CLOCKS, *matching.PREDICTED_BY}
        if name not in known and not name.startswith("effective_"):
            raise UsageError(f"{name} is nothing that can be allowed to differ{nearest(name, known)}")


def _source(df: pd.DataFrame, side: str) -> str:
    if "source" not in df.columns:
        return "measured"
    sources = sorted(df.loc[of.ok(df), "source"].dropna().unique())
    if len(sources) > 1:
        raise UsageError(
            f"{side} has rows that are {' and '.join(sources)}; take one: {side}[{side}.source == 'measured']"
        )
    return str(sources[0]) if sources else "measured"


def _measured(pairs: Pairs, metric: str) -> dict[str, Any]:
    """Return how many measurements of each point there are, and their geometric means."""
    import numpy as np
    import pandas as pd

    found: dict[str, Any] = {}
    for side, df, point in (("a", pairs.a, pairs.a_point), ("b", pairs.b, pairs.b_point)):
        start = measurements.labels(df, point)
        of_point = pd.DataFrame({"point": point, "start": start, "log": measurements.logs(df, metric)}).groupby("point")
        index = range(len(pairs.points))
        found[f"rows_{side}"] = of_point["log"].count().reindex(index, fill_value=0).to_numpy()
        found[f"starts_{side}"] = of_point["start"].nunique().reindex(index, fill_value=0).to_numpy()
        found[side] = np.exp(of_point["log"].mean().reindex(index).to_numpy())
    return found


def _noise(pairs: Pairs, metric: str, given: float | None, predicted: bool) -> tuple[Noise, str]:
    found = measurements.noise_of(*measurements.sides(pairs, [metric]), given, predicted)
    shares = f"{found.between_starts:.1%} between engine starts, {found.within_start:.1%} within one"
    if given is not None:
        return found, f"Noise as given: {given:.1%} between engine starts."
    if predicted:
        return found, "Both are predictions, not measurements; a prediction repeats exactly, so no noise is assumed."
    if not found.assumed:
        return found, f"Noise from repeats: {shares} ({found.start_df:.0f} degrees of freedom)."
    why = "All repeats of a point are of one engine start" if found.within_df > 0 else "No point has a repeat"
    return (
        found,
        f"{why}, so noise is ASSUMED: {shares}, because {noises.ASSUMED_FROM}. Set it with noise=... or --noise.",
    )


def _row_tests(pairs: Pairs, metric: str, noise: Noise, alpha: float) -> dict[str, Array]:
    import numpy as np

    points = len(pairs.points)
    sides = measurements.sides(pairs, [metric])
    change = sides[1].means(points)[:, 0] - sides[0].means(points)[:, 0]
    per_start = sum(np.asarray(side.shares(points).power(2).sum(axis=1)).ravel() for side in sides)
    error, df = noise.errors(per_start, sum(1 / side.counts(points) for side in sides))
    width = noises.quantile(1 - alpha / 2, df) * error
    p = whole.chances(change, error, df)
    return {
        "ratio": np.exp(change),
        "ratio_low": np.exp(change - width),
        "ratio_high": np.exp(change + width),
        "p": p,
        "q": noises.benjamini_hochberg(p),
    }


def _whole_tests(
    pairs: Pairs,
    keys: Sequence[str],
    metric: str,
    noise: Noise,
    alpha: float,
    at: Sequence[float] | None,
    given: float | None,
    predicted: bool,
) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    group = of.group_numbers(pairs.points, keys)
    groups = [np.flatnonzero(group == number) for number in range(int(group.max()) + 1)]
    tests = list(whole.means(*measurements.sides(pairs, [metric]), groups, noise))
    sign = -1.0 if less_is_better(metric) else 1.0
    x = _interactivity(pairs, metric) if is_throughput(metric) else None
    if x is not None:
        seen = measurements.complete(pairs, [metric, x])
        place = np.cumsum(seen) - 1
        with_x = {number: place[points[seen[points]]] for number, points in enumerate(groups) if seen[points].any()}
        both = measurements.sides(pairs.only(seen), [metric, x])
        tests += whole.fronts(*both, with_x, measurements.noise_of(*both, given, predicted), at)
    judged = whole.judged(tests, alpha)
    first = [pairs.points.loc[points[0], list(keys)].to_dict() for points in groups]
    unknown = dict.fromkeys(keys, pd.NA)
    lines = [
        (unknown if test.group is None else first[test.group])
        | {"test": test.what, "at": test.at, "points": test.points, "a": test.a, "b": test.b}
        for test in tests
    ]
    table = pd.DataFrame(lines).assign(**judged).astype({"at": "float64"})
    table["verdict"] = [
        _verdict(ratio, p, alpha, sign) for ratio, p in zip(table["ratio"], table["p_adjusted"], strict=True)
    ]
    order = [len(groups) if test.group is None else test.group for test in tests]
    return table.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def _interactivity(pairs: Pairs, metric: str) -> str | None:
    names = [name for name in INTERACTIVITY if name != metric and name in pairs.a.columns and name in pairs.b.columns]
    return next((name for name in names if measurements.complete(pairs, [metric, name]).any()), None)


def _verdict(ratio: float, p: float, alpha: float, sign: float) -> str:
    if not p <= alpha:
        return Verdict.SAME.value
    return Verdict.FASTER.value if math.log(ratio) * sign > 0 else Verdict.SLOWER.value


def _of_whole(tests: pd.DataFrame) -> Verdict:
    said = set(tests["verdict"])
    if not said:
        return Verdict.NOT_COMPARABLE
    told = said - {Verdict.SAME.value}
    return Verdict.MIXED if len(told) > 1 else Verdict(*told) if told else Verdict.SAME


def _no_tests(keys: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    numbers = ["a", "b", "ratio", "ratio_low", "ratio_high", "detectable", "p", "p_adjusted"]
    return pd.DataFrame(columns=[*keys, "test", "at", "points", *numbers, "verdict"])


def _notes(pairs: Pairs, usable: Array, table: pd.DataFrame, predicted: bool) -> list[str]:
    notes = []
    if len(table) and (left := int((~usable).sum())):
        notes.append(f"{left} of {len(table)} points that are in both are not comparable.")
    if len(table) and not predicted and (names := matching.unknown(pairs)):
        notes.append(f"Not known of both sweeps, so it may differ: {', '.join(names)}.")
    if not len(table):
        notes.append("No point is in both.")
    return notes


def _not_asked(tests: pd.DataFrame, metric: str, at: Sequence[float] | None) -> list[str]:
    """Return what became of interactivities that were asked for and have no throughput."""
    told = set(tests["at"].dropna())
    missing = ", ".join(f"{level:g}" for level in at or () if level not in told)
    if not missing:
        return []
    if not is_throughput(metric):
        return [f"{metric} is no throughput, so it has no front, and nothing to say at {missing} tok/s/user."]
    return [f"No group has a throughput at {missing} tok/s/user: that lies outside of its fronts."]


def _predicted_as(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    """Return of which models the predictions are those of another one."""
    sides: dict[str, list[str]] = {}
    for side, df in (("A", a), ("B", b)):
        for model, name in prediction.stand_ins(df[of.ok(df)]).items():
            sides.setdefault(f"{model} is predicted as {name}", []).append(side)
    return [f"In {' and '.join(of_sides)}, {sentence}." for sentence, of_sides in sides.items()]


def _prediction(
    pairs: Pairs, keys: Sequence[str], metric: str, *, measured_is_a: bool, told: Sequence[str]
) -> Comparison:
    import numpy as np
    import pandas as pd

    sides = {"measured": (pairs.a, pairs.a_point), "predicted": (pairs.b, pairs.b_point)}
    if not measured_is_a:
        sides = {"measured": sides["predicted"], "predicted": sides["measured"]}
    metrics = [
        name
        for name in dict.fromkeys((metric, *prediction.METRICS))
        if name in pairs.a.columns and name in pairs.b.columns
    ]
    table = pairs.points.copy()
    for name in metrics:
        for what, (df, point) in sides.items():
            means = pd.Series(measurements.logs(df, name)).groupby(point).mean().reindex(range(len(table)))
            table[f"{what}_{name}"] = np.exp(means.to_numpy())
    table["ratio"] = table[f"predicted_{metric}"] / table[f"measured_{metric}"]
    table["verdict"] = Verdict.PREDICTION.value
    return Comparison(
        verdict=Verdict.PREDICTION if len(table) else Verdict.NOT_COMPARABLE,
        metric=metric,
        rows=table,
        tests=prediction.errors(table, keys, metrics),
        unmatched=pairs.unmatched,
        changed=pairs.changed,
        noise=None,
        notes=(*told, *pairs.notes, *([] if len(table) else ["No point is in both."])),
    )
