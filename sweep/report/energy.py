"""Energy as 1.3 and later report it.

The three metrics are known by name (NVIDIA/TensorRT-LLM PR 11397), their exact labels and JSON keys are not: the text
says something like `Total Energy (J)`, the JSON something like `total_energy_j`. So a name counts by its words. What
is recognised stays in `extra` too, as it was reported.

Whose mean a power is, the label does not say: PR 11397 calls energy / time the average GPU power, which is that of all
GPUs together (energy_monitor.py), and benchmark_serving prints the same as `Total GPU Power`. Energy and duration tell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_NAMES = (  # in the order of asking: "tokens per second per watt" also has a watt in it
    (
        "output_tokens_per_j",
        re.compile(r"^(?!.*(total|input|prompt)_(token|tps)).*(token.*per_(watt|joule|w|j)|tps_(per_)?w(att)?$)"),
    ),
    ("energy_j", re.compile(r"energy(_consumption)?(_total)?_(j|joules?)$")),
    ("power_w", re.compile(r"(average|avg|mean|total)_(gpu_)?power(_(w|watts?))?$")),
)
_ABOUT = 0.1
"""Energy is measured a little longer than the duration; powers of one GPU and of all differ by 2 times or more."""


def energy_fields(
    extra: Mapping[str, float | str], *, duration_s: float | None, gpus: int | None = None
) -> dict[str, Any]:
    """Return the energy fields of Report that stand in `extra`: J of all GPUs, mean W of one GPU, output tokens per J.

    Tokens per second per watt are tokens per joule. A power that follows neither for one GPU nor for all of them from
    energy and duration is left out, as is one of an unknown number of GPUs.
    """
    found: dict[str, float] = {}
    for name, value in extra.items():
        number = _number(value)
        if number is None:
            continue
        words = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        for field, pattern in _NAMES:
            if pattern.search(words):
                found.setdefault(field, number)
                break
    power_w, energy_j = found.pop("power_w", None), found.get("energy_j")
    if power_w and energy_j and duration_s and gpus:
        for sharing in (1, gpus):  # so many GPUs each draw this power
            if math.isclose(energy_j, power_w * duration_s * sharing, rel_tol=_ABOUT):
                found["power_w_per_gpu"] = power_w * sharing / gpus
                break
    return found


def _number(value: float | str) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):  # of JSON an integer may have any number of digits
        return None
    return number if 0 <= number < float("inf") else None


_UNIT = re.compile(r"(energy\w*_(j|joules?)|power_(w|watts?)|per_(watt|joule)(_tps_w)?|tps_w)$")


def is_energy(name: str) -> bool:
    """Tell the printed label of an energy figure, whose value both tools print with four decimals."""
    return _UNIT.search(re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")) is not None
