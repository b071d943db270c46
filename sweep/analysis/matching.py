"""Which point of one sweep is which of another, and what else differs between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.analysis import rows as of
from sweep.analysis.rows import SAME_CLOCK
from sweep.errors import UsageError
from sweep.point import SETTINGS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Array = np.ndarray[Any, Any]

WORKLOAD = ("bench", "isl", "osl", "concurrency", "streaming", "modality")
"""Settings that say what is asked of the engine: points that differ in one of them are never each other's match."""

LAYOUT = ("tp", "pp", "ep", "attention_dp")
"""Settings that two sweeps often share in part; left out of a match only where they share no value at all."""

RAN_ON = ("gpu_name", "driver_version", "cuda_version", "image_digest", "trtllm_version")
"""What measurements ran on, beside their settings."""
CLOCKS = ("sm_clock_mhz", "memory_clock_mhz")
"""Compared as means; apart by more than SAME_CLOCK they are different clocks."""
PREDICTED_BY = ("predicted_as", "simulator_version", "db_version")
"""What predictions come from."""
OF_IMAGE = ("image_digest", "trtllm_version", "cuda_version")
"""Follows from the image, so it is no news where the setting `image` differs."""
WORDS = ("dtype", "quantization", "engine_backend", "scheduler_policy", "kv_cache_dtype")
"""What an engine reports in words of its own, which change with the image."""
OF_ENGINE = ("model", "engine")
"""Settings that change what the engine reports of itself in other words than the settings'."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Rows of two sweeps whose points are the same.

    points: one line per point, numbered from 0: settings as the first sweep has them, and `point_id` where it has one.
    a, b: the ok rows of these points; a_point, b_point: the number of each row's point.
    changed: settings that differ between the sweeps as a whole, with what each has.
    unmatched: settings of all other points, with `side` (a or b) and `why`.
    notes: what a reader must know.
    """

    points: pd.DataFrame
    a: pd.DataFrame
    b: pd.DataFrame
    a_point: Array
    b_point: Array
    changed: Mapping[str, tuple[str, str]]
    unmatched: pd.DataFrame
    notes: tuple[str, ...]

    def only(self, wanted: Array) -> Pairs:
        """Return the pairs of the points that are wanted, numbered anew."""
        import numpy as np

        number = np.cumsum(wanted) - 1
        in_a, in_b = wanted[self.a_point], wanted[self.b_point]
        return Pairs(
            points=self.points[wanted].reset_index(drop=True),
            a=self.a[in_a],
            b=self.b[in_b],
            a_point=number[self.a_point[in_a]],
            b_point=number[self.b_point[in_b]],
            changed=self.changed,
            unmatched=self.unmatched,
            notes=self.notes,
        )


def pair(a: pd.DataFrame, b: pd.DataFrame) -> Pairs:
    """Match the points of two sweeps: by `point_id`; where none is in both, by settings.

    By settings: what differs between the sweeps as wholes (another image, another number of requests) is left out of
    the match and told in `changed`, as long as no two points of one sweep then look the same; never a setting of the
    workload. A setting that one sweep does not know at all, as of imported reports, is left out too.

    Raises:
        UsageError: the rows have neither a point_id nor settings.
    """
    import numpy as np

    names = [name for name in SETTINGS if name in a.columns and name in b.columns]
    if not names and not ("point_id" in a.columns and "point_id" in b.columns):
        raise UsageError("the rows have neither a point_id nor settings to match them by")
    id_a, id_b = _identities(a, names), _identities(b, names)
    ok_a, ok_b = of.ok(a), of.ok(b)
    changed: dict[str, tuple[str, str]] = {}
    notes: list[str] = []
    key_a, key_b = id_a, id_b
    if not set(id_a[ok_a]) & set(id_b[ok_b]) and ok_a.any() and ok_b.any():
        points = [df[ok].loc[~_repeated(ids[ok]), names] for df, ok, ids in ((a, ok_a, id_a), (b, ok_b, id_b))]
        changed, left_out, notes = _changed(*points)
        key = [name for name in names if name not in changed and name not in left_out]
        key_a, key_b = _hashes(a, key), _hashes(b, key)
    several = _with_several(key_a[ok_a], id_a[ok_a]) | _with_several(key_b[ok_b], id_b[ok_b])
    in_b = set(key_b[ok_b]) - several
    number: dict[Any, int] = {}
    for key in key_a[ok_a]:
        if key in in_b:
            number.setdefault(key, len(number))
    point_a = np.array([number.get(key, -1) for key in key_a], int)
    point_b = np.array([number.get(key, -1) for key in key_b], int)
    rows_a, rows_b = ok_a & (point_a >= 0), ok_b & (point_b >= 0)
    kept = [*(["point_id"] if "point_id" in a.columns else []), *names]
    _, first = np.unique(point_a[rows_a], return_index=True)
    return Pairs(
        points=a[rows_a].iloc[first][kept].reset_index(drop=True),
        a=a[rows_a],
        b=b[rows_b],
        a_point=point_a[rows_a],
        b_point=point_b[rows_b],
        changed=changed,
        unmatched=_unmatched(a, b, key_a, key_b, number, several, kept),
        notes=tuple(notes),
    )


def _identities(df: pd.DataFrame, names: Sequence[str]) -> Array:
    import numpy as np

    if "point_id" not in df.columns:
        return _hashes(df, names)
    known = df["point_id"].notna().to_numpy(bool)
    if known.all():
        return df["point_id"].astype(object).to_numpy()
    return np.where(known, df["point_id"].astype(object).to_numpy(), _hashes(df, names))


def _hashes(df: pd.DataFrame, names: Sequence[str]) -> Array:
    """Return one text per row that is the same where all these columns are."""
    import pandas as pd

    plain = df[list(names)].astype("string").fillna("")
    return pd.util.hash_pandas_object(plain, index=False).astype(str).to_numpy(object)


def _with_several(key: Array, ids: Array) -> set[Any]:
    """Return the keys that stand for more than one point of a sweep."""
    import pandas as pd

    pairs = pd.DataFrame({"key": key, "id": ids}).drop_duplicates()
    return set(pairs["key"][pairs["key"].duplicated()])


def _repeated(ids: Array) -> Array:
    import pandas as pd

    return pd.Series(ids).duplicated().to_numpy(bool)


def _changed(a: pd.DataFrame, b: pd.DataFrame) -> tuple[dict[str, tuple[str, str]], list[str], list[str]]:
    """Return what differs between two sweeps as wholes, what one of them does not know, and notes.

    a, b: the settings of their points.
    """
    values = {name: tuple(set(df[name].astype("string").fillna("null")) for df in (a, b)) for name in a.columns}
    told = {name: (_told(in_a), _told(in_b)) for name, (in_a, in_b) in values.items()}
    unknown = [
        name
        for name, (in_a, in_b) in values.items()
        if not SETTINGS[name].optional and {"null"} in (in_a, in_b) and in_a != in_b
    ]
    apart = {name for name, (in_a, in_b) in values.items() if not in_a & in_b and name not in unknown}
    notes = [
        f"{name} is {told[name][0]} in A and {told[name][1]} in B, so no point of A is one of B."
        for name in WORKLOAD
        if name in apart
    ]
    if unknown:
        notes.append(f"Not known of one of the sweeps, so not compared: {', '.join(sorted(unknown))}.")
    key = [name for name in a.columns if name not in unknown]
    left_out: list[str] = []
    for name in key:
        differs = name in apart or (values[name][0] != values[name][1] and name not in LAYOUT)
        rest = [other for other in key if other not in (*left_out, name)]
        if differs and name not in WORKLOAD and not any(_repeated(_hashes(df, rest)).any() for df in (a, b)):
            left_out.append(name)
    found = _matches(a, b, [name for name in key if name not in left_out])
    for name in list(left_out):  # what is no hindrance stays in the match
        tried = [other for other in key if other not in left_out or other == name]
        if _matches(a, b, tried) == found:
            left_out.remove(name)
    return {name: told[name] for name in left_out}, unknown, notes


def _matches(a: pd.DataFrame, b: pd.DataFrame, key: Sequence[str]) -> int:
    return len(set(_hashes(a, key)) & set(_hashes(b, key)))


def _told(values: Collection[str]) -> str:
    return ", ".join(sorted(values)) if len(values) <= 3 else f"{len(values)} values"


def _unmatched(
    a: pd.DataFrame,
    b: pd.DataFrame,
    key_a: Array,
    key_b: Array,
    number: Mapping[str, int],
    several: Collection[str],
    kept: Sequence[str],
) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for side, other, df, key, other_df, other_key in (("a", "B", a, key_a, b, key_b), ("b", "A", b, key_b, a, key_a)):
        left = pd.DataFrame({"key": key, "ok": of.ok(df)}).reset_index(drop=True)
        left = left[left["ok"] & ~left["key"].isin(list(number))].drop_duplicates("key")
        if left.empty:
            continue
        ends = _ends(other_df, other_key, set(left["key"]))
        why = [
            "several points have these settings"
            if key in several
            else f"{ends[key]} in {other}"
            if key in ends
            else f"not in {other}"
            for key in left["key"]
        ]
        lines = df.reset_index(drop=True).loc[left.index, [name for name in kept if name in df.columns]]
        parts.append(lines.assign(side=side, why=why))
    if parts:
        return pd.concat(parts, ignore_index=True)
    return a[list(kept)].iloc[:0].assign(side=pd.Series(dtype="object"), why=pd.Series(dtype="object"))


def _ends(df: pd.DataFrame, key: Array, wanted: Collection[str]) -> dict[str, str]:
    """Return for each of these points how its last row that is not ok ended."""
    import pandas as pd

    if "status" not in df.columns:
        return {}
    kind = df["failure_kind"] if "failure_kind" in df.columns else pd.Series(pd.NA, index=df.index)
    ended = pd.DataFrame({"key": key, "status": df["status"].to_numpy(object), "kind": kind.to_numpy(object)})
    ended = ended[ended["key"].isin(list(wanted))].drop_duplicates("key", keep="last")
    kinds = ended["kind"].fillna("").astype(str)
    return {
        key: f"{status} ({kind})" if kind else str(status)
        for key, status, kind in zip(ended["key"], ended["status"], kinds, strict=True)
    }


def differences(pairs: Pairs, *, predicted: bool = False) -> list[dict[str, tuple[str, str]]]:
    """Return for each point what its rows ran on in one sweep and not in the other: column -> (in A, in B).

    What follows from a setting that differs is no news and left out; what is not known on one side is not different.

    predicted: both are predictions: what they come from counts, and not what they ran on.
    """
    found: list[dict[str, tuple[str, str]]] = [{} for _ in range(len(pairs.points))]
    for name in _texts(pairs, predicted):
        seen_a, seen_b = (_seen(df[name], point) for df, point in _sides(pairs))
        for point in seen_a.keys() & seen_b.keys():
            if seen_a[point] != seen_b[point]:
                found[point][name] = _told(seen_a[point]), _told(seen_b[point])
    for name in () if predicted else CLOCKS:
        if name in pairs.a.columns and name in pairs.b.columns:
            mean_a, mean_b = (df[name].groupby(point).mean().dropna() for df, point in _sides(pairs))
            ratio = (mean_a / mean_b).dropna()
            for point in ratio.index[(ratio > SAME_CLOCK) | (ratio < 1 / SAME_CLOCK)].tolist():
                found[point][name] = f"{mean_a[point]:,.0f}", f"{mean_b[point]:,.0f}"
    return found


def unknown(pairs: Pairs) -> list[str]:
    """Return what measurements ran on that nobody knows of at least one of the sweeps."""
    names = [name for name in (*RAN_ON, *CLOCKS) if name in pairs.a.columns or name in pairs.b.columns]
    return [name for name in names if any(name not in df or df[name].isna().all() for df in (pairs.a, pairs.b))]


def _sides(pairs: Pairs) -> tuple[tuple[pd.DataFrame, Array], ...]:
    return (pairs.a, pairs.a_point), (pairs.b, pairs.b_point)


def _texts(pairs: Pairs, predicted: bool) -> list[str]:
    names: tuple[str, ...] = PREDICTED_BY if predicted else RAN_ON
    if "image" in pairs.changed:
        names = tuple(name for name in names if name not in OF_IMAGE)
    if not predicted and not set(OF_ENGINE) & set(pairs.changed):
        skipped = {*pairs.changed, *WORKLOAD, "model", "gpu", "num_requests"}
        skipped |= set(WORDS) if "image" in pairs.changed else set()
        stated = dict.fromkeys((*SETTINGS, *WORDS))
        names = (*names, *(f"effective_{name}" for name in stated if name not in skipped))
    return [name for name in names if name in pairs.a.columns and name in pairs.b.columns]


def _seen(column: pd.Series, point: Array) -> dict[int, frozenset[str]]:
    import pandas as pd

    seen = pd.DataFrame({"point": point, "value": column.astype("string").to_numpy(object)}).dropna().drop_duplicates()
    found: Any = seen.groupby("point")["value"].agg(frozenset).to_dict()
    return dict(found)
