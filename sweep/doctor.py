"""What is missing before a run, and the command that mends it: all asked at once, each question with its time limit.

Here is who is asked; what the answers mean is judged by backends/gke/readiness.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from sweep.backends.access import default_namespace
from sweep.backends.fields import Form, Object, field, mappings, text
from sweep.backends.gke import admission, readiness
from sweep.backends.gke.objects import JOBS, Gone, kueue_path, unless_gone
from sweep.backends.gke.readiness import KUEUE, RIGHTS, Finding, Level, Needs, Right, SecretNeed
from sweep.backends.gke.volume import results_uri, try_volume
from sweep.backends.kubernetes import Cluster
from sweep.config import GkeBackend
from sweep.errors import ClusterError, UsageError

T = TypeVar("T")

BEFORE_RUN_S = 1.5
"""How long a question may take before a run; one that is not answered by then stops nobody."""
THOROUGHLY_S = 10.0
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""How the API server tells of a Secret without what is in it."""


def examine(config: GkeBackend, job: str | None, *, seconds: float = THOROUGHLY_S) -> list[Finding]:
    """Ask helm, the cluster and the results volume.

    Args:
        job: a Job as it would be created, in JSON; without it what depends on it is left out.
        seconds: the time limit of each question.
    """
    return asyncio.run(_examine(config, None if job is None else json.loads(job), seconds))


def expect_ready(config: GkeBackend, job: str) -> list[Finding]:
    """Ask the same before a run, and return what a person should know though the run can begin.

    Raises:
        UsageError: something is missing, so that Jobs would only wait or fail.
    """
    findings = examine(config, job, seconds=BEFORE_RUN_S)
    errors = [finding for finding in findings if finding.level is Level.ERROR]
    if errors:
        raise UsageError("\n  ".join(["nothing was started:", *(line for error in errors for line in told(error))]))
    return [finding for finding in findings if finding.level is Level.WARNING]


def told(finding: Finding) -> list[str]:
    """Return a finding as lines for people: what is so, and what mends it."""
    return [f"{finding.name}: {finding.message}", *([f"  → {finding.mend}"] if finding.mend else [])]


async def _examine(config: GkeBackend, job: Object | None, seconds: float) -> list[Finding]:
    asked = [_ask("helm", seconds, _helm(seconds)), _ask_cluster(config, job, seconds)]
    uri = results_uri({"results_uri": config.results_uri, "bucket": config.bucket})
    if uri is not None:
        asked.append(_ask("results", seconds, _volume(uri, config, seconds)))
    return [finding for findings in await asyncio.gather(*asked) for finding in findings]


async def _ask(name: str, seconds: float, question: Awaitable[list[Finding]]) -> list[Finding]:
    """Answer a question within its time; what may not be seen or is not answered is unknown, and not an error."""
    try:
        return await asyncio.wait_for(question, seconds)
    except TimeoutError:
        return [Finding(name=name, level=Level.UNKNOWN, message=f"not answered within {seconds:g} s")]
    except ClusterError as error:
        return [Finding(name=name, level=Level.UNKNOWN, message=str(error))]


# ---------------------------------------------------------------------------------------------- outside of the cluster


async def _helm(seconds: float) -> list[Finding]:
    helm = shutil.which("helm")
    if helm is None:
        return [readiness.judge_helm(None)]
    command = [helm, "version", "--template", "{{.Version}}"]

    def ask() -> str:
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False).stdout.strip()
        except (subprocess.TimeoutExpired, OSError) as error:
            return f"nothing ({type(error).__name__})"

    return [readiness.judge_helm(await asyncio.to_thread(ask))]


async def _volume(uri: str, config: GkeBackend, seconds: float) -> list[Finding]:
    """Write a probe; the identity of pods is another one, which cannot be tried from here."""
    trouble = await _in_thread(lambda: try_volume(uri, seconds / 2))  # so that its own reason is heard in time
    if trouble is not None:
        message = f"{uri} cannot be used from here, so that results whose pod log is lost are not found: {trouble}"
        mend = "gcloud auth application-default login" if uri.startswith("gs://") else ""
        return [Finding(name="results", level=Level.WARNING, message=message, mend=mend)]
    found = [Finding(name="results", level=Level.OK, message=f"{uri} can be written from here")]
    if config.bucket is not None:
        account = config.service_account or "default"
        member = (
            "principal://iam.googleapis.com/projects/PROJECT_NUMBER/locations/global/workloadIdentityPools/"
            f"PROJECT_ID.svc.id.goog/subject/ns/{config.namespace or default_namespace(config.context)}/sa/{account}"
        )
        found.append(
            Finding(
                name="results",
                level=Level.UNKNOWN,
                message=f"whether service account {account} of the pods may write it (Workload Identity) is seen only"
                " once one runs",
                mend=f"gcloud storage buckets add-iam-policy-binding gs://{config.bucket}"
                f" --role=roles/storage.objectUser --member={member}",
            )
        )
    return found


async def _in_thread(work: Callable[[], T]) -> T:
    """Do what blocks in a thread that nobody waits for at the end: a bucket may be silent for longer than we ask."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def answer(found: T) -> None:
        if not future.done():
            future.set_result(found)

    def run() -> None:
        found = work()
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(answer, found)

    threading.Thread(target=run, daemon=True).start()
    return await future


# --------------------------------------------------------------------------------------------------------- the cluster


async def _ask_cluster(config: GkeBackend, job: Object | None, seconds: float) -> list[Finding]:
    try:
        cluster = await asyncio.wait_for(Cluster.connect(config.context, config.namespace), THOROUGHLY_S)
    except (UsageError, TimeoutError) as error:
        message = str(error) or f"the plugin of the kubectl context gives no token within {THOROUGHLY_S:g} s"
        return [Finding(name="cluster", level=Level.ERROR, message=message)]  # which says what mends it
    try:
        return await _examine_cluster(cluster, config, job, seconds)
    finally:
        await cluster.close()


GET_CREDENTIALS = "gcloud container clusters get-credentials CLUSTER --location LOCATION"


async def _examine_cluster(cluster: Cluster, config: GkeBackend, job: Object | None, seconds: float) -> list[Finding]:
    try:
        version = await asyncio.wait_for(cluster.request("GET", "/version", patience_s=0), THOROUGHLY_S)
    except (ClusterError, TimeoutError) as error:
        said = str(error) or "the API server does not answer"
        return [Finding(name="cluster", level=Level.ERROR, message=said, mend=GET_CREDENTIALS)]
    where = f"{config.context or 'the current context'}, namespace {cluster.namespace}, {version.get('gitVersion')}"
    found = [
        Finding(name="cluster", level=Level.OK, message=where),
        readiness.judge_clock(cluster.ahead_s),
    ]
    questions: list[tuple[str, Awaitable[list[Finding]]]] = [
        ("namespace", _namespace(cluster)),
        ("rights", _rights(cluster)),
    ]
    if job is not None:
        needs = readiness.needs_of(job)
        questions += [("queue", _queue(cluster, needs)), ("nodes", _nodes(cluster, needs)), ("job", _try(cluster, job))]
        questions += [(f"secret {secret.name}", _secret(cluster, secret)) for secret in needs.secrets]
        questions += [(f"claim {name}", _claim(cluster, name)) for name in needs.claims]
        if needs.service_account is not None:
            questions.append(("service account", _service_account(cluster, needs.service_account)))
        if needs.queue_priority is not None:
            questions.append(("priority", _queue_priority(cluster, needs.queue_priority)))
        if needs.gcsfuse:
            questions.append(("gcsfuse", _gcsfuse(cluster)))
    answers = await asyncio.gather(*(_ask(name, seconds, question) for name, question in questions))
    return [*found, *(finding for findings in answers for finding in findings)]


async def _get(cluster: Cluster, path: str, **more: Any) -> dict[str, Any]:
    return await unless_gone(cluster.request("GET", path, patience_s=0, **more))


async def _is_there(cluster: Cluster, name: str, path: str, message: str, mend: str, **more: Any) -> list[Finding]:
    try:
        await _get(cluster, path, **more)
    except Gone:
        return [Finding(name=name, level=Level.ERROR, message=message, mend=mend)]
    return [Finding(name=name, level=Level.OK, message="is there")]


async def _namespace(cluster: Cluster) -> list[Finding]:
    name = cluster.namespace
    missing, mend = f"there is no namespace {name}", f"kubectl create namespace {name}"
    return await _is_there(cluster, "namespace", f"/api/v1/namespaces/{name}", missing, mend)


async def _secret(cluster: Cluster, needed: SecretNeed) -> list[Finding]:
    path = f"/api/v1/namespaces/{cluster.namespace}/secrets/{needed.name}"
    try:
        await _get(cluster, path, accept=METADATA_ONLY)
    except Gone:
        return [readiness.judge_no_secret(needed, cluster.namespace)]
    return [Finding(name=f"secret {needed.name}", level=Level.OK, message="is there")]


async def _claim(cluster: Cluster, name: str) -> list[Finding]:
    path = f"/api/v1/namespaces/{cluster.namespace}/persistentvolumeclaims/{name}"
    missing = f"there is no PersistentVolumeClaim {name} in namespace {cluster.namespace}"
    return await _is_there(cluster, f"claim {name}", path, missing, f"kubectl get pvc -n {cluster.namespace}")


async def _service_account(cluster: Cluster, name: str) -> list[Finding]:
    path = f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts/{name}"
    missing = f"there is no service account {name} in namespace {cluster.namespace}: no pod would be made"
    mend = f"kubectl create serviceaccount {name} -n {cluster.namespace}"
    return await _is_there(cluster, "service account", path, missing, mend)


async def _gcsfuse(cluster: Cluster) -> list[Finding]:
    missing = "the cluster has no Cloud Storage FUSE driver: pods would wait for their bucket for ever"
    mend = "gcloud container clusters update CLUSTER --location LOCATION --update-addons GcsFuseCsiDriver=ENABLED"
    path = "/apis/storage.k8s.io/v1/csidrivers/gcsfuse.csi.storage.gke.io"
    return await _is_there(cluster, "gcsfuse", path, missing, mend)


async def _rights(cluster: Cluster) -> list[Finding]:
    """Ask right by right: a list of all rights (SelfSubjectRulesReview) lacks those that GKE grants by IAM."""
    kueue = await kueue_path(cluster, patience_s=0)
    wanted = [(right, verb) for right in RIGHTS if right.group != KUEUE or kueue for verb in right.verbs]
    allowed = await asyncio.gather(*(_may(cluster, right, verb) for right, verb in wanted))
    denied = [asked for asked, may in zip(wanted, allowed, strict=True) if not may]
    return readiness.judge_rights(denied, cluster.namespace)


async def _may(cluster: Cluster, right: Right, verb: str) -> bool:
    resource, _, part = right.resource.partition("/")
    asked = {"group": right.group, "resource": resource, "subresource": part, "verb": verb}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": cluster.namespace, **asked}},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = await cluster.request("POST", path, body=json.dumps(body), patience_s=0)
    return field(answer, "status", "allowed") is True


async def _queue(cluster: Cluster, needs: Needs) -> list[Finding]:
    """Look at the LocalQueue, and at its ClusterQueue, which not everybody may see."""
    kueue = await kueue_path(cluster, patience_s=0)
    if kueue is None:
        return [] if needs.queue is None else [admission.judge_no_kueue(needs.queue)]
    queues = f"{kueue}/namespaces/{cluster.namespace}/localqueues"
    try:
        local = await _get(cluster, f"{queues}/{needs.queue or admission.DEFAULT_QUEUE}")
    except Gone:
        listed = await _get(cluster, queues, form=Form.LIST)
        there = [queue["metadata"]["name"] for queue in listed["items"]]
        if needs.queue is None:
            return admission.judge_no_queue(there)
        return [admission.judge_unknown_queue(needs.queue, cluster.namespace, there)]
    found = [admission.judge_local_queue(local, is_default=needs.queue is None)]
    name = text(local, "spec", "clusterQueue")
    try:
        queue = await _get(cluster, f"{kueue}/clusterqueues/{name}")
    except Gone:
        return [admission.judge_no_cluster_queue(text(local, "metadata", "name"), name)]
    except ClusterError as error:
        unseen = Finding(name="quota", level=Level.UNKNOWN, message=str(error), mend=readiness.CLUSTER_ROLE)
        return [*found, *(admission.judge_active(local, "LocalQueue") or [unseen])]
    found += admission.judge_active(queue, "ClusterQueue") or [admission.judge_quota(needs, queue)]
    with contextlib.suppress(ClusterError, Gone):  # which is another question's
        namespace = await _get(cluster, f"/api/v1/namespaces/{cluster.namespace}")
        found += admission.judge_namespace(queue, namespace)
    if needs.topology_level is not None:
        found += await _topology(cluster, kueue, queue, needs.topology_level)
    return found


async def _topology(cluster: Cluster, kueue: str, queue: Object, level: str) -> list[Finding]:
    levels: dict[str, list[str]] = {}
    try:
        for name in admission.flavors(queue):
            flavor = await _get(cluster, f"{kueue}/resourceflavors/{name}")
            topology = text(flavor, "spec", "topologyName")
            described = await _get(cluster, f"{kueue}/topologies/{topology}") if topology else {}
            levels[name] = [text(each, "nodeLabel") for each in mappings(described, "spec", "levels")]
    except Gone:
        return []  # for which Kueue says that the queue is not active
    except ClusterError as error:
        return [Finding(name="topology", level=Level.UNKNOWN, message=str(error), mend=readiness.CLUSTER_ROLE)]
    return admission.judge_topology(level, levels)


async def _try(cluster: Cluster, job: Object) -> list[Finding]:
    """Send a Job that is judged by all webhooks and made by nobody, under a name that no Job has."""
    meta = {key: value for key, value in job["metadata"].items() if key != "name"}
    body = json.dumps({**job, "metadata": {**meta, "generateName": f"{job['metadata']['name'][:50]}-"}})
    try:
        await cluster.request("POST", JOBS, body=body, params={"dryRun": "All"}, patience_s=0)
    except ClusterError as error:
        if error.status == 404:  # no namespace, which is told
            return []
        return [readiness.judge_trial(error)]
    return [readiness.judge_trial(None)]


async def _queue_priority(cluster: Cluster, name: str) -> list[Finding]:
    kueue = await kueue_path(cluster, patience_s=0)
    if kueue is None:
        return []
    missing = f"there is no WorkloadPriorityClass {name}: Kueue would take no notice of the Jobs"
    mend = "kubectl get workloadpriorityclasses"
    try:
        return await _is_there(cluster, "priority", f"{kueue}/workloadpriorityclasses/{name}", missing, mend)
    except ClusterError as error:
        if error.status != 403:
            raise
        return [admission.judge_unseen_priority(name)]


async def _nodes(cluster: Cluster, needs: Needs) -> list[Finding]:
    selector = ",".join(f"{name}={value}" for name, value in needs.node_selector.items())
    listed = await _get(cluster, "/api/v1/nodes", params={"labelSelector": selector}, form=Form.LIST)
    return [readiness.judge_nodes(needs, listed["items"])]


def errors_in(findings: Sequence[Finding]) -> bool:
    """Say whether something is missing."""
    return any(finding.level is Level.ERROR for finding in findings)
