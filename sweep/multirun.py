"""What `-m` sweeps over becomes axes of ONE sweep: one plan, one table, one Ray session.

Hydra's own sweepers would start one job per combination. This one composes once per choice of a swept group
(`-m model=a,b`) and hands the swept settings to the matrix.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper

from sweep.axes import check_count
from sweep.config_schema import known_keys
from sweep.errors import UsageError, nearest
from sweep.matrix import replace_axes
from sweep.point import SETTINGS

SWEPT_GROUPS = ("model", "workload", "bench")
"""Groups that -m may sweep; each choice is composed once and the matrices are concatenated."""
COMPOSED = (*SWEPT_GROUPS, "model.id")
"""What -m sweeps that is no axis: the matrix knows one model, so each value is composed and checked by itself."""


class OneSweep(Sweeper):
    """Call the task function once per choice of the swept groups, with swept settings as axes of its matrix."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Keep what Hydra gives (its Sweeper interface)."""
        self.context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Compose and run.

        Raises:
            UsageError: something is swept that is neither a setting nor model, workload or bench.
        """
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.core.utils import run_job

        loader = self.context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
        fixed = [o.input_line for o in overrides if not o.is_sweep_override()]
        swept = {o.key_or_group: _values(o, loader) for o in overrides if o.is_sweep_override()}
        _check(swept, arguments)
        groups = {key: values for key, values in swept.items() if key in COMPOSED}
        axes = {key: values for key, values in swept.items() if key not in groups}
        for number, choice in enumerate(itertools.product(*groups.values())):
            chosen = [f"{group}={_spelled(value)}" for group, value in zip(groups, choice, strict=True)]
            cfg = loader.load_sweep_config(self.config, [*fixed, *chosen])
            cfg.hydra.job.id, cfg.hydra.job.num = str(number), number
            for key, value in replace_axes(_plain(cfg.matrix), axes).items():
                cfg.matrix[key] = value
            job = run_job(
                hydra_context=self.context,
                task_function=self.task_function,
                config=cfg,
                job_dir_key="hydra.run.dir",
                job_subdir_key=None,
            )
            _ = job.return_value  # raises what the task function raised


def _check(swept: dict[str, Any], arguments: Sequence[str]) -> None:
    for key, values in swept.items():
        if key in SWEPT_GROUPS and any(isinstance(value, (dict, list)) for value in values):
            ids = " (or -m model.id=ID,ID with the facts that they share)" if key == "model" else ""
            raise UsageError(f"-m {key}=A,B sweeps over the names of files in {key}/, not over values in braces{ids}")
        if key in COMPOSED or key in SETTINGS or key.startswith("engine."):
            continue
        if key in ("experiment", "backend"):
            plus = "+" if key == "experiment" else ""
            rest = [a for a in arguments if a.split("=", 1)[0].lstrip("+") != key]
            typed = "\n".join("  " + " ".join(["python -m sweep", f"{plus}{key}={value}", *rest]) for value in values)
            raise UsageError(f"-m cannot sweep over {key}: each has a table of its own. Type\n{typed}")
        known = known_keys()
        hint = "" if key in known else nearest(key, known)
        raise UsageError(f"-m can sweep over settings, model, workload and bench, not {key}{hint}")


def _values(override: Override, loader: Any) -> list[Any]:
    """Return what a swept override runs over, as plain values; a glob is asked of the group it names."""
    from hydra.core.override_parser.types import Glob, QuotedString, RangeSweep

    value: Any = override.value()
    if isinstance(value, RangeSweep):
        _check_range(value, override)
    if isinstance(value, Glob):
        options = loader.get_group_options(override.key_or_group)
        if not (chosen := value.filter(options)):
            have = f"it matches none of {', '.join(options)}" if options else f"{override.key_or_group} has no files"
            raise UsageError(f"{override.input_line}: glob chooses among the files of a group, and {have}")
        return chosen
    try:
        found = list(override.sweep_iterator())
    except Exception as error:
        raise UsageError(f"{override.input_line}: {' '.join(str(error).split())}") from None
    return [item.text if isinstance(item, QuotedString) else item for item in found]


def _check_range(swept: Any, override: Override) -> None:
    """Count a range before it is made: range(1,1000000000) is typed quickly, and its values would fill the memory."""
    steps = (swept.stop - swept.start) / swept.step if swept.step else math.inf
    if not math.isfinite(steps):
        raise UsageError(f"{override.input_line}: a range needs an end, and a step that is not 0")
    check_count(max(0, math.ceil(steps)), f"values of {override.key_or_group}")


def _spelled(value: Any) -> str:
    """Return a value as an override has it: quoted where Hydra would read more than a text out of it."""
    text = str(value)
    if re.fullmatch(r"[\w./@-]+", text):
        return text
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"


def _plain(node: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=True)
