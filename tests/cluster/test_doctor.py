"""`sweep doctor` and the same checks before a run, asked of a real API server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep import doctor
from sweep.backends import Ended, PointDone
from sweep.backends.gke.readiness import RIGHTS, Finding, Level, Right
from sweep.cli import run_command
from sweep.config import GkeBackend
from sweep.errors import UsageError
from tests.cluster.fakes import Logs, objects
from tests.cluster.following import follow, of, planned, with_objects
from tests.cluster.kit.cluster import Cluster

ROLE = Path(__file__).parent.parent.parent / "charts" / "trtllm-bench" / "examples" / "role.yaml"


def examined(namespace: str, **values: Any) -> dict[str, list[Finding]]:
    """Return the findings for one deployment by name."""
    deployments, config = with_objects(planned(1), namespace, **values)
    found: dict[str, list[Finding]] = {}
    for finding in doctor.examine(GkeBackend(**config), deployments[0].objects[0]):
        found.setdefault(finding.name, []).append(finding)
    return found


def levels(found: dict[str, list[Finding]]) -> dict[str, str]:
    return {name: str(findings[0].level) for name, findings in found.items()}


def test_a_cluster_that_has_all_passes_every_question(cluster: Cluster, namespace: str) -> None:
    found = examined(namespace)
    assert levels(found) == dict.fromkeys(("helm", "cluster", "clock", "namespace", "rights", "nodes", "job"), "ok")
    assert "18 with 4 GPUs" in found["nodes"][0].message


def test_what_a_job_names_and_is_not_there_is_told_with_what_makes_it(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    found = examined(
        namespace,
        hf_secret="hf-secret",
        service_account="bench",
        bucket="some-bucket",
        results_uri=tmp_path.as_uri(),
        imagePullSecrets=["registry"],
        weights={"claimName": "lustre"},
    )
    for name, command in {
        "secret hf-secret": f"kubectl create secret generic hf-secret -n {namespace} --from-file=hf_api_token=FILE",
        "secret registry": f"kubectl create secret docker-registry registry -n {namespace}",
        "service account": f"kubectl create serviceaccount bench -n {namespace}",
        "claim lustre": f"kubectl get pvc -n {namespace}",
        "gcsfuse": "GcsFuseCsiDriver=ENABLED",
    }.items():
        (finding,) = found[name]
        assert finding.level is (Level.WARNING if name == "secret hf-secret" else Level.ERROR), finding
        assert command in finding.mend
    writable, of_pods = found["results"]
    assert writable.level is Level.OK and not list(tmp_path.iterdir())
    assert of_pods.level is Level.UNKNOWN and f"ns/{namespace}/sa/bench" in of_pods.mend


def test_what_is_there_is_found_and_its_content_is_not_read(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("create", "secret", "generic", "hf", "-n", namespace, "--from-literal=hf_api_token=hf_secretvalue")
    cluster.kubectl("create", "serviceaccount", "bench", "-n", namespace)
    found = examined(namespace, hf_secret="hf", service_account="bench")
    assert levels(found)["secret hf"] == levels(found)["service account"] == "ok"
    assert "hf_secretvalue" not in str(found)


def test_a_namespace_that_does_not_exist_is_told(cluster: Cluster, namespace: str) -> None:
    found = examined("nowhere-at-all")
    assert found["namespace"][0].level is Level.ERROR
    assert found["namespace"][0].mend == "kubectl create namespace nowhere-at-all"


@pytest.mark.parametrize("broken", ["context", "server", "token"])
def test_a_cluster_that_cannot_be_reached_is_one_clear_error(
    cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    said = json.loads(json.dumps(_kubeconfig(cluster, "admin")))
    context = "no-such-context" if broken == "context" else None
    if broken == "server":
        said["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    if broken == "token":
        said["users"][0]["user"]["token"] = "s3cret-but-wrong"
    _use(monkeypatch, tmp_path, said)
    began = time.monotonic()
    found = doctor.examine(GkeBackend(context=context, namespace=namespace), None)
    (error,) = [finding for finding in found if finding.level is Level.ERROR]
    assert error.name == "cluster" and "get-credentials" in error.message + error.mend
    assert "s3cret" not in str(found) and time.monotonic() - began < 30


# ------------------------------------------------------------------------------------------------------------- rights


@pytest.fixture
def developer(cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A person with the chart's Role in the namespace and no other right; gives the Role, which can be changed."""
    cluster.kubectl("apply", "-n", namespace, "-f", str(ROLE))
    cluster.kubectl("create", "rolebinding", "sweep", "-n", namespace, "--role=sweep", "--user=nobody")
    _use(monkeypatch, tmp_path, _kubeconfig(cluster, "nobody"))
    found: dict[str, Any] = json.loads(cluster.kubectl("get", "role", "sweep", "-n", namespace, "-o", "json"))
    return found


def test_the_role_of_the_chart_is_enough_for_a_whole_run(
    cluster: Cluster, namespace: str, developer: dict[str, Any]
) -> None:
    deployments, config = with_objects(planned(2, nodes=2), namespace)
    warnings = doctor.expect_ready(GkeBackend(**config), deployments[0].objects[0])
    assert warnings == []
    with Logs(cluster, namespace, deployments):
        told = follow(deployments, config)
    assert all(events[-1] == Ended() and of(PointDone, events) for events in told)
    found = examined(namespace)
    assert found["rights"][0].level is Level.OK
    assert found["nodes"][0].level is Level.UNKNOWN  # nobody may see them, and a run goes on


REQUIRED = [right for right in RIGHTS if not right.optional]


@pytest.mark.parametrize("right", REQUIRED, ids=[right.resource for right in REQUIRED])
def test_one_right_less_is_a_clear_message_before_anything_is_made(
    cluster: Cluster, namespace: str, developer: dict[str, Any], right: Right
) -> None:
    verb = right.verbs[0]
    rule = next(rule for rule in developer["rules"] if rule["resources"] == [right.resource])
    rule["verbs"].remove(verb)
    developer["rules"] = [rule for rule in developer["rules"] if rule["verbs"]]
    cluster.kubectl("replace", "-n", namespace, "-f", "-", stdin=json.dumps(developer))
    deployments, config = with_objects(planned(1), namespace)

    def denied() -> bool:
        try:
            doctor.expect_ready(GkeBackend(**config), deployments[0].objects[0])
        except UsageError as error:
            return f"you may not, in namespace {namespace}: {verb} {right.resource}" in str(error)
        return False  # the API server's authorizer learns of it a moment later

    cluster.wait("the right is missing", denied)
    assert objects(cluster, namespace, "jobs") == []


# -------------------------------------------------------------------------------------------------------- command line


def test_the_command_says_what_is_missing_and_exits_with_2(
    cluster: Cluster, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["+experiment=smoke", "backend=gke", f"backend.namespace={namespace}", f"results_dir={tmp_path}"]
    assert run_command(["doctor", *given]) == 0
    assert "\nok        rights: all that is used" in capsys.readouterr().out
    assert run_command(["doctor", *given, "backend.service_account=bench", "--json"]) == 2
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [finding["name"] for finding in found if finding["level"] == "error"] == ["service account"]
    assert run_command(["doctor", *given, "+backend.values.nodeselector.a=b"]) == 2
    assert "error     chart: helm refuses the chart's values" in capsys.readouterr().out


def test_a_run_that_could_only_wait_does_not_begin(
    cluster: Cluster, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["+experiment=smoke", "backend=gke", f"backend.namespace={namespace}", f"results_dir={tmp_path}"]
    assert run_command([*given, "backend.service_account=bench"]) == 2
    said = capsys.readouterr().err
    assert "nothing was started:" in said and f"kubectl create serviceaccount bench -n {namespace}" in said
    assert objects(cluster, namespace, "jobs") == []


def _kubeconfig(cluster: Cluster, user: str) -> dict[str, Any]:
    said: dict[str, Any] = yaml.safe_load(cluster.kubeconfig(user).read_text())
    return said


def _use(monkeypatch: pytest.MonkeyPatch, folder: Path, kubeconfig: dict[str, Any]) -> None:
    file = folder / "kubeconfig"
    file.write_text(json.dumps(kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(file))
