"""Create a deployment's Job and ConfigMap, or take over the ones that are there.

Nothing is applied a second time: Job templates are immutable, and Kueue edits them. What exists under the name is ours
if its spec-hash is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable

from sweep.backends.fields import Form, Object, mappings, text
from sweep.backends.gke.objects import CONFIG_MAPS, JOBS, Gone, annotation, delete_job, unless_gone
from sweep.backends.kubernetes import Cluster
from sweep.errors import ClusterError
from sweep.plan import Deployment, job_name

PATIENCE_S = 900.0
"""For how long a Job is asked for while the API server, or a webhook of its, fails."""
GOING_S = 300.0
"""How long an earlier Job of the same name may take to be deleted."""


async def create(
    cluster: Cluster,
    deployment: Deployment,
    trouble: Callable[[str], None] = lambda _: None,
    made: Callable[[Object], None] = lambda _: None,
) -> None:
    """Create both, the ConfigMap with the Job as its owner, so that they go together.

    Args:
        trouble: told why it is not done yet.
        made: told the Job as soon as it is there.

    Raises:
        ClusterError: the API server refuses (then neither is left), or is away for too long (then the Job may be there,
            and the same call takes it over).
    """
    job_text, map_text = deployment.objects
    name = job_name(deployment.deployment_id)
    job = await _create_job(cluster, name, job_text, trouble)
    made(job)
    try:
        await _create_map(cluster, name, map_text, job["metadata"]["uid"], trouble)
    except ClusterError as error:
        if not error.is_passing:
            await delete_job(cluster, name)
        raise


async def _create_job(cluster: Cluster, name: str, manifest: str, trouble: Callable[[str], None]) -> Object:
    until = time.monotonic() + GOING_S
    while True:
        try:
            return await cluster.request(
                "POST", JOBS, body=manifest, form=Form.OBJECT, patience_s=PATIENCE_S, trouble=trouble
            )
        except ClusterError as error:
            if error.status != 409 or time.monotonic() > until:
                raise
        with contextlib.suppress(Gone):
            there = await unless_gone(cluster.request("GET", f"{JOBS}/{name}", form=Form.OBJECT))
            if not text(there, "metadata", "deletionTimestamp"):
                if annotation(there, "spec-hash") == annotation(json.loads(manifest), "spec-hash"):
                    return there
                raise ClusterError(f"a Job {name} with other contents exists; sweep gc removes it", 409)
            trouble("an earlier Job of the same name is still being deleted")
            await asyncio.sleep(1)


async def _create_map(cluster: Cluster, name: str, manifest: str, uid: str, trouble: Callable[[str], None]) -> None:
    made = json.loads(manifest)
    made["metadata"]["ownerReferences"] = [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}]
    until = time.monotonic() + GOING_S
    while True:
        try:
            await cluster.request("POST", CONFIG_MAPS, body=json.dumps(made), patience_s=PATIENCE_S, trouble=trouble)
        except ClusterError as error:
            if error.status != 409 or time.monotonic() > until:
                raise
        else:
            return
        with contextlib.suppress(Gone):
            there = await unless_gone(cluster.request("GET", f"{CONFIG_MAPS}/{name}"))
            if uid in {text(owner, "uid") for owner in mappings(there, "metadata", "ownerReferences")}:
                return
        await asyncio.sleep(1)  # it is of an earlier Job, and is being collected
