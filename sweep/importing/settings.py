"""Settings that a report does not state: given, in the file's name, or read off the report as near as it says them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sweep.errors import UsageError, nearest
from sweep.importing.names import plain_name
from sweep.point import GPUS, SETTINGS, Bench, KvCacheDtype, SchedulerPolicy
from sweep.report import Report, Tool


def parse_setting(said: str) -> tuple[str, Any]:
    """Return name and value of `--set NAME=VALUE`.

    Raises:
        UsageError: there is no such setting, or it has no such value.
    """
    name, equals, text = said.partition("=")
    if not equals:
        raise UsageError(f"--set {said}: give NAME=VALUE, for example --set concurrency=64")
    return name, _value(name, text)


def _value(name: str, text: str) -> Any:
    if name not in SETTINGS:
        raise UsageError(f"there is no setting {name}{nearest(name, SETTINGS)}")
    setting = SETTINGS[name]
    value = text if setting.type is str else yaml.safe_load(text) if re.fullmatch(r"[\w.+-]*", text) else text
    return setting.check(value)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Where settings stand in a file's name, with or without its suffix, for example `*_tp{tp}_c{concurrency}*`."""

    regex: re.Pattern[str]
    text: str

    @classmethod
    def of(cls, text: str) -> Pattern:
        """Return the pattern of a text: {NAME} is the value of a setting, * is anything, all else is itself.

        Raises:
            UsageError: a name is no setting, or stands there twice.
        """
        parts = re.split(r"(\{\w*\}|\*)", text)
        names = [part[1:-1] for part in parts if part.startswith("{")]
        for name in names:
            if name not in SETTINGS:
                raise UsageError(f"--pattern {text}: there is no setting {name}{nearest(name, SETTINGS)}")
            if names.count(name) > 1:
                raise UsageError(f"--pattern {text}: {name} stands there twice")
        if not names:
            raise UsageError(f"--pattern {text}: name a setting, for example *_tp{{tp}}_c{{concurrency}}*")
        regex = "".join(
            ".*" if part == "*" else f"(?P<{part[1:-1]}>[^_/]+?)" if part.startswith("{") else re.escape(part)
            for part in parts
        )
        return cls(re.compile(regex), text)

    def settings(self, path: Path) -> dict[str, Any]:
        """Return the settings in the file's name; none where it does not match.

        Raises:
            UsageError: what stands there is no value of the setting.
        """
        found = self.regex.fullmatch(plain_name(path).stem) or self.regex.fullmatch(path.name)
        return {name: _value(name, text) for name, text in found.groupdict().items()} if found else {}


def settings_of(report: Report) -> dict[str, Any]:
    """Return the settings that a report states, as near as it states them; the others are missing."""
    length = {"isl": report.isl_mean, "osl": report.osl_mean}
    stated: dict[str, Any] = {
        "bench": Bench.SERVE if report.tool is Tool.BENCHMARK_SERVING else None,
        "model": report.model,
        "gpu": next((gpu for gpu in GPUS if gpu in (report.gpu_name or "").lower().split()), None),
        **{name: None if mean is None or not mean.is_integer() else int(mean) for name, mean in length.items()},
        "concurrency": report.concurrency,
        "num_requests": report.num_requests,
        "streaming": report.streaming,
        "tp": report.tp,
        "pp": report.pp,
        "ep": report.effective_ep,
        "max_batch_size": report.max_batch_size,
        "max_num_tokens": report.max_num_tokens,
        "max_seq_len": report.max_seq_len,
        "kv_cache_free_gpu_mem_fraction": report.kv_cache_free_gpu_mem_fraction,
    }
    if report.version is not None:  # benchmark_serving knows nothing of the engine
        dtype = (report.kv_cache_dtype or KvCacheDtype.AUTO).lower()
        stated["kv_cache_dtype"] = dtype if dtype in list(KvCacheDtype) else None
    policy = (report.scheduler_policy or "").lower().replace(" ", "_")
    stated["scheduler_policy"] = policy if policy in list(SchedulerPolicy) else None
    return {name: value for name, value in stated.items() if value is not None}
