"""Where a sweep's Jobs are: kept beside its table, so that no later command looks for them on another cluster."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from sweep.cluster import ask, config_of, look
from sweep.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from sweep.backends.kubernetes import Cluster
    from sweep.config import SweepConfig
    from sweep.table import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A namespace of a cluster. Its uid is the API server's: contexts are renamed, and point elsewhere."""

    context: str | None
    namespace: str
    uid: str

    def __str__(self) -> str:
        return f"namespace {self.namespace} of kubectl context {self.context}" if self.context else self.namespace


def settle(cfg: SweepConfig, results: Results) -> None:
    """Keep where this sweep's Jobs are made from now on; a sweep that left Jobs in another place does not begin here.

    cfg: of `cluster.pinned`. Where its namespace may not be read nothing is kept.

    Raises:
        UsageError: Jobs of this sweep are in another place, or may be; or a cluster cannot be reached.
    """
    if config_of(cfg) is None:
        return
    here, kept = _place(cfg), _kept(results)
    if kept is not None and _is_elsewhere(cfg, here, kept):
        named = {"context": kept.context, "namespace": kept.namespace}
        there = replace(cfg, backend_config={**cfg.backend_config, **named})
        try:
            found = _place(there)
            if found is None or found.uid != kept.uid:
                raise UsageError("it is not found under that name any more")
            jobs = look(there, results.sweep_id)
        except UsageError as error:
            raise UsageError(
                f"Jobs of {cfg.name} were made in {kept}, and whether some are left cannot be seen: {error}; go on"
                f" there, or if that cluster is gone delete {results.place_file}"
            ) from error
        collected = results.measured()
        if left := [live for live in jobs if not (live.over and collected.issuperset(live.attempts))]:
            raise UsageError(f"{len(left)} Jobs of {cfg.name} are in {kept}, and {_go_on_there(kept)}")
    if here is not None and here != kept:
        results.keep_place(asdict(here))


def expect_settled(cfg: SweepConfig, results: Results) -> None:
    """Refuse to look for a sweep's Jobs elsewhere than where they were made.

    cfg: of `cluster.pinned`.

    Raises:
        UsageError: they were made in another place; or the cluster cannot be reached.
    """
    kept = _kept(results) if config_of(cfg) is not None else None
    if kept is not None and _is_elsewhere(cfg, _place(cfg), kept):
        raise UsageError(f"Jobs of {cfg.name} were made in {kept}, and {_go_on_there(kept)}")


def _is_elsewhere(cfg: SweepConfig, here: Place | None, kept: Place) -> bool:
    """Say whether this is another place than the one that was kept; of one that cannot be read its name tells."""
    if here is not None:
        return here.uid != kept.uid
    return (cfg.backend_config["context"], cfg.backend_config["namespace"]) != (kept.context, kept.namespace)


def _go_on_there(place: Place) -> str:
    named = [f"backend.context={place.context}"] if place.context else []
    return f"here is another place: go on there with {' '.join([*named, f'backend.namespace={place.namespace}'])}"


def _kept(results: Results) -> Place | None:
    said = results.place()
    try:
        return Place(**said) if said else None
    except TypeError:
        raise UsageError(f"{results.place_file} is damaged: it says where this sweep's Jobs are") from None


def _place(cfg: SweepConfig) -> Place | None:
    """Return where Jobs would be made; None where the namespace may not be read, or is not there."""

    from sweep.backends.fields import text

    async def question(cluster: Cluster) -> Place | None:
        try:
            namespace = await cluster.request("GET", "/api/v1/namespaces/{namespace}")
        except ClusterError as error:
            if error.status in (403, 404):
                return None
            raise
        uid = text(namespace, "metadata", "uid")
        if not uid:
            raise ClusterError(f"the API server does not tell the uid of namespace {cluster.namespace}")
        return Place(context=cfg.backend_config["context"], namespace=cluster.namespace, uid=uid)

    return ask(cfg, question)
