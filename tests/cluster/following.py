"""Plans for the fake nodes, and backends that follow them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import yaml

from sweep import chart, plan
from sweep.backends import Event, PointStarted
from sweep.backends.gke import Gke
from sweep.config import GkeBackend
from sweep.matrix import expand
from tests.patience import HANG_S
from tests.test_matrix import CHECKED, LLAMA

TEXT = "kv_cache_config: {enable_block_reuse: false, free_gpu_memory_fraction: 0.9}\n"
SWEEP = "0a1b2c3d"


def planned(points: int, nodes: int = 1, sweep_id: str = SWEEP) -> list[plan.Deployment]:
    settings = CHECKED | {"model": LLAMA.id, "isl": 16, "osl": 8, "num_requests": 8}
    grown = expand({"grid": {"concurrency": list(range(1, points + 1))}}, settings, LLAMA)
    return list(plan.make([(LLAMA, grown)], sweep_id=sweep_id, nodes=nodes).deployments)


def with_objects(
    deployments: Sequence[plan.Deployment], namespace: str, run: str = "1s", **values: Any
) -> tuple[list[plan.Deployment], dict[str, Any]]:
    """Render deployments as the command line does, and return them with the backend's configuration."""
    settings = {name: values.pop(name) for name in list(values) if name in GkeBackend.__dataclass_fields__}
    notes = {"fake.test/run": run} | values.pop("podAnnotations", {})
    config = GkeBackend(namespace=namespace, values=values | {"podAnnotations": notes}, **settings)
    made = chart.render(
        deployments, config=config, namespace=namespace, sweep_name="test", engine_texts={LLAMA.id: TEXT}
    )
    ready = [
        replace(r.deployment, objects=tuple(json.dumps(yaml.safe_load(text)) for text in (r.job, r.config_map)))
        for r in made
    ]
    return ready, {name: getattr(config, name) for name in GkeBackend.__dataclass_fields__}


def follow(
    deployments: Sequence[plan.Deployment],
    config: dict[str, Any],
    *,
    until: Callable[[Event], bool] = lambda event: False,
    at_first_point: Callable[[], object] | None = None,
    at_once: Callable[[], object] | None = None,
    requests: list[int] | None = None,
) -> list[list[Event]]:
    """Carry all deployments at once, each to its end or to the first event of which `until` is true.

    Args:
        at_first_point, at_once: done beside it, once the first point has begun or the first event is told.
        requests: how many requests it took is appended to it.
    """

    acting: list[asyncio.Task[object]] = []

    async def one(backend: Gke, deployment: plan.Deployment) -> list[Event]:
        told: list[Event] = []
        async for event in backend.deploy(deployment):
            told.append(event)
            act = at_first_point if isinstance(event, PointStarted) else at_once
            if act is not None and not acting:
                acting.append(asyncio.create_task(asyncio.to_thread(act)))
            if until(event):
                break
        return told

    async def all_of_them() -> list[list[Event]]:
        backend = Gke(config)
        try:
            async with asyncio.timeout(HANG_S):
                told = await asyncio.gather(*(one(backend, deployment) for deployment in deployments))
                await asyncio.gather(*acting)
                assert acting or at_first_point is None
                return told
        finally:
            if requests is not None:
                requests.append(backend.requests)
            await backend.close()

    return asyncio.run(all_of_them())


def of(kind: type, events: Sequence[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]
