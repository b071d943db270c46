"""Hydra composes the configuration; here its words become ours.

Hydra only composes: its launchers and working folders are off, the sweep of `-m` is ours (multirun.py), and what it
raises is told as one sentence that names the nearest key that exists. Nothing here touches a cluster or a GPU.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from sweep.architecture import Layer, facts_of_another, own_facts
from sweep.command_line import choices, config_folders, spell
from sweep.config import SHIPPED, SweepConfig
from sweep.config_schema import nearest_key, root_schema
from sweep.errors import UsageError, nearest
from sweep.matrix import pin
from sweep.point import SETTINGS

PINNING_GROUPS = ("workload", "bench")
"""Groups whose files set settings: choosing one on the command line pins these."""


def read(arguments: Sequence[str]) -> SweepConfig | None:
    """Compose the configuration from Hydra's command line.

    Returns None where Hydra has answered by itself (--help, --cfg, --info, --version, tab completion).

    Raises:
        UsageError: anything in a file or an override that is not right.
    """
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.plugins import Plugins

    from hydra_plugins.sweep_multirun.sweeper import OneSweep  # type: ignore[import-untyped, unused-ignore]
    from sweep import config_files

    Plugins.instance().register(OneSweep)
    config_files.use()
    ConfigStore.instance().store(name="schema", node=root_schema())
    composed: list[tuple[Any, Any, Any]] = []

    @hydra.main(version_base="1.3", config_path=str((SHIPPED / "conf").resolve()), config_name="config")
    def collect(cfg: Any) -> None:  # only collects: Hydra prints a line of its own about what is raised in here
        composed.append((cfg, copy.deepcopy(HydraConfig.get()), GlobalHydra.instance().config_loader()))

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's exceptions reach us as they are, instead of exit 1 with a trace
    before, sys.argv = sys.argv, ["sweep", *spell(arguments)]
    try:
        collect()
        plain = [_plain(cfg, told) for cfg, told, _ in composed]
        notes = [note for part, one in zip(plain, composed, strict=True) for note in _keep_own_facts(part, *one[1:])]
    except (UsageError, BrokenPipeError):  # the latter: `--help | head`
        raise
    except Exception as error:
        raise UsageError(_translate(error, config_folders(arguments))) from error
    finally:
        sys.argv = before
    if not plain:
        return None
    first = plain[0]
    for key in ("name", "results_dir", "run", "backend", "ray"):
        if first.get(key) is None:  # `~run` deletes it
            raise UsageError(f"{key} must be given")
    if not str(first["results_dir"]).strip():
        raise UsageError("results_dir must be a folder's name, not empty; write . for the current folder")
    results_dir = Path(first["results_dir"])
    if first["rerun"]:
        stored = _stored(results_dir, first["rerun"], first)
        return replace(SweepConfig.of(stored, results_dir, first["html"]), notes=_warnings_of(stored))
    shared = {key: first[key] for key in ("name", "run", "backend", "ray", "price_per_gpu_hour")}
    parts = [
        {key: value for key, value in part.items() if key not in (*shared, "results_dir", "rerun", "html")}
        for part in plain
    ]
    cfg = SweepConfig.of(shared | {"parts": parts}, results_dir, first["html"])
    return replace(cfg, notes=tuple(dict.fromkeys(notes)))


def _plain(cfg: Any, told: Any) -> dict[str, Any]:
    """Return one composition as plain data, its pins applied, its engine YAML read in; `told` is Hydra's own node."""
    from omegaconf import OmegaConf

    if cfg.rerun is None and (missing := OmegaConf.missing_keys(cfg)):
        raise UsageError(f"{', '.join(sorted(missing))} must be given")
    part: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    if part["rerun"]:
        return part
    known = {f.name for f in fields(root_schema())}
    for key in part:
        if key not in known:  # `+key=1` is how Hydra lets an unknown key in
            raise UsageError(f"{key} is unknown{nearest_key(key)}")
    part["matrix"] = pin(part["matrix"], _pins(list(told.overrides.task), told.runtime))
    part["engine_yaml"] = _read_engine_config(part["model"]["engine_config"])
    return part


def _keep_own_facts(part: dict[str, Any], composed: Any, loader: Any) -> Sequence[str]:
    """Take from a part's model what belongs to another id, and return what the user should know of it."""
    if part["rerun"]:
        return ()
    part["model"], notes = own_facts(part["model"], _layers(composed, loader))
    return notes


def _layers(composed: Any, loader: Any) -> list[Layer]:
    """Return what each file, and at last the command line, gives below `model`, in the order Hydra merges them."""
    from hydra.types import RunMode

    from sweep import config_files

    overrides = [*composed.overrides.hydra, *composed.overrides.task]
    defaults = loader.compute_defaults_list(composed.job.config_name, overrides, RunMode.RUN)
    layers = []
    for default in defaults.defaults:
        if default.config_path is None or default.config_path.startswith("hydra/"):
            continue
        if (path := _file(default.config_path, composed.runtime)) is not None:
            content = config_files.load(path) or {}
            for key in reversed((default.package or "").split(".")):
                content = {key: content} if key else content
            layers.append(Layer(name=default.config_path.removesuffix(".yaml"), given=_leaves(content.get("model"))))
    typed = [(override.key_or_group, override.value()) for override in defaults.config_overrides]
    given = [_leaves(value, key[len("model.") :]) for key, value in typed if key == "model" or key.startswith("model.")]
    return [*layers, Layer(name="", given={key: value for leaves in given for key, value in leaves.items()})]


def _leaves(value: Any, key: str = "") -> dict[str, Any]:
    """Return the values of a tree by their dotted keys."""
    if not isinstance(value, Mapping) or (key and not value):
        return {key: value} if key else {}
    return {
        name: leaf
        for inner, item in value.items()
        for name, leaf in _leaves(item, f"{key}.{inner}".lstrip(".")).items()
    }


def _pins(overrides: Sequence[str], runtime: Any) -> list[str]:
    """Return the settings that the command line gave one value: by name, or by choosing a group that sets them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    pinned: list[str] = []
    for override in overrides:
        key = override.split("=", 1)[0].lstrip("+~")
        if key in PINNING_GROUPS:
            pinned += _settings_of_group(key, runtime)
        elif key == "engine":
            pinned += _leaves(OverridesParser.create().parse_override(override).value(), key)
        elif key in SETTINGS or key.startswith("engine."):
            pinned.append(key)
    return pinned


def _settings_of_group(group: str, runtime: Any) -> list[str]:
    from sweep import config_files

    path = _file(f"{group}/{runtime.choices[group]}", runtime)
    return [] if path is None else [key for key in config_files.load(path) or {} if key in SETTINGS]


def _file(config_path: str, runtime: Any) -> Path | None:
    """Return the file that Hydra reads for a choice such as model/NAME, which people also write as NAME.yaml."""
    for source in runtime.config_sources:
        path = Path(source.path) / f"{config_path.removesuffix('.yaml')}.yaml"
        if source.schema == "file" and path.exists():
            return path
    return None


def _read_engine_config(name: str) -> str:
    from sweep import config_files

    shipped = SHIPPED / "trtllm-configs"
    for path in (Path(name), shipped / name):
        if path.is_file():
            return config_files.read(path)
    have = sorted(path.name for path in shipped.glob("*.yaml"))
    raise UsageError(f"model.engine_config: no file {name}, here or in {shipped}{nearest(name, have)}")


def _stored(results_dir: Path, rerun: str, first: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the resolved configuration that an earlier run kept, to repeat it."""
    from sweep.table import find_config

    stored = dict(find_config(results_dir, rerun))
    return {key: value for key, value in stored.items() if key != "pruned"} | {"ray": first["ray"]}


def _warnings_of(stored: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is odd in a kept configuration, which is repeated as it was."""
    known = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in (SHIPPED / "conf" / "model").glob("*.yaml")}
    warnings = [facts_of_another(part["model"], known) for part in stored["parts"]]
    return tuple(dict.fromkeys(filter(None, warnings)))


# ------------------------------------------------------------------------------------------------ Hydra's words, ours


def _translate(error: BaseException, folders: Sequence[Path]) -> str:
    """Return one message for what Hydra, OmegaConf or the YAML parser raised."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and inner not in chain:
        chain.append(inner)
    said = " ".join(str(error).split())
    if any(isinstance(link, RecursionError) for link in chain):
        return "the configuration is nested too deep, in a file or an override"
    for link in chain:
        if isinstance(link, MissingConfigException) and link.missing_cfg_file:
            group, _, choice = link.missing_cfg_file.rpartition("/")
            options = sorted(link.options or choices(group, folders))
            have = f"; there are {', '.join(options)}" if options else ""
            return f"{group or 'config'} {choice} does not exist{nearest(choice, options)}{have}"
        if isinstance(link, (ConfigKeyError, ConfigAttributeError)) and link.full_key:
            file = _file_of(said)
            if file.startswith(f"{link.full_key}/"):  # without that line Hydra puts a file's keys below its group
                return f"{file} must begin with the line `# @package _global_`"
            place = f" (in {file})" if file else ""
            return f"{link.full_key} is unknown{nearest_key(str(link.full_key))}{place}"
        if isinstance(link, OmegaConfBaseException) and link.full_key:
            reason = " ".join(str(link.msg or link).split()).split(" full_key:")[0]
            override = (
                said.removeprefix("Error merging override ").lstrip("+") if said.startswith("Error merging") else ""
            )
            return f"{override or link.full_key}: {reason}"
        if isinstance(link, yaml.YAMLError):
            return f"a configuration file is not YAML: {' '.join(str(link).split())}"
        if isinstance(link, OverrideParseException):
            reason = " ".join(str(link).split()).split(" See https")[0].split(" expecting ")[0]
            reason = reason.replace("mismatched input '<EOF>'", "it ends where a value should follow")
            typed = str(link.override).lstrip("+")
            return f"the override {typed!r} cannot be read (quote it as Hydra wants it): {reason}"
    if "Could not override" in said or "Could not append" in said:
        key = said.split("'")[1]
        return f"{key} is unknown{nearest_key(key)}"
    return said


def _file_of(said: str) -> str:
    return said.split("'")[1] + ".yaml" if said.startswith("In '") else ""
