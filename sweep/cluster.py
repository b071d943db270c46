"""What the commands ask of a cluster, and nothing where the backend has none: stock, manifests, cleaning up."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from sweep import chart
from sweep.config import GkeBackend, SweepConfig
from sweep.errors import ClusterError, UsageError
from sweep.plan import Deployment, Plan, job_name
from sweep.point import GPUS

if TYPE_CHECKING:
    from sweep.backends import AttemptKey
    from sweep.backends.gke import Live
    from sweep.backends.kubernetes import Cluster

T = TypeVar("T")
SUBMITTED_AT_ONCE = 16


def pinned(cfg: SweepConfig) -> SweepConfig:
    """Return the configuration with the context and namespace that are the current ones, so that a run stays there."""
    config = config_of(cfg)
    if config is None:
        return cfg
    from sweep.backends.access import current_context, default_namespace

    context = config.context or current_context()
    named = {"context": context, "namespace": config.namespace or default_namespace(context)}
    return replace(cfg, backend_config={**cfg.backend_config, **named})


def take_stock(cfg: SweepConfig, sweep_id: str) -> Sequence[Live]:
    """Return what of the sweep exists on the cluster. A Job whose pod can never begin is deleted and not counted.

    Raises:
        UsageError: the cluster cannot be reached, or refuses.
    """
    if config_of(cfg) is None:
        return ()
    from sweep.backends.gke import delete_job, live

    async def take(cluster: Cluster) -> list[Live]:
        found = await live(cluster, sweep_id)
        for deployment in found:
            if not deployment.whole and not deployment.standing.ended:  # a driver was killed between Job and ConfigMap
                await delete_job(cluster, deployment.job)
        return [deployment for deployment in found if deployment.whole]

    return ask(cfg, take)


def look(cfg: SweepConfig, sweep_id: str) -> Sequence[Live]:
    """Return what of the sweep exists on the cluster and how far it is, and change nothing.

    Raises:
        UsageError: the cluster cannot be reached, or refuses.
    """
    if config_of(cfg) is None:
        return ()
    from sweep.backends.gke import how_far, live

    async def question(cluster: Cluster) -> list[Live]:
        return await how_far(cluster, await live(cluster, sweep_id))

    return ask(cfg, question)


def left_on_volume(
    cfg: SweepConfig, sweep_id: str, known: Collection[AttemptKey], *, answer_s: float
) -> Sequence[Live]:
    """Return deployments whose Jobs are gone, and whose results lie on the volume and are not known yet.

    answer_s: for so long each question may be tried.

    Raises:
        UsageError: the volume cannot be read from here.
    """
    uri = results_uri(cfg)
    if uri is None:
        return ()
    from sweep.backends.gke import kept
    from sweep.backends.gke.volume import Volume, told

    try:
        return asyncio.run(kept(Volume(uri, sweep_id, answer_s=answer_s), known))
    except OSError as error:
        raise UsageError(f"the results volume {uri} cannot be read from here: {told(error)}") from error


def nodes_by_quota(cfg: SweepConfig) -> int | None:
    """Return over how many nodes the queue's quota lets a sweep spread; None where it is said, or cannot be seen.

    Where no queue is named it is the one that Kueue takes then, if there is one.

    Raises:
        UsageError: the cluster cannot be reached.
    """
    config = config_of(cfg)
    if config is None or cfg.run.nodes is not None:
        return None
    from sweep.backends.gke import admission, readiness

    queue = config.queue or admission.DEFAULT_QUEUE
    per_node = min(GPUS[str(part.settings["gpu"])].per_node for part in cfg.parts)

    async def question(cluster: Cluster) -> int | None:
        found = await _cluster_queue(cluster, queue)
        return None if found is None else max(1, int(admission.quotas(found).get(readiness.GPU, 0) // per_node))

    return ask(cfg, question)


async def _cluster_queue(cluster: Cluster, queue: str) -> dict[str, Any] | None:
    """Return the ClusterQueue of a LocalQueue; None where it is not there or may not be seen."""
    from sweep.backends.fields import text
    from sweep.backends.gke.objects import kueue_path

    try:
        kueue = await kueue_path(cluster)
        if kueue is None:
            return None
        local = await cluster.request("GET", f"{kueue}/namespaces/{{namespace}}/localqueues/{queue}")
        name = text(local, "spec", "clusterQueue")
        return await cluster.request("GET", f"{kueue}/clusterqueues/{name}") if name else None
    except ClusterError as error:
        if error.status in (403, 404):
            return None
        raise


def dress(cfg: SweepConfig, deployments: Sequence[Deployment], avoid: Sequence[str] = ()) -> list[Deployment]:
    """Return deployments with what is to be created of them; as they are where the backend creates nothing.

    avoid: names of nodes that they must not take.

    Raises:
        UsageError: helm is missing, or refuses the values.
    """
    rendered = _render(cfg, deployments, avoid)
    if rendered is None:
        return list(deployments)
    return [replace(made.deployment, objects=(_json(made.job), _json(made.config_map))) for made in rendered]


def submit(cfg: SweepConfig, deployments: Sequence[Deployment], going_on: Sequence[Deployment] = ()) -> int:
    """Create what deployments are made of, follow nothing, and return how many there are.

    going_on: deployments that exist; what nobody asks for of them is told to their pods.

    Raises:
        UsageError: there is no results volume, so that a pod's results could be lost with its log; or the cluster
            refuses.
    """
    config = config_of(cfg)
    volume = config is not None and (config.bucket or dict(config.values.get("results") or {}).get("claimName"))
    if not volume:
        raise UsageError(
            "run.detach needs backend=gke and a results volume (backend.bucket or backend.values.results.claimName):"
            " without one what a pod measured is lost when its log is"
        )
    from sweep.backends.gke import create
    from sweep.backends.gke.objects import stop_points

    async def post(cluster: Cluster) -> int:
        few = asyncio.Semaphore(SUBMITTED_AT_ONCE)

        async def one(deployment: Deployment) -> None:
            async with few:
                await create(cluster, deployment)

        async def narrow(deployment: Deployment) -> None:
            async with few:
                await stop_points(cluster, job_name(deployment.deployment_id), sorted(deployment.unwanted))

        await asyncio.gather(*map(one, deployments), *(narrow(each) for each in going_on if each.unwanted))
        return len(deployments)

    return ask(cfg, post) if deployments or any(each.unwanted for each in going_on) else 0


def one_job(cfg: SweepConfig, plan: Plan) -> str | None:
    """Return a Job of the plan as it would be created, as JSON; None where the backend makes none.

    Raises:
        UsageError: helm is missing, or refuses the values.
    """
    rendered = _render(cfg, plan.deployments[:1])
    return _json(rendered[0].job) if rendered else None


def write_manifests(cfg: SweepConfig, plan: Plan, folder: Path) -> list[Path]:
    """Write the manifests of all deployments, as they would be created, and the files in them; return their folders.

    Raises:
        UsageError: the backend has no manifests, or the folder holds something else.
    """
    rendered = _render(cfg, plan.deployments)
    if rendered is None:
        raise UsageError(f"the {cfg.backend} backend has no manifests to render: backend=gke")
    written = []
    for made in rendered:
        name = job_name(made.deployment.deployment_id)
        files = yaml.load(made.config_map, yaml.CSafeLoader)["data"]
        try:
            (folder / name / "files").mkdir(parents=True, exist_ok=True)
            (folder / name / "job.yaml").write_text(made.job, "utf-8")
            (folder / name / "configmap.yaml").write_text(made.config_map, "utf-8")
            for file, text in files.items():
                (folder / name / "files" / file).write_text(text, "utf-8")
        except OSError as error:
            raise UsageError(f"{folder} cannot be written: {error.strerror}") from error
        written.append(folder / name)
    return written


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Names of the Jobs that were deleted, and of their pods that are still terminating and hold their nodes."""

    jobs: Sequence[str]
    terminating: Sequence[str]


def remove(cfg: SweepConfig, sweep_id: str) -> Removed:
    """Delete every Job of a sweep with its pods and ConfigMap.

    Raises:
        UsageError: the backend has no cluster, or it cannot be reached, or refuses.
    """
    if config_of(cfg) is None:
        raise UsageError(f"the {cfg.backend} backend leaves nothing on a cluster: backend=gke")
    from sweep.backends.gke import delete_job, live
    from sweep.backends.gke.objects import pods_of_sweep

    async def clean(cluster: Cluster) -> Removed:
        names = [deployment.job for deployment in await live(cluster, sweep_id)]
        await asyncio.gather(*(delete_job(cluster, name) for name in names))
        return Removed(jobs=names, terminating=await pods_of_sweep(cluster, sweep_id))

    return ask(cfg, clean)


def remove_of(cfg: SweepConfig, owner: str) -> Removed:
    """Delete every Job that one person's sweeps left in the namespace.

    Raises:
        UsageError: the backend has no cluster, or it cannot be reached, or refuses.
    """
    if config_of(cfg) is None:
        raise UsageError(f"the {cfg.backend} backend leaves nothing on a cluster: backend=gke")
    from sweep.backends.gke import delete_job, jobs_of_owner, pods_of

    async def clean(cluster: Cluster) -> Removed:
        names = await jobs_of_owner(cluster, owner)
        await asyncio.gather(*(delete_job(cluster, name) for name in names))
        return Removed(jobs=names, terminating=await pods_of(cluster, names))

    return ask(cfg, clean)


def results_uri(cfg: SweepConfig) -> str | None:
    """Return where this machine reads the results volume; None where there is none."""
    from sweep.backends.gke import results_uri

    return results_uri(cfg.backend_config) if config_of(cfg) is not None else None


def config_of(cfg: SweepConfig) -> GkeBackend | None:
    """Return the backend's settings where it is a cluster."""
    return GkeBackend(**cfg.backend_config) if cfg.backend == "gke" else None


def ask(cfg: SweepConfig, question: Callable[[Cluster], Awaitable[T]]) -> T:
    """Connect, ask and disconnect.

    Raises:
        UsageError: the cluster cannot be reached, or refuses.
    """
    from sweep.backends.kubernetes import Cluster

    config = config_of(cfg)
    assert config is not None

    async def connected() -> T:
        cluster = await Cluster.connect(config.context, config.namespace)
        try:
            return await question(cluster)
        finally:
            await cluster.close()

    try:
        return asyncio.run(connected())
    except ClusterError as error:
        raise UsageError(f"the cluster: {error}") from error


def _render(
    cfg: SweepConfig, deployments: Sequence[Deployment], avoid: Sequence[str] = ()
) -> list[chart.Rendered] | None:
    config = config_of(cfg)
    if config is None:
        return None
    if avoid:
        nodes = sorted({*(config.values.get("avoidNodes") or ()), *avoid})
        config = replace(config, values={**config.values, "avoidNodes": nodes})
    from sweep.backends.access import default_namespace

    return chart.render(
        deployments,
        config=config,
        namespace=config.namespace or default_namespace(config.context),
        sweep_name=cfg.name,
        engine_texts={part.model.id: part.engine_text for part in cfg.parts},
        owner=_user(),
    )


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _json(manifest: str) -> str:
    return json.dumps(yaml.load(manifest, yaml.CSafeLoader))
