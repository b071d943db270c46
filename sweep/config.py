"""What to do: a SweepConfig, made from plain data and validated once.

The data is what Hydra composed (composition.py) or what an earlier run kept beside its table; both are read alike.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING as REQUIRED
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from sweep.engine_keys import SETTING_OF, check_sections, clash, layered, leaves
from sweep.errors import UsageError, nearest
from sweep.failure import KINDS
from sweep.limits import Budget, deadline_of
from sweep.point import SETTINGS, KvCacheDtype, Model, Precision, PredictAs, canonical_json, check_finite
from sweep.quarantine import Quarantine
from sweep.retry import REDO_WORDS, Retry, compile_redo
from sweep.terminal import printable

CHECKOUT, PACKAGE = Path(__file__).parent.parent, Path(__file__).parent
SHIPPED = CHECKOUT if (CHECKOUT / "conf" / "config.yaml").exists() else PACKAGE
"""Where conf/ and trtllm-configs/ lie: the root of a checkout, or inside the package of a wheel."""

LONGEST_S = 1_000_000_000
"""No time span of `run.*` is longer than these 31 years, so that there is a date at its end."""
MOST_WEIGHTS_GB = 1_000_000
"""No checkpoint is larger than a petabyte: who says so has given bytes."""
COMMAND_LINE_ONLY = ("tp", "pp", "ep", "max_batch_size", "max_num_tokens", "max_seq_len")
"""Settings that trtllm-bench takes on its command line: in the engine YAML they make its report divide by the wrong
number of GPUs and print other limits than those in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`run.*`: how the points are spread, repeated, tried again, and when it is enough.

    nodes: over how many nodes the points are spread; None is what the queue has quota for, else one; one per actor for
        the simulated backend.
    repeats: independent measurements of each point.
    max_points_per_deployment: the most that one start measures; None is no limit.
    max_deployments: how many exist at once; None is no limit.
    canary: the first point alone, and the others once it has its number.
    detach: submit everything and leave; the same command collects later. Needs a results volume.
    redo: measure again what has its row: failed, invalid, all, or an expression over settings.
    deadline: no point begins after it: a time span (8h, 90min) or a time with its zone.
    max_failures: no point begins after so many failures of one kind; None is no limit.
    """

    nodes: int | None = None
    repeats: int = 1
    max_points_per_deployment: int | None = None
    max_deployments: int | None = None
    canary: bool = False
    detach: bool = False
    redo: str | None = None
    deadline: str | None = None
    max_failures: int | None = 10
    budget: Budget = Budget()
    retry: Retry = Retry()
    quarantine: Quarantine = Quarantine()


class Html(StrEnum):
    """Whether a run writes the page of `python -m sweep html`; none: it does not."""

    LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ray:
    """`ray.*`: where the actors live.

    address: None starts Ray for this run and stops it; auto or HOST:PORT joins a cluster that exists.
    actors: size of the pool; None is one per CPU for `simulated`.
    """

    address: str | None = None
    actors: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedBackend:
    """`backend.*` of the simulated backend.

    point_timeout_s: what an experiment sets for backends that measure; a simulation is not ended.
    """

    name: str = "simulated"
    point_timeout_s: int = 3600


class OnInterrupt(StrEnum):
    """What becomes of what runs on a cluster when the user interrupts the sweep."""

    KEEP = "keep"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class GkeBackend:
    """`backend.*` of the gke backend: where the cluster is, and what the chart is given.

    context, namespace: of kubectl; None is the current context, and its namespace.
    queue: Kueue's LocalQueue; None submits without one.
    bucket: Cloud Storage bucket that pods write results to, beside their log.
    results_uri: where this machine reads what pods write to /results; None is gs://BUCKET. With a claim as
        `values.results.claimName` it can be a folder: file:///mnt/lustre/results.
    service_account: of the pods (Workload Identity).
    hf_secret: Secret with the Hugging Face token; None for public models.
    owner: annotation, for people; None is the user's name here.
    point_timeout_s: a run of trtllm-bench is ended after so long, model load included.
    start_timeout_s: what weights may take before the first point, waiting for another pod of the node included.
    pending_timeout_s: a pod that cannot start (no such image, Secret or volume) is given up after so long.
    values: any other value of charts/trtllm-bench.
    """

    name: str = "gke"
    context: str | None = None
    namespace: str | None = None
    queue: str | None = None
    bucket: str | None = None
    results_uri: str | None = None
    service_account: str | None = None
    hf_secret: str | None = None
    owner: str | None = None
    point_timeout_s: int = 3600
    start_timeout_s: int = 3600
    pending_timeout_s: int = 600
    on_interrupt: str = OnInterrupt.KEEP.value
    values: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name.endswith("_s"):
                if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                    raise UsageError(f"backend.{f.name} must be a number of seconds of at least 1, not {value!r}")
            elif f.name == "values":
                if not isinstance(value, Mapping):
                    raise UsageError(f"backend.values must be values of the chart by name, not {value!r}")
            elif value is not None and (not isinstance(value, str) or not value):
                raise UsageError(f"backend.{f.name} must be a text, not {value!r}")
        if self.on_interrupt not in list(OnInterrupt):
            raise UsageError(f"backend.on_interrupt must be one of keep, delete, not {self.on_interrupt!r}")
        if self.bucket and "/" in self.bucket:
            raise UsageError(f"backend.bucket is a bucket's name without gs:// and folders, not {self.bucket!r}")
        if self.results_uri and not self.results_uri.startswith(("gs://", "file:///")):
            raise UsageError(f"backend.results_uri must begin with gs:// or file:///, not {self.results_uri!r}")


BACKENDS: Mapping[str, type] = {"simulated": SimulatedBackend, "gke": GkeBackend}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One composition: a model, the settings that no axis varies, and the matrix. `-m model=a,b` makes two.

    settings: a checked value for each setting, None where only the matrix gives one.
    engine_text: the engine YAML as it was written; its keys are in `settings` already.
    """

    model: Model
    engine_text: str
    settings: Mapping[str, Any]
    matrix: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepConfig:
    """What to do. `resolved` is the plain data it was made from; `SweepConfig.of(resolved)` gives it back.

    html: like results_dir it is no part of `resolved`: what is measured does not depend on it.
    notes: sentences that the user should read before anything runs; no part of `resolved` either.
    """

    name: str
    results_dir: Path
    parts: tuple[Part, ...]
    run: Run
    backend: str
    backend_config: Mapping[str, Any]
    ray: Ray
    price_per_gpu_hour: float | None
    html: Html | None
    resolved: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder of this sweep's table."""
        return self.results_dir / self.name

    @classmethod
    def of(cls, resolved: Mapping[str, Any], results_dir: Path, html: object = None) -> SweepConfig:
        """Validate plain data.

        Raises:
            UsageError: a key is unknown, a value has the wrong type or lies outside its range.
        """
        name = resolved["name"]
        if not isinstance(name, str) or not name or Path(name).name != name or name.startswith((".", "_")):
            raise UsageError(f"name must be a folder's name under results_dir, not {name!r}")
        if printable(name) != name or "\n" in name or "\t" in name:
            raise UsageError(f"name must be a folder's name without control characters, not {name!r}")
        if any(each == "\0" or "\ud800" <= each <= "\udfff" for each in str(results_dir)):  # not UTF-8
            raise UsageError(f"results_dir must be a folder's name, not {str(results_dir)!r}")
        try:
            os.fsencode(results_dir / name)
        except UnicodeEncodeError:
            raise UsageError(
                f"this locale cannot name the folder {results_dir / name} (its encoding is"
                f" {sys.getfilesystemencoding()}): set PYTHONUTF8=1, or choose another name"
            ) from None
        backend = dict(resolved["backend"])
        kind = str(backend.get("name"))
        return cls(
            name=name,
            results_dir=results_dir,
            parts=parts_of(resolved),
            run=_run(resolved["run"], resolved.get("price_per_gpu_hour")),
            price_per_gpu_hour=resolved.get("price_per_gpu_hour"),
            backend=kind,
            backend_config=asdict(BACKENDS[kind](**_fields(BACKENDS[kind], backend, "backend")))
            if kind in BACKENDS
            else backend,
            ray=Ray(**_fields(Ray, resolved["ray"], "ray")),
            html=_html(html),
            resolved=resolved,
        )


def parts_of(resolved: Mapping[str, Any]) -> tuple[Part, ...]:
    """Return what a resolved configuration says to measure.

    Raises:
        UsageError: a key is unknown, a value has the wrong type or lies outside its range.
    """
    return tuple(_part(part) for part in resolved["parts"])


def _part(part: Mapping[str, Any]) -> Part:
    file = str(part["model"].get("engine_config"))
    model, engine_said = _model(part["model"]), _engine_yaml(part["engine_yaml"], file)
    settings: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        if name in ("model", "engine"):
            continue
        value = part.get(name)
        if setting.yaml is not None and (in_yaml := _take(engine_said, setting.yaml.split("."))) is not None:
            if name in COMMAND_LINE_ONLY:
                raise UsageError(f"{setting.yaml} in {file} is the setting {name}: move it there")
            value = in_yaml if value is None else value
        value = setting.default if value is None else value
        settings[name] = None if value is None else setting.check(value)
    _check_engine(engine_said, file)
    check_finite("engine", part.get("engine") or {})
    given = leaves(part.get("engine") or {})
    if reason := clash(given):
        raise UsageError(f"engine.*: {reason}")
    extras = layered(engine_said, given)
    settings |= {"model": model.id, "engine": canonical_json(extras)}
    matrix = part.get("matrix") or {}
    return Part(model=model, engine_text=part["engine_yaml"], settings=settings, matrix=matrix)


def _model(said: Mapping[str, Any]) -> Model:
    values = _fields(Model, {key: value for key, value in said.items() if key != "engine_config"}, "model")
    values["id"] = replace(SETTINGS["model"], name="model.id").check(values["id"])
    if _is_number_or_bool(values["id"]):  # Hydra makes a text of what is none
        raise UsageError(f"model.id must be a Hugging Face id, for example org/name, not {values['id']}")
    for key, kind in (("precision", Precision), ("kv_cache_dtype", KvCacheDtype)):
        if values.get(key) is not None:
            try:
                values[key] = kind(values[key])
            except ValueError:
                choices = [str(choice) for choice in kind]
                hint = "" if key == "precision" else nearest(str(values[key]), choices)  # int4 is no misspelled nvfp4
                raise UsageError(
                    f"model.{key} must be one of {', '.join(choices)}, not {values[key]!r}{hint}"
                ) from None
    if values.get("predict_as") is not None:
        values["predict_as"] = PredictAs(**_fields(PredictAs, values["predict_as"], "model.predict_as"))
    weights_gb = values["weights_gb"]
    if weights_gb is not None and not (type(weights_gb) in (int, float) and 0 < weights_gb < math.inf):
        raise UsageError(f"model.weights_gb must be a number more than 0, or null where unknown, not {weights_gb!r}")
    if weights_gb is not None and weights_gb > MOST_WEIGHTS_GB:
        raise UsageError(
            f"model.weights_gb must be at most {MOST_WEIGHTS_GB:,} (units of 1e9 bytes), not {weights_gb:g}"
        )
    return Model(**values)


def _is_number_or_bool(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false")
    return True


def _run(said: Mapping[str, Any], price: float | None) -> Run:
    values = dict(said)
    for name, section in (("budget", Budget), ("retry", Retry), ("quarantine", Quarantine)):
        given = values.get(name) or {}
        values[name] = section(**_fields(section, given, f"run.{name}"))
    values["retry"] = replace(values["retry"], also=tuple(values["retry"].also))
    run = Run(**_fields(Run, values, "run"))
    for path, value, optional, least in (
        *((f"run.{name}", getattr(run, name), True, 1) for name in _COUNTS if name != "repeats"),
        ("run.repeats", run.repeats, False, 1),
        ("run.retry.attempts", run.retry.attempts, False, 1),
        ("run.retry.total", run.retry.total, False, 0),
        ("run.quarantine.failures", run.quarantine.failures, False, 1),
    ):
        if not (value is None and optional) and (type(value) is not int or value < least):
            raise UsageError(f"{path} must be an integer of at least {least}, not {value!r}")
    for path, amount in (
        ("run.budget.gpu_hours", run.budget.gpu_hours),
        ("run.budget.usd", run.budget.usd),
        ("price_per_gpu_hour", price),
    ):
        if amount is not None and not (type(amount) in (int, float) and 0 < amount < math.inf):  # NaN is neither
            raise UsageError(f"{path} must be a number more than 0, not {amount!r}")
    for path, seconds in (
        ("run.retry.backoff_s", run.retry.backoff_s),
        ("run.retry.backoff_max_s", run.retry.backoff_max_s),
        ("run.quarantine.expires_s", run.quarantine.expires_s),
    ):
        if not (type(seconds) in (int, float) and 0 <= seconds <= LONGEST_S):
            raise UsageError(f"{path} must be a number from 0 to {LONGEST_S}, not {seconds!r}")
    for kind in run.retry.also:
        if kind not in KINDS:
            raise UsageError(f"run.retry.also: {kind!r} is no kind of failure{nearest(str(kind), KINDS)}")
    if run.budget.usd is not None and price is None:
        raise UsageError("run.budget.usd needs price_per_gpu_hour, in USD; there is no default price")
    if run.deadline is not None:
        deadline_of(run.deadline, datetime.now(UTC))
    if run.redo is not None and run.redo not in REDO_WORDS:
        compile_redo(run.redo)
    if run.detach and (limits := [name for name in ("canary", "deadline", "max_deployments") if getattr(run, name)]):
        raise UsageError(f"run.detach leaves nobody who could heed run.{limits[0]}")
    if run.detach and run.budget != Budget():
        raise UsageError("run.detach leaves nobody who could heed run.budget")
    return run


_COUNTS = ("nodes", "repeats", "max_points_per_deployment", "max_deployments", "max_failures")


def _html(said: object) -> Html | None:
    if said is None or said in list(Html):
        return None if said is None else Html(str(said))
    raise UsageError(f"html must be live or null, not {said!r}")


def _fields(cls: type, said: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return `said` as keyword arguments of `cls`; an unknown or missing key is the user's mistake."""
    known = {f.name: f for f in fields(cls)}
    for key in said:
        if key not in known:
            raise UsageError(f"{path}.{key} is unknown{nearest(str(key), known)}")
    hints = get_type_hints(cls)
    for name, f in known.items():
        is_given = name in said and (said[name] is not None or type(None) in get_args(hints[name]))
        if f.default is REQUIRED and f.default_factory is REQUIRED and not is_given:
            raise UsageError(f"{path}.{name} must be given")
    return dict(said)


def _engine_yaml(text: str, where: str) -> dict[str, Any]:
    try:
        said = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a number of 5,000 digits, 1,000 levels
        raise UsageError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(said, dict) or not said:
        raise UsageError(f"{where} must be a YAML mapping that is not empty (an empty one crashes trtllm-bench)")
    return said


def _take(tree: dict[str, Any], path: Sequence[str]) -> Any:
    """Remove and return the value at `path`, with the sections that become empty; None where there is none."""
    head, *rest = path
    if not rest:
        return tree.pop(head, None)
    node = tree.get(head)
    if not isinstance(node, dict):
        return None
    tree[head] = node = dict(node)
    value = _take(node, rest)
    if not node:
        del tree[head]
    return value


def _check_engine(said: Mapping[str, Any], file: str) -> None:
    """Refuse what no version of TensorRT-LLM takes from the engine YAML beside what sweep gives it."""
    keys = leaves(said)
    for key, value in keys.items():
        check_finite(f"{key} in {file}", value)
    for key, name in SETTING_OF.items():
        if keys.get(key) is not None:
            raise UsageError(f"{key} in {file} is the setting {name}: move it there")
    check_sections(said, f"{file}: ")
    if reason := clash(keys):
        raise UsageError(f"{file}: {reason}")
