"""What people type, spelled as Hydra wants it.

Hydra needs `+` for a new key, `++` for one that may exist, and quotes around a comparison; people should not have to
know. Its parser also takes abbreviated options, which could pick one that unpickles a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from sweep.config import SHIPPED
from sweep.config_schema import known_keys, root_schema
from sweep.errors import UsageError, nearest

TAKE_A_VALUE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c", "--package", "-p")
"""Hydra's options that are followed by a value."""
MAY_TAKE_A_VALUE = ("--info", "-i")
LONG_OPTIONS = (
    *("--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun"),
    *("--shell-completion", "--config-path", "--config-name", "--config-dir", "--info"),
)
"""Hydra's, but for --experimental-rerun, which unpickles a file. Its parser would also take what they begin with."""
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
"""What Hydra's --info is followed by; alone it is `all`."""
FREE_PREFIXES = ("engine.", "matrix.grid.", "matrix.zip.", "matrix.derive.", "backend.values.", "backend.values=")
"""Sections with free keys: Hydra wants `++` before a new key there, people should not have to know."""
EXPERIMENT = ("experiment=", "+experiment=", "++experiment=")
GROUPS = ("model", "workload", "bench", "backend", "ray")
"""Groups of which one option is always chosen, so that Hydra wants no `+` before them."""


def spell(arguments: Sequence[str]) -> list[str]:
    """Let people write `experiment=x`, `+rerun=x`, `engine.new.key=1`, and options anywhere; Hydra wants otherwise.

    Its parser takes overrides in one piece only, so that `a=1 -m b=2` would be an error.
    """
    options: list[str] = []
    overrides: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument in MAY_TAKE_A_VALUE:
            options.append(f"--info={rest.pop(0) if rest and rest[0] in INFO else INFO[0]}")
        elif argument.startswith("-"):
            _expect_option(argument, rest)
            options.append(argument)
            if argument in TAKE_A_VALUE and rest:
                options.append(rest.pop(0))
        else:
            overrides.append(argument)
    for override in overrides:
        if "=" not in override and not override.startswith("~"):
            raise UsageError(f"{override or repr('')} is not KEY=VALUE{spelling_of(override, config_folders(options))}")
    experiments = [override.partition("=")[2] for override in overrides if override.startswith(EXPERIMENT)]
    if len(experiments) > 1:
        raise UsageError(
            f"experiment is given twice ({', '.join(experiments)}): each has a table and a command of its own"
        )
    return options + [_spelled(override) for override in overrides]


def _expect_option(argument: str, following: Sequence[str]) -> None:
    name, equals, value = argument.partition("=")
    if not name.startswith("--") or name in (*LONG_OPTIONS, "--"):
        return
    key, value = name[2:], value if equals else next(iter(following), "VALUE")
    if key in known_keys():
        raise UsageError(f"{name} is not an option; write {'+' if key == 'experiment' else ''}{key}={value}")
    meant = [option for option in LONG_OPTIONS if option.startswith(name)]
    hint = f'did you mean "{meant[0]}"?' if meant else "--hydra-help lists those of Hydra"
    raise UsageError(f"{name} is not an option; {hint}")


def spelling_of(word: str, folders: Sequence[Path] = (SHIPPED / "conf",), others: Iterable[str] = ()) -> str:
    """Return how to write a bare word as an override, or which experiment or other name is near it; ends a message."""
    for group in ("experiment", *GROUPS):
        if word in choices(group, folders):
            return f"; write {'+' if group == 'experiment' else ''}{group}={word}"
    if word in known_keys():
        return f"; write {word}=VALUE"
    return nearest(word, [*others, *choices("experiment", folders)])


def choices(group: str, folders: Sequence[Path]) -> list[str]:
    """Return the names of a group's files in these folders."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def config_folders(arguments: Sequence[str]) -> list[Path]:
    """Return the folders with configuration files: those that ship, and what --config-dir names."""
    folders = [SHIPPED / "conf"]
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            folders.append(Path(value if equals else following))
    return folders


def _spelled(override: str) -> str:
    """Return an override as Hydra wants it: `++` adds a key or changes it, and merges a mapping in braces."""
    bare = override.lstrip("+")
    plus = override.removesuffix(bare)
    key, equals, value = bare.partition("=")
    is_mapping = value.lstrip().startswith("{")
    if key.startswith("~") or not equals:
        return override
    if key == "experiment":
        return "+" + bare
    if key == "rerun" or (key in GROUPS and not is_mapping):
        return bare
    if key == "run.redo" and value not in ("", "null") and not value.startswith(("'", '"')):
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")  # Hydra does not take a bare `==`
        bare = f"run.redo='{quoted}'"
    exists = "." in key or key in {f.name for f in fields(root_schema())}  # groups have no dots
    if is_mapping or bare.startswith(FREE_PREFIXES) or (plus and exists):
        return "++" + bare
    return plus + bare
