"""charts/trtllm-bench: what helm makes of it, and what a real API server says to that."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep import chart
from sweep.config import GkeBackend
from sweep.errors import UsageError
from tests.cluster.conftest import Run
from tests.cluster.kit.cluster import Cluster
from tests.test_launcher import TEXT, deployment

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "charts" / "trtllm-bench"
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())

ONE: dict[str, Any] = {
    "launcher": {
        "script": "#!/bin/bash\necho 'hi'\n",
        "prepare": "# p\n",
        "publish": "print('x')\n",
        "telemetry": "# t\n",
    },
    "deployments": [{"files": {"points.txt": "p1 1-1\n", "argv-p1.txt": "--model\nx/y\n"}}],
}
EVERYTHING: dict[str, Any] = {
    "image": "europe-docker.pkg.dev/p/r/trtllm@sha256:" + "0" * 64,
    "imagePullPolicy": "Always",
    "imagePullSecrets": ["artifact-registry"],
    "launcher": ONE["launcher"],
    "deployments": [
        {"name": f"sweep-{n}", "deploymentId": f"d{n}", "engineIds": ["e1", "e2"], "files": {"points.txt": "p 1-1\n"}}
        for n in range(3)
    ],
    "sweepId": "0123abcd",
    "sweepName": 'my "sweep": {{ .Values }}',
    "owner": "someone@example.com",
    "managedBy": "sweep",
    "env": [{"name": "NCCL_DEBUG", "value": "WARN"}],
    "gpus": 4,
    "resources": {"cpu": "100", "memory": "700Gi"},
    "avoidNodes": ["a4x-0003"],
    "priorityClassName": "system-node-critical",
    "serviceAccountName": "workload-identity-k8s-sa",
    "queue": "a4x",
    "queuePriorityClass": "very-low",
    "maxExecTimeSeconds": 3600,
    "dws": {"maxRunDurationSeconds": 7200},
    "weights": {"claimName": "lustre-pvc", "subPath": "models", "model": "org/name"},
    "gcsfuse": {"mountOptions": "implicit-dirs", "claims": True},
    "pendingDeadlineSeconds": 86400,
    "results": {"bucket": "my.bucket_name", "subPath": "sweeps"},
    "huggingFace": {"secretName": "hf-secret"},
}
"""Every value that can be given."""
NOT_ROOT = {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}
"""What docs/cluster.md says to give in a namespace that takes no root."""


@pytest.fixture(scope="session")
def render(helm: Run, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Render values and return the objects, or the error."""

    def template(values: dict[str, Any], *arguments: str, fails: bool = False) -> Any:
        file = tmp_path_factory.mktemp("values") / "values.json"
        file.write_text(json.dumps(values))
        done = helm("template", "bench", CHART, "-f", file, *arguments, check=False)
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr if fails else [made for made in yaml.safe_load_all(done.stdout) if made]

    return template


def by_kind(objects: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {kind: [o for o in objects if o["kind"] == kind] for kind in {o["kind"] for o in objects}}


# ------------------------------------------------------------------------------------------------------------ rendering


def test_helm_finds_nothing_to_complain_of(helm: Run, tmp_path: Path) -> None:
    for number, values in enumerate(({}, ONE, EVERYTHING)):
        (tmp_path / f"{number}.json").write_text(json.dumps(values))
        done = helm("lint", "--strict", CHART, "-f", tmp_path / f"{number}.json")
        assert "0 chart(s) failed" in done.stdout


def test_a_deployment_is_a_job_and_a_config_map(render: Any) -> None:
    assert render({}) == []
    made = by_kind(render(ONE, "--namespace", "perf"))
    assert {kind: len(found) for kind, found in made.items()} == {"Job": 1, "ConfigMap": 1}
    (job,), (files,) = made["Job"], made["ConfigMap"]
    assert job["metadata"]["name"] == files["metadata"]["name"] == "bench"
    assert job["metadata"]["namespace"] == files["metadata"]["namespace"] == "perf"
    assert files["data"] == {
        "trtllm-bench.sh": ONE["launcher"]["script"],
        "prepare.sh": ONE["launcher"]["prepare"],
        "publish.py": ONE["launcher"]["publish"],
        "telemetry.py": ONE["launcher"]["telemetry"],
        **ONE["deployments"][0]["files"],
    }


def test_many_deployments_are_rendered_in_one_call(render: Any) -> None:
    values = ONE | {"deployments": [{"name": f"d-{n}", "files": {"points.txt": str(n)}} for n in range(200)]}
    begin = time.monotonic()
    made = by_kind(render(values))
    assert len({job["metadata"]["name"] for job in made["Job"]}) == 200
    assert [files["data"]["points.txt"] for files in made["ConfigMap"]] == [str(n) for n in range(200)]
    print(f"200 deployments: {time.monotonic() - begin:.2f} s")


def test_what_is_not_given_is_left_out(render: Any) -> None:
    text = json.dumps(render(ONE))
    for word in (
        "kueue",
        "gcsfuse",
        "HF_TOKEN",
        "secret",
        "affinity",
        "priorityClass",
        "serviceAccount",
        "SWEEP_WEIGHTS",
    ):
        assert word not in text, word
    (job,) = by_kind(render(ONE))["Job"]
    requests = job["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert requests == {"limits": {"nvidia.com/gpu": "4"}, "requests": {"nvidia.com/gpu": "4"}}


def test_a_job_ends_and_stays_ended(render: Any) -> None:
    for job in by_kind(render(EVERYTHING))["Job"]:
        spec, pod = job["spec"], job["spec"]["template"]["spec"]
        assert (spec["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
        assert (pod["activeDeadlineSeconds"], spec["activeDeadlineSeconds"]) == (14400, 14400 + 86400)
        assert spec["ttlSecondsAfterFinished"] > 0
        assert "suspend" not in spec


def test_a_pod_may_do_nothing_special(render: Any) -> None:
    for job in by_kind(render(EVERYTHING))["Job"]:
        pod = job["spec"]["template"]["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}


@pytest.mark.parametrize(
    ("values", "mounted"),
    [
        ({}, False),
        ({"results": {"claimName": "c"}}, False),
        ({"results": {"bucket": "b"}}, None),
        ({"weights": {"bucket": "b"}}, None),
        ({"weights": {"claimName": "c"}, "gcsfuse": {"claims": True}}, None),
        ({"serviceAccountName": "workload-identity-k8s-sa"}, None),
        ({"results": {"bucket": "b"}, "automountServiceAccountToken": False}, False),
        ({"automountServiceAccountToken": True}, True),
    ],
)
def test_a_pod_gets_the_token_of_its_service_account_only_where_google_may_want_it(
    render: Any, values: dict[str, Any], mounted: bool | None
) -> None:
    (job,) = by_kind(render(ONE | values))["Job"]
    assert job["spec"]["template"]["spec"].get("automountServiceAccountToken") is mounted


def test_who_a_pod_runs_as_can_be_said(render: Any) -> None:
    (job,) = by_kind(render(ONE | {"podSecurityContext": NOT_ROOT}))["Job"]
    given = job["spec"]["template"]["spec"]["securityContext"]
    assert given == NOT_ROOT | {"seccompProfile": {"type": "RuntimeDefault"}}
    (job,) = by_kind(render(ONE | {"podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}}))["Job"]
    assert job["spec"]["template"]["spec"]["securityContext"] == {"seccompProfile": {"type": "Unconfined"}}


def test_labels_are_on_everything_and_names_are_annotations(render: Any) -> None:
    for made in render(EVERYTHING):
        number = made["metadata"]["name"].removeprefix("sweep-")
        labels = made["metadata"]["labels"]
        assert labels["trtllm-bench.sweep/sweep-id"] == "0123abcd"
        assert labels["trtllm-bench.sweep/deployment-id"] == f"d{number}"
        assert labels["trtllm-bench.sweep/engine-id"] == "e1"
        assert made["metadata"]["annotations"]["trtllm-bench.sweep/name"] == EVERYTHING["sweepName"]
        assert made["metadata"]["annotations"]["trtllm-bench.sweep/engine-ids"] == "e1,e2"
        if made["kind"] == "Job":
            assert made["spec"]["template"]["metadata"]["labels"] == {
                key: value for key, value in labels.items() if "kueue" not in key
            }


def test_kueue_reads_its_settings_off_the_job(render: Any) -> None:
    job = by_kind(render(EVERYTHING))["Job"][0]["metadata"]
    assert job["labels"]["kueue.x-k8s.io/queue-name"] == "a4x"
    assert job["labels"]["kueue.x-k8s.io/priority-class"] == "very-low"
    assert job["labels"]["kueue.x-k8s.io/max-exec-time-seconds"] == "3600"
    assert job["annotations"]["provreq.kueue.x-k8s.io/maxRunDurationSeconds"] == "7200"


def test_volumes_are_what_was_given(render: Any) -> None:
    pod = by_kind(render(EVERYTHING))["Job"][0]["spec"]["template"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes["weights"]["persistentVolumeClaim"] == {"claimName": "lustre-pvc", "readOnly": True}
    assert volumes["results"]["csi"]["volumeAttributes"]["bucketName"] == "my.bucket_name"
    assert volumes["cache"]["hostPath"]["path"].startswith("/mnt/stateful_partition/kube-ephemeral-ssd/")
    assert pod["metadata"]["annotations"]["gke-gcsfuse/volumes"] == "true"
    mounts = {mount["name"]: mount for mount in pod["spec"]["containers"][0]["volumeMounts"]}
    assert (mounts["weights"]["readOnly"], mounts["weights"]["subPath"]) == (True, "models")
    (job,) = by_kind(render(ONE | {"cache": {"hostPath": ""}}))["Job"]
    assert {"name": "cache", "emptyDir": {}} in job["spec"]["template"]["spec"]["volumes"]


def test_the_pod_knows_the_names_of_what_comes_from_secrets(render: Any) -> None:
    env = [
        {"name": "NGC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "ngc", "key": "key"}}},
        {"name": "PLAIN", "value": "x"},
        {"name": "NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "ngc", "key": "password", "optional": True}}},
    ]
    (job,) = by_kind(render(ONE | {"env": env}))["Job"]
    given = job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert given[-1] == {"name": "SWEEP_SECRETS", "value": "NGC_API_KEY PASSWORD"}
    assert given[-5:-1] == env
    assert "additional properties" in render(ONE | {"env": [{"name": "X", "secretKeyRef": {}}]}, fails=True).lower()


@pytest.mark.parametrize("volume", ["weights", "results"])
@pytest.mark.parametrize(("claims", "annotated"), [(True, True), (False, False)])
def test_a_claim_that_is_a_gcsfuse_volume_is_mounted_as_gke_wants_it(
    render: Any, volume: str, claims: bool, annotated: bool
) -> None:
    (job,) = by_kind(render(ONE | {volume: {"claimName": "models"}, "gcsfuse": {"claims": claims}}))["Job"]
    annotations = job["spec"]["template"]["metadata"].get("annotations", {})
    assert (annotations.get("gke-gcsfuse/volumes") == "true") == annotated
    (bare,) = by_kind(render(ONE | {"gcsfuse": {"claims": claims}}))["Job"]
    assert "annotations" not in bare["spec"]["template"]["metadata"]


def test_pods_go_to_nodes_with_local_ssd_unless_the_cache_is_elsewhere(render: Any) -> None:
    label = "cloud.google.com/gke-ephemeral-storage-local-ssd"
    (job,) = by_kind(render(ONE))["Job"]
    assert job["spec"]["template"]["spec"]["nodeSelector"][label] == "true"
    (job,) = by_kind(render(ONE | {"nodeSelector": {label: None}}))["Job"]
    assert label not in job["spec"]["template"]["spec"]["nodeSelector"]


def test_a_volume_that_is_one_model_s_own_folder_is_told_so(render: Any) -> None:
    def told(weights: dict[str, str]) -> dict[str, Any]:
        (job,) = by_kind(render(ONE | {"weights": weights}))["Job"]
        return {env["name"]: env.get("value") for env in job["spec"]["template"]["spec"]["containers"][0]["env"]}

    assert told({"claimName": "w", "model": "org/name"})["SWEEP_WEIGHTS_MODEL"] == "org/name"
    assert "SWEEP_WEIGHTS_MODEL" not in told({"claimName": "w"})


def test_the_hash_is_of_the_specification_and_the_files(render: Any) -> None:
    def hashes(values: dict[str, Any]) -> set[str]:
        return {
            o["metadata"]["annotations"]["trtllm-bench.sweep/spec-hash"] for o in render(values) if o["kind"] == "Job"
        }

    same = hashes(ONE)
    assert hashes(ONE | {"queue": "a4x", "sweepName": "another"}) == same
    assert hashes(ONE | {"gpus": 2}) != same
    assert hashes(ONE | {"deployments": [{"files": {"points.txt": "p2 1-1\n"}}]}) != same


HOSTILE = "a'b\"c$(touch /tmp/x) {{ .Release }} `id` \\ \n--- \ntrue: [1]\n\t#x"


def test_values_are_data(render: Any) -> None:
    values = ONE | {
        "deployments": [{"files": {"argv-p.txt": HOSTILE}}],
        "env": [{"name": "X", "value": HOSTILE}],
        "sweepName": HOSTILE,
        "owner": "yes",
        "sweepId": "012345",
    }
    files, job = render(values)
    assert files["data"]["argv-p.txt"] == HOSTILE
    assert {"name": "X", "value": HOSTILE} in job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert job["metadata"]["annotations"]["trtllm-bench.sweep/name"] == HOSTILE
    assert (
        job["metadata"]["annotations"]["trtllm-bench.sweep/owner"],
        job["metadata"]["labels"]["trtllm-bench.sweep/sweep-id"],
    ) == ("yes", "012345")


# ------------------------------------------------------------------------------------------------------------- refusals


SSD = "/mnt/stateful_partition/kube-ephemeral-ssd"
NO_CACHE = [
    *(
        "mnt/ssd/x",
        "/mnt/",
        "/mnt/..",
        "/mnt/../etc",
        "/mnt/ssd/..",
        "/mnt/./ssd",
        "/mnt//ssd",
        "//mnt/ssd",
        "/mnt/a\nb",
    ),
    *(f"/{folder}/x" for folder in "bin boot dev etc lib lib64 proc root run sbin sys usr usr/local".split()),
    *(f"/{folder}" for folder in "etc/kubernetes proc/1 dev/shm opt/cni home/kubernetes/bin".split()),
    *("/var/lib/kubelet", "/var/lib/kubelet/pods"),
    *("/mnt/stateful_partition", "/mnt/stateful_partition/var/lib", SSD, f"{SSD}/"),
]
CACHE = [
    "",
    f"{SSD}/x",
    *(f"/{folder}/x" for folder in "mnt/disks/ssd0 tmp home/somebody raid/a..b/.c data".split()),
    "/data/cache/",
]


@pytest.mark.parametrize("path", CACHE)
def test_a_folder_of_its_own_is_a_cache(render: Any, path: str) -> None:
    render(ONE | {"cache": {"hostPath": path}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"queu": "a4x"},
        {"gpus": 0},
        {"gpus": "4"},
        {"image": ""},
        {"image": "two words"},
        {"cache": {"hostPath": "/"}},
        {"cache": {"hostPath": "/mnt"}},
        {"cache": {"hostpath": "/mnt/x"}},
        *({"cache": {"hostPath": path}} for path in NO_CACHE),
        {"podSecurityContext": {"privileged": True}},
        {"podSecurityContext": {"runAsUser": "me"}},
        {"automountServiceAccountToken": "no"},
        {"weights": {"subPath": "../x"}},
        {"results": {"bucket": 3}},
        {"resources": {"gpu": 1}},
        {"activeDeadlineSeconds": None},
        {"pendingDeadlineSeconds": 1},
        {"gcsfuse": {"claims": "yes"}},
        {"deployments": [{"name": "Upper"}]},
        {"deployments": [{"file": {}}]},
        {"deployments": [{"files": {"a/b": ""}}]},
        {"env": [{"name": "1X", "value": ""}]},
        {"tolerations": [{"key": "x", "effect": "Never"}]},
        {"imagePullPolicy": "Sometimes"},
    ],
)
def test_a_wrong_value_is_refused(render: Any, wrong: dict[str, Any]) -> None:
    said = render(ONE | wrong, fails=True)
    assert "values don't meet the specifications of the schema" in said
    assert next(iter(wrong)) in said


RECIPE = {
    "dwsSettings": ({"maxRunDurationSeconds": 1}, "dws.maxRunDurationSeconds"),
    "huggingface": ({"secretName": "hf-secret", "secretData": {"token": "hf_api_token"}}, "huggingFace.secretName"),
    "volumes": ({"gcsVolumes": True, "ssdMountPath": "/ssd", "gcsMounts": []}, "cache.hostPath, weights and results"),
    "service": ({"type": "ClusterIP", "ports": {"http": 8000}}, "there is no Service"),
    "workload": ({"model": {"name": "x"}, "gpus": 4}, "image, gpus, env and deployments"),
    "network": ({"gibVersion": "x"}, "the default network only"),
    "targetNodes": (["n1"], "nodeSelector"),
    "workload_launcher": ("#!/bin/bash", "launcher.script"),
    "serving_config": ("tp_size: 4", "deployments[].files"),
}


@pytest.mark.parametrize("key", RECIPE)
def test_a_key_of_the_published_recipe_is_refused_with_ours(render: Any, key: str) -> None:
    value, ours = RECIPE[key]
    said = render(ONE | {key: value}, fails=True)
    assert f"{key} is a key of the published A4X recipe" in said
    assert ours in said


def test_a_volume_is_a_claim_or_a_bucket(render: Any) -> None:
    assert "take one" in render(ONE | {"weights": {"claimName": "x", "bucket": "y"}}, fails=True)


def test_every_value_is_explained(helm: Run) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    ours = {
        key for key, about in schema["properties"].items() if "published recipe" not in about.get("description", "")
    }
    assert ours - {"global"} == set(DEFAULTS)
    lines = (CHART / "values.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"^[a-z]\w*:", line, re.IGNORECASE):
            before = next(text for text in reversed(lines[:number]) if text == "" or text.startswith("#"))
            assert before.startswith("# "), f"values.yaml: {line} is not explained"


# -------------------------------------------------------------------------------------------------------- a real server


@pytest.mark.parametrize("values", [ONE, EVERYTHING], ids=["one", "everything"])
def test_a_real_api_server_accepts_it(render: Any, cluster: Cluster, values: dict[str, Any]) -> None:
    said = cluster.kubectl(
        "create",
        "--dry-run=server",
        "--validate=strict",
        "-o",
        "name",
        "-f",
        "-",
        stdin=yaml.safe_dump_all(render(values)),
    )
    assert len(said.split()) == 2 * len(values["deployments"])


VALUES = {"cache": {"hostPath": ""}, "podSecurityContext": NOT_ROOT}


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        (VALUES, ()),
        (
            VALUES | {"weights": {"claimName": "w"}, "results": {"claimName": "r"}, "huggingFace": {"secretName": "s"}},
            (),
        ),
        (VALUES | {"results": {"bucket": "b"}}, ()),
        ({}, ("restricted volume types", "runAsNonRoot != true")),
        ({"cache": {"hostPath": ""}}, ("runAsNonRoot != true",)),
        ({"podSecurityContext": NOT_ROOT}, ("restricted volume types",)),
    ],
)
def test_what_a_restricted_namespace_says_to_a_pod(
    render: Any, cluster: Cluster, namespace: str, values: dict[str, Any], refused: tuple[str, ...]
) -> None:
    """docs/cluster.md lists the same."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    (job,) = by_kind(render(ONE | values, "--namespace", namespace))["Job"]
    pod = {"apiVersion": "v1", "kind": "Pod"} | job["spec"]["template"]
    pod["metadata"] |= {"name": "p", "namespace": namespace}
    create = ("create", "--dry-run=server", "-o", "name", "-f", "-")
    if not refused:
        assert cluster.kubectl(*create, stdin=json.dumps(pod)).strip() == "pod/p"
        return
    with pytest.raises(subprocess.CalledProcessError) as error:
        cluster.kubectl(*create, stdin=json.dumps(pod))
    reasons = re.findall(
        r"(restricted volume types|\w+ != true|allowPrivilegeEscalation != false|capabilities|seccompProfile)",
        error.value.stderr,
    )
    assert tuple(dict.fromkeys(reasons)) == refused


def test_more_points_than_a_config_map_holds_are_refused_with_how_many_it_does(
    cluster: Cluster, namespace: str
) -> None:
    def made(points: int) -> Any:
        one = deployment(range(1, points + 1), num_requests=10_000, max_batch_size=4096)
        config = GkeBackend(namespace=namespace)
        (made,) = chart.render(
            [one], config=config, namespace=namespace, sweep_name="s", engine_texts={one.model.id: TEXT}
        )
        return made

    with pytest.raises(UsageError, match="3000 points are too many for the ConfigMap of one Job") as refused:
        made(3000)
    said = re.search(r"run\.max_points_per_deployment=(\d+)$", str(refused.value))
    assert said is not None
    assert int(said[1]) > 1000
    cluster.kubectl("create", "-f", "-", stdin=made(int(said[1])).config_map)


def test_helm_install_runs_to_its_end_on_an_a4x_node(helm: Run, cluster: Cluster, tmp_path: Path) -> None:
    """By hand, as the chart's README says."""
    (tmp_path / "values.json").write_text(json.dumps(ONE))
    there = ("--kubeconfig", cluster.kubeconfig("admin"), "--namespace", "by-hand")
    helm("install", "bench", CHART, "-f", tmp_path / "values.json", "--create-namespace", *there)
    cluster.kubectl("wait", "-n", "by-hand", "--for=condition=complete", "--timeout=900s", "job/bench")
    (pod,) = json.loads(cluster.kubectl("get", "pods", "-n", "by-hand", "-o", "json"))["items"]
    assert pod["spec"]["nodeName"].startswith("a4x-")
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "trtllm-bench"
    assert "bench" in helm("list", *there).stdout
    helm("uninstall", "bench", "--wait", *there)
    left = json.loads(cluster.kubectl("get", "jobs,configmaps", "-n", "by-hand", "-o", "json"))["items"]
    assert [item["metadata"]["name"] for item in left] == ["kube-root-ca.crt"]


def test_the_example_is_accepted_with_the_launcher(helm: Run, cluster: Cluster) -> None:
    """The command line of the chart's README."""
    files = {
        "script": "launchers/trtllm-bench.sh",
        "prepare": "launchers/prepare.sh",
        "publish": "launchers/publish.py",
        "telemetry": "sweep/telemetry.py",
    }
    given = [word for key, path in files.items() for word in ("--set-file", f"launcher.{key}={ROOT / path}")]
    example = CHART / "examples" / "llama-3.1-8b.yaml"
    text = helm("template", "bench", CHART, "-f", example, *given).stdout
    data = by_kind([made for made in yaml.safe_load_all(text) if made])["ConfigMap"][0]["data"]
    for path in files.values():
        assert data[Path(path).name] == (ROOT / path).read_text()
    assert data["model.txt"] == "meta-llama/Llama-3.1-8B-Instruct\n\n16.1\n3600\n"
    said = cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-", stdin=text)
    assert len(said.split()) == 2
