"""A plan becomes manifests: the chart's values are made, helm renders all deployments in one call.

What helm prints is what is created, and what `sweep render` writes. No cluster is needed or asked.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.config import PACKAGE, SHIPPED, GkeBackend
from sweep.errors import UsageError
from sweep.jobfiles import files_of
from sweep.plan import Deployment, job_name

HELM_S = 120
"""helm renders hundreds of deployments in a second."""
FIRST_HELM = "3.8"
LAUNCHER: Mapping[str, Path] = {
    "script": SHIPPED / "launchers" / "trtllm-bench.sh",
    "prepare": SHIPPED / "launchers" / "prepare.sh",
    "publish": SHIPPED / "launchers" / "publish.py",
    "telemetry": PACKAGE / "telemetry.py",
}
"""What runs in the pod, by the chart's value."""
PULL_S = 3600
"""What image and volumes may take; a pod's deadline counts from when its node has taken it."""
BETWEEN_POINTS_S = 900
"""What a point may take beside its run: its dataset, waiting for free GPU memory, publishing."""
MOST_CONFIG_MAP_BYTES = 2**20
"""The API server refuses more."""
NAMED: Mapping[str, str] = {
    "queue": "queue",
    "bucket": "results.bucket",
    "service_account": "serviceAccountName",
    "hf_secret": "huggingFace.secretName",
    "owner": "owner",
}
"""Settings of the backend that are values of the chart."""
MADE_HERE: Mapping[str, str] = {
    "image": "it is the setting image",
    "deployments": "the plan makes them",
    "launcher": "sweep brings its own",
    "sweepId": "it is made once, in sweep.json",
    "sweepName": "it is the setting name",
    "managedBy": "it is sweep",
    "activeDeadlineSeconds": "it follows from backend.point_timeout_s and backend.start_timeout_s",
}
"""Values of the chart that nobody gives by backend.values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One deployment's manifests, as helm printed them."""

    deployment: Deployment
    job: str
    config_map: str


def render(
    deployments: Sequence[Deployment],
    *,
    config: GkeBackend,
    namespace: str,
    sweep_name: str,
    engine_texts: Mapping[str, str],
    owner: str | None = None,
) -> list[Rendered]:
    """Render deployments of one sweep.

    Args:
        engine_texts: the user's engine YAML by model id.
        owner: where the configuration names none.

    Raises:
        UsageError: helm is missing or refuses the values, or a point cannot run in a pod of these nodes.
    """
    if not deployments:
        return []
    values = values_of(deployments, config=config, sweep_name=sweep_name, engine_texts=engine_texts, owner=owner)
    by_name: dict[str, dict[str, str]] = {}
    for text in _documents(_helm(values, namespace)):
        kind, name = _about(text)
        by_name.setdefault(name, {})[kind] = text
    made = [by_name[job_name(deployment.deployment_id)] for deployment in deployments]
    return [
        Rendered(deployment=deployment, job=texts["Job"], config_map=texts["ConfigMap"])
        for deployment, texts in zip(deployments, made, strict=True)
    ]


def values_of(
    deployments: Sequence[Deployment],
    *,
    config: GkeBackend,
    sweep_name: str,
    engine_texts: Mapping[str, str],
    owner: str | None = None,
) -> dict[str, Any]:
    """Return the chart's values for deployments.

    Raises:
        UsageError: a value is given twice or is made by sweep, a point cannot run on these nodes, or a deployment has
            more points than a ConfigMap holds.
    """
    for name, why in MADE_HERE.items():
        if name in config.values:
            raise UsageError(f"backend.values.{name} cannot be given: {why}")
    if "nodeSelector" not in config.values and (other := _other_gpus(deployments)):
        raise UsageError(f"gpu={other} is not what A4X nodes have: name its nodes with backend.values.nodeSelector")
    values: dict[str, Any] = json.loads(json.dumps(config.values))
    for setting, dotted in NAMED.items():
        given = getattr(config, setting) or (owner if setting == "owner" else None)
        if given is not None:
            _put(values, dotted.split("."), given, f"backend.{setting} and backend.values.{dotted}")
    launcher = {key: path.read_text("utf-8") for key, path in LAUNCHER.items()}
    made = [_deployment(deployment, config, engine_texts) for deployment in deployments]
    for deployment in made:
        _must_fit(deployment, launcher)
    return values | {
        "sweepId": deployments[0].sweep_id,
        "sweepName": sweep_name,
        "managedBy": "sweep",
        "launcher": launcher,
        "deployments": made,
    }


def _deployment(deployment: Deployment, config: GkeBackend, engine_texts: Mapping[str, str]) -> dict[str, Any]:
    attempts = deployment.attempts
    return {
        "name": job_name(deployment.deployment_id),
        "deploymentId": deployment.deployment_id,
        "engineIds": list(dict.fromkeys(attempt.point.engine_id for attempt in attempts)),
        "attempts": [f"{attempt.point_id}:{attempt.repeat}-{attempt.number}" for attempt in attempts],
        "image": attempts[0].point.image,
        "activeDeadlineSeconds": PULL_S
        + config.start_timeout_s
        + len(attempts) * (config.point_timeout_s + BETWEEN_POINTS_S),
        "files": files_of(deployment, engine_texts, limit_s=config.point_timeout_s, start_s=config.start_timeout_s),
    }


def _must_fit(deployment: Mapping[str, Any], launcher: Mapping[str, str]) -> None:
    """Refuse a deployment whose files are more than a ConfigMap may hold, before anything is created."""
    files, points = deployment["files"], len(deployment["attempts"])
    fixed = sum(len(text.encode()) for text in launcher.values())
    size = sum(len(text.encode()) for text in files.values())
    if fixed + size > MOST_CONFIG_MAP_BYTES:
        fit = points * (MOST_CONFIG_MAP_BYTES - fixed) // size
        raise UsageError(
            f"{points} points are too many for the ConfigMap of one Job ({(fixed + size) >> 10} KiB of"
            f" {MOST_CONFIG_MAP_BYTES >> 10}): give run.max_points_per_deployment={max(1, fit * 9 // 10)}"
        )


def _other_gpus(deployments: Sequence[Deployment]) -> str:
    gpus = {str(attempt.point.gpu) for deployment in deployments for attempt in deployment.attempts}
    return ", ".join(sorted(gpus - {"gb200"}))


def _put(tree: dict[str, Any], path: Sequence[str], value: str, both: str) -> None:
    *sections, last = path
    for section in sections:
        tree = tree.setdefault(section, {})
    if tree.get(last):
        raise UsageError(f"{both} are both given; take the first")
    tree[last] = value


def _helm(values: Mapping[str, Any], namespace: str) -> str:
    helm = shutil.which("helm")
    if helm is None:
        raise UsageError(
            f"helm is not on PATH: install helm {FIRST_HELM} or newer (https://helm.sh/docs/intro/install)"
        )
    chart = str(SHIPPED / "charts" / "trtllm-bench")
    command = [helm, "template", "sweep", chart, "--namespace", namespace, "--values", "-"]
    try:  # by its standard input: a killed driver leaves no file
        done = subprocess.run(
            command, input=json.dumps(values), capture_output=True, text=True, timeout=HELM_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"helm template did not end within {HELM_S} s") from None
    if done.returncode != 0:
        said = re.sub(r"\n{2,}", "\n", done.stderr.strip()).removeprefix("Error: ")
        raise UsageError(f"helm refuses the chart's values: {said}")
    return done.stdout


def _documents(text: str) -> list[str]:
    """Part what helm prints, each document with its `# Source:` line."""
    return [document for document in re.split(r"^---\n", text, flags=re.MULTILINE) if document.strip()]


def _about(text: str) -> tuple[str, str]:
    """Return kind and name of a rendered manifest; both stand near its top, in lines of their own."""
    kind = re.search(r"^kind: (\w+)$", text, re.MULTILINE)
    name = re.search(r'^  name: "([^"]+)"$', text, re.MULTILINE)
    if kind is None or name is None:
        raise UsageError("the chart made something that is neither a Job nor a ConfigMap of ours")
    return kind[1], name[1]
