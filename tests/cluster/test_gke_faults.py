"""Whatever happens to pods, nodes, the API server and the way there: each point is told once, or why it was not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from sweep.backends import Ended, Event, Lost, PointDone, PointFailed, Stage, Waiting
from sweep.backends.gke import course
from sweep.plan import Deployment, job_name
from tests.cluster.fakes import LogFile, Logs, lines_of, objects
from tests.cluster.following import follow, of, planned, with_objects
from tests.cluster.kit.cluster import Client, Cluster
from tests.cluster.proxy import Proxy
from tests.patience import HANG_S


def stops_at(number: int) -> Callable[[int, str], str | None]:
    """Return a fault: the pod dies while it measures this point."""
    return lambda point, line: line if point < number else None


def only_pod(cluster: Cluster, namespace: str) -> str:
    """Return the name of the one pod."""
    (pod,) = objects(cluster, namespace, "pods")
    return str(pod["metadata"]["name"])


def expect_points_told_once(deployments: Sequence[Deployment], told: Sequence[Sequence[Event]]) -> None:
    for deployment, events in zip(deployments, told, strict=True):
        assert [event.key for event in of(PointDone, events)] == [attempt.key for attempt in deployment.attempts]
        assert events[-1] == Ended()


# ------------------------------------------------------------------------------------------------------- pods that fail


def test_a_pod_that_dies_at_a_point_fails_it_and_leaves_the_others_for_later(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(3), namespace, podAnnotations={"fake.test/exit": "1"})
    with Logs(cluster, namespace, deployments, fault=stops_at(1)):
        (events,) = follow(deployments, config)
    keys = [attempt.key for attempt in deployments[0].attempts]
    assert [event.key for event in of(PointDone, events)] == keys[:1]
    (failed,) = of(PointFailed, events)
    # the pod's log goes on with the step of the third point, so that it is the one that the end is of
    assert failed.key == keys[2] and failed.exit_code == 1 and failed.environment["node"].startswith("a4x-")
    assert events[-1].message


def test_a_log_whose_end_comes_late_is_read_once_more(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(2), namespace, run="5s")
    client, told = Client(cluster), threading.Event()

    def late() -> None:
        cluster.wait("a pod", lambda: objects(cluster, namespace, "pods"))
        file = LogFile(cluster, client, namespace, only_pod(cluster, namespace))
        assert told.wait(HANG_S)
        file.write(lines_of(deployments[0]), 0.0, threading.Event())

    def look(event: Event) -> bool:
        if isinstance(event, Waiting) and "read once more" in event.message:
            told.set()
        return False

    (events,) = follow(deployments, config, at_once=late, until=look)
    expect_points_told_once(deployments, [events])
    client.close()


@pytest.mark.parametrize(
    ("reason", "exit_code", "kind"), [("OOMKilled", "137", "oom"), ("Error", "127", "usage"), ("Error", "3", "unknown")]
)
def test_what_ended_the_container_is_the_kind_of_the_failure(
    cluster: Cluster, namespace: str, reason: str, exit_code: str, kind: str
) -> None:
    notes = {"fake.test/exit": exit_code, "fake.test/reason": reason}
    deployments, config = with_objects(planned(1), namespace, podAnnotations=notes)
    with Logs(cluster, namespace, deployments, fault=stops_at(0)):
        (events,) = follow(deployments, config)
    (failed,) = of(PointFailed, events)
    assert (failed.kind, failed.exit_code) == (kind, int(exit_code))


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("ImagePullBackOff", "image_pull"),
        ("CreateContainerConfigError", "invalid_config"),  # a Secret that is not there
    ],
)
def test_a_pod_that_cannot_start_is_given_up_and_its_job_deleted(
    cluster: Cluster, namespace: str, reason: str, kind: str
) -> None:
    deployments, config = with_objects(
        planned(2), namespace, podAnnotations={"fake.test/waiting": reason}, pending_timeout_s=1
    )
    (events,) = follow(deployments, config)
    assert any(event.stage is Stage.PULLING and reason in event.message for event in of(Waiting, events))
    (ended,) = of(Ended, events)
    assert ended.kind == kind and reason in ended.message and not of(PointDone, events)
    assert ended.node is not None and ended.node.startswith("a4x-")
    cluster.wait("nothing of it is left", lambda: not objects(cluster, namespace, "jobs"))


def test_a_pod_that_may_not_be_made_is_told_with_the_reason_and_given_up(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "PODLESS_S", 1.0)
    monkeypatch.setattr(course, "GLANCE_S", 1.0)
    deployments, config = with_objects(planned(1), namespace, pending_timeout_s=3)
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    (events,) = follow(deployments, config)
    assert any("FailedCreate: " in event.message and "PodSecurity" in event.message for event in of(Waiting, events))
    (ended,) = of(Ended, events)
    assert ended.kind == "backend_error" and "violates PodSecurity" in ended.message
    cluster.wait("nothing of it is left", lambda: not objects(cluster, namespace, "jobs"))


def test_a_pod_for_which_no_node_is_free_says_what_the_scheduler_says(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(1), namespace, gpus=8)

    def told_why(event: Event) -> bool:
        return isinstance(event, Waiting) and "Insufficient nvidia.com/gpu" in event.message

    (events,) = follow(deployments, config, until=told_why)
    assert events[-1].stage is Stage.SCHEDULING


def test_a_pod_that_its_node_evicts_is_told_with_the_reason(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(1), namespace, run="60s")

    def evict() -> None:
        pod = only_pod(cluster, namespace)
        status = {
            "phase": "Failed",
            "reason": "Evicted",
            "message": "The node was low on resource: ephemeral-storage.",
        }
        cluster.kubectl(
            "patch",
            "pod",
            pod,
            "-n",
            namespace,
            "--subresource=status",
            "--type=merge",
            "-p",
            json.dumps({"status": status}),
        )

    with Logs(cluster, namespace, deployments, fault=stops_at(0)):
        (events,) = follow(deployments, config, at_first_point=evict)
    (failed,) = of(PointFailed, events)
    assert failed.kind == "out_of_disk" and "ephemeral-storage" in failed.message


def test_a_node_that_vanishes_is_told_as_lost(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(1), namespace, run="300s")
    nodes: list[str] = []

    def vanish() -> None:
        pod = only_pod(cluster, namespace)
        said = json.loads(cluster.kubectl("get", "pod", pod, "-n", namespace, "-o", "json"))
        nodes.append(said["spec"]["nodeName"])
        cluster.kubectl("delete", "node", nodes[0], "--wait=false")

    try:
        with Logs(cluster, namespace, deployments, fault=stops_at(0)):
            (events,) = follow(deployments, config, at_first_point=vanish)
    finally:
        cluster.add_node(nodes[0])
    (failed,) = of(PointFailed, events)
    assert failed.kind == "node_lost" and failed.environment["node"] == nodes[0]


def test_a_job_that_somebody_deletes_ends(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(2), namespace, run="60s")

    def delete() -> None:
        cluster.kubectl("delete", "job", "--all", "-n", namespace)

    with Logs(cluster, namespace, deployments, fault=stops_at(9)):
        (events,) = follow(deployments, config, at_first_point=delete)
    assert isinstance(events[-1], Ended)
    assert not objects(cluster, namespace, "jobs")


def test_a_job_beyond_its_deadline_is_told_as_a_time_out(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(1), namespace, run="60s")

    def shorten() -> None:
        cluster.kubectl(
            "patch",
            "job",
            job_name(deployments[0].deployment_id),
            "-n",
            namespace,
            "-p",
            '{"spec": {"activeDeadlineSeconds": 2}}',
        )

    with Logs(cluster, namespace, deployments, fault=stops_at(0)):
        (events,) = follow(deployments, config, at_first_point=shorten)
    (failed,) = of(PointFailed, events)
    assert failed.kind == "timeout" and "deadline" in failed.message.lower()


# ---------------------------------------------------------------------------------------- the API server, the way there


def test_an_api_server_that_is_restarted_costs_only_time(cluster: Cluster, namespace: str) -> None:
    deployments, config = with_objects(planned(4, nodes=4), namespace, run="4s")

    def restart() -> None:
        cluster.restart("kube-apiserver")

    with Logs(cluster, namespace, deployments):
        told = follow(deployments, config, at_first_point=restart)
    expect_points_told_once(deployments, told)


def test_what_the_server_has_forgotten_is_read_anew(cluster: Cluster, namespace: str) -> None:
    """After compaction a watch is answered 410, and everything is listed again."""
    deployments, config = with_objects(planned(4, nodes=4), namespace, run="4s")

    def forget() -> None:
        cluster.restart("kube-apiserver", meanwhile=cluster.compact)
        cluster.kubectl("annotate", "pod", "--all", "-n", namespace, "after=compaction")

    with Logs(cluster, namespace, deployments):
        told = follow(deployments, config, at_first_point=forget)
    expect_points_told_once(deployments, told)


def test_connections_that_break_lose_and_repeat_nothing(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deployments, config = with_objects(planned(8, nodes=2), namespace, run="5s")
    with Proxy(cluster.load()["port"], cut_every_s=0.4) as proxy:
        monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(cluster, tmp_path, port=proxy.port)))
        with Logs(cluster, namespace, deployments, each_s=0.5):
            told = follow(deployments, config)
    assert proxy.cuts >= 5
    expect_points_told_once(deployments, told)


def test_a_webhook_that_is_down_is_waited_for(cluster: Cluster, namespace: str) -> None:
    """With Kueue's webhook down every POST of a Job is answered by 500."""
    hook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [
            {
                "name": "down.test.sweep",
                "clientConfig": {"url": "https://127.0.0.1:9/down"},
                "rules": [
                    {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 1,
            }
        ],
    }
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(hook))
    probe = ("create", "job", "probe", "--image=x", "--dry-run=server", "-n", namespace)
    cluster.wait("the hook is in force", lambda: not cluster.kubectl(*probe, check=False))
    deployments, config = with_objects(planned(1), namespace)

    def mend() -> None:  # once it was told that it is refused
        cluster.kubectl("delete", "validatingwebhookconfiguration", namespace)

    with Logs(cluster, namespace, deployments):
        told = follow(deployments, config, at_once=mend)
    expect_points_told_once(deployments, told)
    first = of(Waiting, told[0])[0]
    assert first.stage is Stage.QUEUED and "failed calling webhook" in first.message


# ---------------------------------------------------------------------------------------------------------- credentials


def test_a_token_is_renewed_before_it_ends_and_when_it_is_refused(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The plugin's first token is refused; the later ones end in 62 s, which is 2 s before they are renewed."""
    calls = tmp_path / "calls"
    plugin = tmp_path / "plugin"
    plugin.write_text(
        f"""#!/usr/bin/env bash
echo x >> {calls}
token=admin-token
[ "$(wc -l < {calls})" = 1 ] && token=ended
cat <<END
{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
 "status": {{"token": "$token", "expirationTimestamp": "$(date -u -d '+62 seconds' +%Y-%m-%dT%H:%M:%SZ)"}}}}
END
"""
    )
    plugin.chmod(0o755)
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(plugin),
            "interactiveMode": "Never",
        }
    }
    deployments, config = with_objects(planned(2), namespace, run="8s")
    with Proxy(cluster.load()["port"], cut_every_s=1) as proxy:  # so that there are requests to make
        monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(cluster, tmp_path, port=proxy.port, user=user)))
        with Logs(cluster, namespace, deployments, each_s=1):
            told = follow(deployments, config)
    expect_points_told_once(deployments, told)
    assert len(calls.read_text().split()) >= 3


def test_a_user_without_rights_is_told_what_is_refused(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployments, config = with_objects(planned(1), namespace)
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig("nobody")))
    (events,) = follow(deployments, config)
    (lost,) = events  # not an Ended: a Job that may not be looked for may be there
    assert isinstance(lost, Lost) and 'cannot list resource "' in lost.message
    assert "nobody-token" not in lost.message


def _kubeconfig(cluster: Cluster, folder: Path, *, port: int | None = None, user: object = None) -> Path:
    said = yaml.safe_load(cluster.kubeconfig("admin").read_text())
    if port is not None:
        said["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    if user is not None:
        said["users"][0]["user"] = user
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(said))
    return path
