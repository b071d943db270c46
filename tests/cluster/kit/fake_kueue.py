#!/usr/bin/env python3
"""A stand-in for Kueue, which cannot be had as a Go module: holds queued Jobs until quota is free.

    fake_kueue.py DIR        runs until it is stopped

It keeps to what a client of Kueue sees of a batch/v1 Job: the Job's suspension and pod template, and
its Workload's names, labels and conditions. This was compared, case by case, with Kueue v0.19.2 and
v0.17.1; where they differ it does as v0.19.2 (see README.md). It is still not Kueue: it knows Jobs
only, the first flavor of the first resource group, no cohorts, no topology, no Kueue events, no
finalizer on Workloads, no visibility API, no default LocalQueue, and it polls every 0.3 s.
"""

import hashlib
import sys
import time
from datetime import UTC, datetime

from cluster import Client, Cluster, quantity

API = "/apis/kueue.x-k8s.io/v1beta2"
PREFIX = "kueue.x-k8s.io/"
QUEUE = PREFIX + "queue-name"
PRIORITY = PREFIX + "priority-class"
MAX_SECONDS = PREFIX + "max-exec-time-seconds"
JOB_UID = PREFIX + "job-uid"
TOO_LONG = "DeactivatedDueToMaximumExecutionTimeExceeded"


def now():
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(text):
    return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()


def condition(item, kind):
    return next((c for c in item.get("status", {}).get("conditions", []) if c["type"] == kind), None)


def is_true(item, kind):
    found = condition(item, kind)
    return bool(found and found["status"] == "True")


def has_reason(item, kind, *reasons):
    return (condition(item, kind) or {}).get("reason") in reasons


def ended(job):
    for c in job.get("status", {}).get("conditions", []):
        if c["type"] in ("Complete", "Failed") and c["status"] == "True":
            return "Succeeded" if c["type"] == "Complete" else "Failed", c.get("message", "")
    return None


def requests(job):
    """What all pods of the Job ask for together."""
    total = {}
    for container in job["spec"]["template"]["spec"]["containers"]:
        resources = container.get("resources", {})
        for name, amount in {**resources.get("limits", {}), **resources.get("requests", {})}.items():
            total[name] = total.get(name, 0) + quantity(amount) * job["spec"].get("parallelism", 1)
    return total


def pods_ready(job, workload):
    """v0.19.2 sets it on every Workload; v0.17.1, without waitForPodsReady, does not."""
    status = job.get("status", {})
    before = condition(workload, "PodsReady") or {}
    if status.get("ready", 0) + status.get("succeeded", 0) >= job["spec"].get("parallelism", 1):
        return "PodsReady", "True", "Started", "All pods reached readiness and the workload is running"
    if is_true(workload, "Admitted") and (before.get("status") == "True" or before.get("reason") == "WaitForRecovery"):
        return "PodsReady", "False", "WaitForRecovery", "At least one pod has failed, waiting for recovery"
    return "PodsReady", "False", "WaitForStart", "Not all pods are ready or succeeded"


class FakeKueue:
    def __init__(self, cluster):
        self.client = Client(cluster)

    def list(self, path):
        return self.client.json("GET", f"{path}?resourceVersion=0")["items"]

    def path(self, kind, item):
        meta = item["metadata"]
        space = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
        return f"{API}{space}/{kind}/{meta['name']}"

    def patch_job(self, job, body, part=""):
        meta = job["metadata"]
        path = f"/apis/batch/v1/namespaces/{meta['namespace']}/jobs/{meta['name']}{part}"
        job.update(self.client.json("PATCH", path + "?fieldManager=kueue", body))

    def set_status(self, kind, item, *changes, **status):
        conditions = [dict(c) for c in item.get("status", {}).get("conditions", [])]
        for name, value, reason, message in changes:
            old = next((c for c in conditions if c["type"] == name), None)
            if not old:
                conditions.append(old := {"type": name, "status": None})
            if old["status"] != value:
                old["lastTransitionTime"] = now()
            old.update(status=value, reason=reason, message=message)
        new = {"conditions": conditions, **status}
        if any(item.get("status", {}).get(key) != value for key, value in new.items()):
            item.update(self.client.json("PATCH", self.path(kind, item) + "/status", {"status": new}))

    def set_conditions(self, workload, *changes, **status):
        self.set_status("workloads", workload, *changes, **status)

    def make_workload(self, job, priorities):
        meta, template = job["metadata"], job["spec"]["template"]
        digest = hashlib.sha1(f"Job\nbatch\n{meta['name']}\n{meta['uid']}".encode()).hexdigest()
        kind = meta["labels"].get(PRIORITY)
        added = ("batch.kubernetes.io/controller-uid", "controller-uid", "job-name")
        labels = {
            k: v
            for k, v in template["metadata"].get("labels", {}).items()
            if k not in added and not k.startswith(PREFIX)
        }
        spec = {
            "queueName": meta["labels"][QUEUE],
            "active": True,
            "priority": priorities.get(kind, 0),
            "podSets": [
                {
                    "name": "main",
                    "count": job["spec"].get("parallelism", 1),
                    "template": {**template, "metadata": {**template["metadata"], "labels": labels}},
                }
            ],
        }
        if kind:
            spec["priorityClassRef"] = {"group": "kueue.x-k8s.io", "kind": "WorkloadPriorityClass", "name": kind}
        if MAX_SECONDS in meta["labels"]:
            spec["maximumExecutionTimeSeconds"] = int(meta["labels"][MAX_SECONDS])
        return self.client.json(
            "POST",
            f"{API}/namespaces/{meta['namespace']}/workloads",
            {
                "apiVersion": "kueue.x-k8s.io/v1beta2",
                "kind": "Workload",
                "spec": spec,
                "metadata": {
                    "name": f"job-{meta['name']}-{digest[:5]}",
                    "namespace": meta["namespace"],
                    "labels": {JOB_UID: meta["uid"]},
                    "ownerReferences": [
                        {
                            "apiVersion": "batch/v1",
                            "kind": "Job",
                            "name": meta["name"],
                            "uid": meta["uid"],
                            "controller": True,
                            "blockOwnerDeletion": True,
                        }
                    ],
                },
            },
        )

    # --- the Job ---------------------------------------------------------------------

    def start(self, job, workload, queue, flavor):
        self.patch_job(
            job,
            {
                "spec": {
                    "suspend": False,
                    "template": {
                        "metadata": {
                            "labels": {
                                PREFIX + "cluster-queue-name": queue,
                                PREFIX + "podset": "main",
                                PREFIX + "local-queue-name": workload["spec"]["queueName"],
                            },
                            "annotations": {PREFIX + "workload": workload["metadata"]["name"]},
                        },
                        "spec": {"nodeSelector": flavor["spec"].get("nodeLabels", {})},
                    },
                }
            },
        )

    def stop(self, job, workload):
        """Suspends it and takes back what start() put into its template; the Job's controller deletes the pods."""
        self.patch_job(job, {"spec": {"suspend": True}})
        self.patch_job(job, {"status": {"startTime": None}}, "/status")  # a started Job's template is immutable
        before = workload["spec"]["podSets"][0]["template"]["spec"].get("nodeSelector", {})
        added = job["spec"]["template"]["spec"].get("nodeSelector", {}).keys() - before.keys()
        self.patch_job(
            job,
            {
                "spec": {
                    "template": {
                        "metadata": {
                            "labels": {
                                PREFIX + name: None for name in ("cluster-queue-name", "local-queue-name", "podset")
                            },
                            "annotations": {PREFIX + "workload": None},
                        },
                        "spec": {"nodeSelector": dict.fromkeys(added)},
                    }
                }
            },
        )

    # --- the Workload ----------------------------------------------------------------

    def admit(self, job, workload, queue, flavor):
        back = [
            (kind, "False", "QuotaReserved", f"Previously: {condition(workload, kind)['message']}")
            for kind in ("Evicted", "Preempted")
            if is_true(workload, kind)
        ]
        needs = requests(job)
        self.set_conditions(
            workload,
            ("QuotaReserved", "True", "QuotaReserved", f"Quota reserved in ClusterQueue {queue}"),
            ("Admitted", "True", "Admitted", "The workload is admitted"),
            *back,
            admission={
                "clusterQueue": queue,
                "podSetAssignments": [
                    {
                        "name": "main",
                        "count": workload["spec"]["podSets"][0]["count"],
                        "flavors": dict.fromkeys(needs, flavor["metadata"]["name"]),
                        "resourceUsage": {name: f"{amount:g}" for name, amount in needs.items()},
                    }
                ],
            },
        )
        self.start(job, workload, queue, flavor)

    def evict(self, workload, reason, message):
        """The first half: the Workload keeps its quota until release()."""
        short, _, cause = reason.partition("DueTo")
        counts = {
            (e["reason"], e["underlyingCause"]): e["count"]
            for e in workload.get("status", {}).get("schedulingStats", {}).get("evictions", [])
        }
        counts[short, cause] = counts.get((short, cause), 0) + 1
        preempted = [("Preempted", "True", "InClusterQueue", message)] if reason == "Preempted" else []
        self.set_conditions(
            workload,
            ("Evicted", "True", reason, message),
            *preempted,
            schedulingStats={
                "evictions": [{"reason": r, "underlyingCause": c, "count": n} for (r, c), n in counts.items()]
            },
        )

    def release(self, workload):
        why = condition(workload, "Evicted")
        past = workload["status"].get("accumulatedPastExecutionTimeSeconds", 0)
        past += int(seconds_since(condition(workload, "Admitted")["lastTransitionTime"]))
        self.set_conditions(
            workload,
            ("QuotaReserved", "False", "Pending", why["message"]),
            ("Admitted", "False", "NoReservation", "The workload has no reservation"),
            ("Requeued", "True" if why["reason"] == "Preempted" else "False", why["reason"], why["message"]),
            admission=None,
            accumulatedPastExecutionTimeSeconds=past,
        )

    def check_admitted(self, workload, queue):
        """Evicts the Workload if something asks for that."""
        limit = workload["spec"].get("maximumExecutionTimeSeconds")
        past = workload["status"].get("accumulatedPastExecutionTimeSeconds", 0)
        if not workload["spec"]["active"]:
            self.evict(workload, "Deactivated", "The workload is deactivated")
        elif queue["spec"].get("stopPolicy") == "HoldAndDrain":
            self.evict(workload, "ClusterQueueStopped", "The ClusterQueue is stopped")
        elif limit and past + seconds_since(condition(workload, "Admitted")["lastTransitionTime"]) > limit:
            self.client.json("PATCH", self.path("workloads", workload), {"spec": {"active": False}})
            self.evict(workload, TOO_LONG, "The workload is deactivated due to exceeding the maximum execution time")
            self.set_conditions(
                workload,
                ("DeactivationTarget", "True", "MaximumExecutionTimeExceeded", "exceeding the maximum execution time"),
            )

    def step(self):
        priorities = {c["metadata"]["name"]: c["value"] for c in self.list(f"{API}/workloadpriorityclasses")}
        flavors = {f["metadata"]["name"]: f for f in self.list(f"{API}/resourceflavors")}
        local = {(q["metadata"]["namespace"], q["metadata"]["name"]): q for q in self.list(f"{API}/localqueues")}
        queues = {q["metadata"]["name"]: q for q in self.list(f"{API}/clusterqueues")}
        labels = {n["metadata"]["name"]: n["metadata"].get("labels", {}) for n in self.list("/api/v1/namespaces")}
        jobs = [j for j in self.list("/apis/batch/v1/jobs") if j["metadata"].get("labels", {}).get(QUEUE)]
        workloads = {w["metadata"]["labels"].get(JOB_UID): w for w in self.list(f"{API}/workloads")}
        waiting, running = {name: [] for name in queues}, {name: [] for name in queues}
        for job in jobs:
            workload = workloads.get(job["metadata"]["uid"])
            if not workload:
                kind = job["metadata"]["labels"].get(PRIORITY)
                # for an unknown class Kueue makes no Workload, and says so only in its own log
                if ended(job) or "deletionTimestamp" in job["metadata"] or (kind and kind not in priorities):
                    continue
                workload = self.make_workload(job, priorities)
            if is_true(workload, "Finished"):
                continue
            if workload["spec"]["queueName"] != job["metadata"]["labels"][QUEUE]:  # allowed while suspended
                workload = self.client.json(
                    "PATCH", self.path("workloads", workload), {"spec": {"queueName": job["metadata"]["labels"][QUEUE]}}
                )
            self.set_conditions(workload, pods_ready(job, workload))
            if result := ended(job):
                self.set_conditions(workload, ("Finished", "True", *result))
                continue
            if is_true(workload, "Admitted"):
                queue = queues.get(workload["status"]["admission"]["clusterQueue"])
                if not queue:
                    continue
                if not is_true(workload, "Evicted"):
                    self.check_admitted(workload, queue)
                if not is_true(workload, "Evicted"):
                    flavor = self.flavor(queue, flavors)
                    if job["spec"]["suspend"] and flavor:  # by somebody else
                        self.start(job, workload, queue["metadata"]["name"], flavor)
                elif not job["spec"]["suspend"]:
                    self.stop(job, workload)
                elif not job.get("status", {}).get("active"):
                    self.release(workload)
                    continue
                running[queue["metadata"]["name"]].append((job, workload))
                continue
            if not job["spec"]["suspend"]:  # by somebody else
                self.stop(job, workload)
            if not workload["spec"]["active"]:
                if not is_true(workload, "Evicted"):
                    self.evict(workload, "Deactivated", "The workload is deactivated")
                continue
            if has_reason(workload, "Requeued", "Deactivated", TOO_LONG):
                self.set_conditions(workload, ("Requeued", "True", "Reactivated", "The workload was reactivated"))
            name = workload["spec"]["queueName"]
            queue = local.get((job["metadata"]["namespace"], name))
            target = queue and queue["spec"]["clusterQueue"]
            if not queue:
                problem = f"LocalQueue {name} doesn't exist"
            elif queue["spec"].get("stopPolicy", "None") != "None":
                problem = f"LocalQueue {name} is inactive"
            elif target not in queues:
                problem = f"ClusterQueue {target} doesn't exist"
            elif self.stopped(queues[target], flavors):
                problem = f"ClusterQueue {target} is inactive"
            else:
                waiting[target].append((job, workload))
                continue
            self.set_conditions(workload, ("QuotaReserved", "False", "Inadmissible", problem))
        for name, queue in queues.items():
            if not self.stopped(queue, flavors):
                self.fill(queue, waiting[name], running[name], flavors, labels)
        self.report(local, queues, waiting, running, flavors)

    def flavor(self, queue, flavors):
        return flavors.get(queue["spec"]["resourceGroups"][0]["flavors"][0]["name"])

    def stopped(self, queue, flavors):
        if queue["spec"].get("stopPolicy", "None") != "None":
            return "Stopped", "Can't admit new workloads: is stopped."
        if not self.flavor(queue, flavors):
            name = queue["spec"]["resourceGroups"][0]["flavors"][0]["name"]
            return "FlavorNotFound", f"Can't admit new workloads: references missing ResourceFlavor(s): {name}."
        return None

    def fill(self, queue, waiting, running, flavors, namespaces):
        name, spec, flavor = queue["metadata"]["name"], queue["spec"], self.flavor(queue, flavors)
        quota = {r["name"]: quantity(r["nominalQuota"]) for r in spec["resourceGroups"][0]["flavors"][0]["resources"]}
        used = dict.fromkeys(quota, 0)
        for job, _ in running:
            for resource, amount in requests(job).items():
                used[resource] = used.get(resource, 0) + amount
        # names were given within one second: then the order is that of random ids, as in Kueue
        waiting.sort(
            key=lambda p: (-p[1]["spec"]["priority"], p[1]["metadata"]["creationTimestamp"], p[1]["metadata"]["uid"])
        )
        refused = []
        for job, workload in list(waiting):
            needs = requests(job)
            selector = job["spec"]["template"]["spec"].get("nodeSelector", {})
            shape = (needs, selector, workload["spec"]["priority"])
            # From v0.18 on Kueue looks at one Workload of each shape; the others keep the conditions they have
            if shape in refused:
                continue
            space = namespaces.get(job["metadata"]["namespace"], {})
            wanted = spec.get("namespaceSelector")
            unknown = max((r for r in needs if r not in quota), default=None)
            short = next((r for r, amount in needs.items() if r in quota and used[r] + amount > quota[r]), None)
            reason = "couldn't assign flavors to pod set main: "
            if wanted is None or any(space.get(k) != v for k, v in wanted.get("matchLabels", {}).items()):
                reason = "workload namespace doesn't match ClusterQueue selector"
            elif unknown:
                reason += f"resource {unknown} unavailable in ClusterQueue"
            elif any(selector.get(k, v) != v for k, v in flavor["spec"].get("nodeLabels", {}).items()):
                reason += f"flavor {flavor['metadata']['name']} doesn't match node affinity"
            elif short and needs[short] > quota[short]:
                reason += (
                    f"insufficient quota for {short} in flavor {flavor['metadata']['name']}, previously considered "
                    f"podsets requests (0) + current podset request ({needs[short]:g}) > maximum capacity"
                    f" ({quota[short]:g})"
                )
            elif short:
                more = used[short] + needs[short] - quota[short]
                reason += f"insufficient unused quota for {short} in flavor {flavor['metadata']['name']}, "
                reason += f"{more:g} more needed"
                if victims := self.preempt(name, spec, job, workload, running, short, more):
                    reason += f". Pending the preemption of {victims} workload(s)"
            else:
                if has_reason(workload, "Requeued", "ClusterQueueStopped"):
                    self.set_conditions(
                        workload,
                        (
                            "Requeued",
                            "True",
                            "ClusterQueueRestarted",
                            "The ClusterQueue was restarted after being stopped",
                        ),
                    )
                self.admit(job, workload, name, flavor)
                waiting.remove((job, workload))
                running.append((job, workload))
                for resource, amount in needs.items():
                    used[resource] += amount
                continue
            refused.append(shape)
            self.set_conditions(workload, ("QuotaReserved", "False", "Pending", reason))

    def preempt(self, name, spec, job, workload, running, resource, more):
        """Evicts Workloads of lower priority, the last admitted first; the number of those on their way out."""
        leaving = [w for _, w in running if is_true(w, "Evicted")]
        if leaving or spec.get("preemption", {}).get("withinClusterQueue", "Never") != "LowerPriority":
            return len(leaving)
        lower = [pair for pair in running if pair[1]["spec"]["priority"] < workload["spec"]["priority"]]
        lower.sort(key=lambda pair: condition(pair[1], "Admitted")["lastTransitionTime"], reverse=True)
        lower.sort(key=lambda pair: pair[1]["spec"]["priority"])
        victims = []
        while lower and more > 0:
            victims.append(lower.pop(0))
            more -= requests(victims[-1][0]).get(resource, 0)
        if more > 0:
            return 0
        for victim, its_workload in victims:
            self.evict(
                its_workload,
                "Preempted",
                f"Preempted to accommodate a workload (UID: {workload['metadata']['uid']}, "
                f"JobUID: {job['metadata']['uid']}) due to prioritization in the ClusterQueue; "
                f"preemptor path: /{name}; preemptee path: /{name}",
            )
            self.stop(victim, its_workload)
        return len(victims)

    def report(self, local, queues, waiting, running, flavors):
        """The queues' own status."""
        for name, queue in queues.items():
            reason, message = self.stopped(queue, flavors) or ("Ready", "Can admit new workloads")
            self.set_status(
                "clusterqueues",
                queue,
                ("Active", "True" if reason == "Ready" else "False", reason, message),
                pendingWorkloads=len(waiting[name]),
                admittedWorkloads=len(running[name]),
            )
        for (space, name), queue in local.items():
            target = queue["spec"]["clusterQueue"]
            mine = [
                [
                    w
                    for j, w in pairs.get(target, [])
                    if (j["metadata"]["namespace"], w["spec"]["queueName"]) == (space, name)
                ]
                for pairs in (waiting, running)
            ]
            state = ("True", "Ready", "Can submit new workloads to localQueue")
            if queue["spec"].get("stopPolicy", "None") != "None":
                state = ("False", "Stopped", "LocalQueue is stopped")
            elif target not in queues:
                state = ("False", "ClusterQueueDoesNotExist", "Can't submit new workloads to clusterQueue")
            elif self.stopped(queues[target], flavors):
                state = ("False", "ClusterQueueIsInactive", "Can't submit new workloads to clusterQueue")
            self.set_status(
                "localqueues", queue, ("Active", *state), pendingWorkloads=len(mine[0]), admittedWorkloads=len(mine[1])
            )


def main():
    fake = FakeKueue(Cluster(sys.argv[1]))
    while True:
        try:
            fake.step()
        except (OSError, RuntimeError) as error:  # a conflict or a Job deleted meanwhile: the next step sees it anew
            print(error, file=sys.stderr, flush=True)
        time.sleep(0.3)


if __name__ == "__main__":
    main()
