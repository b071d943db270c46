"""What one setting does: rows that differ in it and in nothing else, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from sweep.figures.rows import LAYOUT, LOAD, layout_name, plain, varied

if TYPE_CHECKING:
    import pandas as pd

GO_ALONG = ("num_requests", "max_batch_size", "max_num_tokens", "max_seq_len")
"""Settings that follow from others in most sweeps; rows that differ in them too are still compared, and it is said."""
MOST_LAYOUTS = 8
"""With more layouts than this, only the most frequent are held against each other."""

_WORDS = {"tp": "TP", "pp": "PP", "ep": "EP", "attention_dp": "attention DP", "kv_cache_dtype": "KV cache"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One change of one setting.

    name: what changes, for people: `EP 1 → 4`.
    at: what both have in common of their layout, where that is what changes; else empty.
    along: settings that differ too in some of the pairs.
    pairs: positions of two rows: before and after the change.
    """

    setting: str
    name: str
    at: str
    along: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


def effects(frame: pd.DataFrame) -> list[Effect]:
    """Return every single change that some pair of ok rows shows, layouts first.

    A row stands for its point: of several repeats the first is named. Rows of two sources, images or models are never a
    pair, unless that is the setting that changes.

    Args:
        frame: rows of `sweep.load`, with a RangeIndex; positions in the answer are positions in it.
    """
    ok = frame[frame["status"].eq("ok")].drop_duplicates(["point_id", "source"])
    vary = varied(ok)
    found = list(_of_layouts(ok, vary))
    for name in vary:
        if name not in (*LAYOUT, *LOAD):
            found += _of_setting(ok, name, vary)
    return sorted((effect for effect in found if effect.pairs), key=lambda effect: effect.setting not in LAYOUT)


def _of_setting(ok: pd.DataFrame, name: str, vary: Sequence[str]) -> Iterator[Effect]:
    ok = ok[ok[name].notna() | ok["backend"].ne("import")]  # of an imported row null is not told, not the default
    values = plain(ok, name)
    if not values:
        return
    first, *others = sorted(set(values), key=lambda value: (value is not None, str(type(value)), value))
    for other in others:
        pairs, along = _pairs(ok, values, first, other, [name], vary)
        change = f"{_word(name)} {_value(first)} → {_value(other)}"
        yield Effect(setting=name, name=change, at="", along=along, pairs=pairs)


def _of_layouts(ok: pd.DataFrame, vary: Sequence[str]) -> Iterator[Effect]:
    """Yield changes of layout in one setting; a layout without such a neighbour is held against its nearest."""
    ok = ok[ok["tp"].notna()]
    of_rows = list(zip(*(plain(ok, name) for name in LAYOUT), strict=True))
    frequent = [layout for layout, _ in Counter(of_rows).most_common(MOST_LAYOUTS)]
    known = sorted(frequent, key=lambda layout: [(value is not None, value) for value in layout])
    changes = [(one, other) for one, other in combinations(known, 2) if len(_differing(one, other)) == 1]
    for layout in known:
        others = [other for other in known if other != layout]
        if others and not any(layout in change for change in changes):
            near = min(others, key=lambda other: _distance(layout, other))
            changes.append((min(layout, near, key=known.index), max(layout, near, key=known.index)))
    for before, after in dict.fromkeys(changes):
        settings = _differing(before, after)
        pairs, along = _pairs(ok, of_rows, before, after, settings, vary)
        was, now = dict(zip(LAYOUT, before, strict=True)), dict(zip(LAYOUT, after, strict=True))
        told = ", ".join(f"{_word(name)} {_value(was[name])} → {_value(now[name])}" for name in settings)
        kept = {name: None if name in settings else value for name, value in was.items()}
        at = layout_name(**kept) if any(value is True or (value or 0) > 1 for value in kept.values()) else ""
        yield Effect(setting=settings[0], name=told, at=at, along=along, pairs=pairs)


def _differing(one: Sequence[Any], other: Sequence[Any]) -> list[str]:
    return [name for name, a, b in zip(LAYOUT, one, other, strict=True) if a != b]


def _distance(one: Sequence[Any], other: Sequence[Any]) -> tuple[int, int]:
    return len(_differing(one, other)), sum(abs((a or 0) - (b or 0)) for a, b in zip(one, other, strict=True))


def _pairs(
    ok: pd.DataFrame, values: Sequence[Any], before: Any, after: Any, settings: Sequence[str], vary: Sequence[str]
) -> tuple[tuple[tuple[int, int], ...], tuple[str, ...]]:
    """Return the pairs of rows that agree in every other setting, and what of GO_ALONG differs in some of them."""
    follow = [name for name in GO_ALONG if name in vary and name not in settings]
    same = ["source", "sweep_id", *(name for name in vary if name not in (*settings, *follow))]
    keys = ok[same].astype("string").fillna("")
    left = keys[[value == before for value in values]]
    right = keys[[value == after for value in values]]
    both = left.assign(left=left.index).merge(right.assign(right=right.index), on=same)
    differ = [name for name in follow if plain(ok.loc[both["left"]], name) != plain(ok.loc[both["right"]], name)]
    return tuple(zip(both["left"].tolist(), both["right"].tolist(), strict=True)), tuple(differ)


def _word(name: str) -> str:
    return _WORDS.get(name, name)


def _value(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
