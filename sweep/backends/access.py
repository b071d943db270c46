"""How to talk to an API server: kubeconfig files, their plugins, TLS, the token of a pod; kubernetes.aio reads them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweep.errors import UsageError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PLUGIN_S = 60.0
"""How long a credential plugin may take; that of GKE takes a second or two."""
KILLED_S = 5.0
HALF_WRITTEN = (AttributeError, TypeError, ValueError)
"""What kubernetes.aio meets in a kubeconfig that is being written."""
MOST_SAID = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to talk to an API server, as kubernetes.aio read it.

    context: by its name, also where the current one was asked for; None in a pod.
    """

    context: str | None
    host: str
    namespace: str
    tls: ssl.SSLContext
    proxy: str | None
    tls_server_name: str | None
    configuration: Any
    expires: datetime | None

    @classmethod
    async def load(cls, context: str | None) -> Access:
        """Read the configuration of a context, by default the current one, or that of the pod that this runs in.

        Raises:
            UsageError: there is no such context, or its plugin gives no credentials.
        """
        import yaml
        from kubernetes.aio import client, config
        from kubernetes.aio.client.rest import RESTClientObject
        from kubernetes.aio.config import kube_config

        configuration = client.Configuration()
        namespace: str | None
        files, expires = _kubeconfig(), None
        try:
            if context is None and not files and (SERVICE_ACCOUNT / "token").exists():
                config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
                namespace = (SERVICE_ACCOUNT / "namespace").read_text().strip()
            elif not files:
                raise ValueError("there is no kubeconfig file")
            else:
                merged = kube_config.KubeConfigMerger(files).config  # type: ignore[no-untyped-call]
                loader = kube_config.KubeConfigLoader(  # type: ignore[no-untyped-call]
                    merged, active_context=context, config_base_path=None
                )
                chosen = loader.current_context
                context, namespace = chosen["name"], chosen["context"].get("namespace")
                user = loader._user  # kubernetes.aio.config.refresh_token reads it there too
                if user is not None and "exec" in user:
                    expires = await _take_from_plugin(user.value, f"kubectl context {context}")
                await loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
            tls = RESTClientObject(configuration).ssl_context
        except (config.ConfigException, yaml.YAMLError, OSError, LookupError, *HALF_WRITTEN) as error:
            which = f"kubectl context {context}" if context else "the current kubectl context"
            said = " ".join(str(error).split())
            raise UsageError(
                f"{which} cannot be used: {said} (kubectl config get-contexts lists them; gcloud container"
                " clusters get-credentials CLUSTER --location LOCATION makes one)"
            ) from error
        return cls(
            context=context,
            host=configuration.host,
            namespace=namespace or "default",
            tls=tls,
            proxy=configuration.proxy,
            tls_server_name=configuration.tls_server_name,
            configuration=configuration,
            expires=expires,
        )

    async def headers(self) -> dict[str, str]:
        """Return what says who we are."""
        token = await self.configuration.get_api_key_with_prefix("BearerToken")
        return {"Authorization": token} if token else {}


def default_namespace(context: str | None) -> str:
    """Return the namespace of a kubectl context, `default` where there is none: `render` needs no cluster."""
    if context is None and not _kubeconfig() and (SERVICE_ACCOUNT / "namespace").exists():
        return (SERVICE_ACCOUNT / "namespace").read_text().strip()
    current, contexts = _contexts()
    return str(contexts.get(str(context or current), {}).get("namespace") or "default")


def current_context() -> str | None:
    """Return the name of kubectl's current context; None where there is none, as in a pod."""
    return _contexts()[0]


def _contexts() -> tuple[str | None, dict[str, dict[str, Any]]]:
    """Return the current context's name, and what is said of each context."""
    import yaml

    current: str | None = None
    contexts: dict[str, dict[str, Any]] = {}
    for file in (_kubeconfig() or "").split(os.pathsep):
        try:
            said = yaml.safe_load(Path(file).read_text("utf-8")) if file else None
        except (OSError, yaml.YAMLError):
            continue
        if isinstance(said, dict):
            current = current or said.get("current-context")
            with contextlib.suppress(TypeError, AttributeError):  # half written; connecting says so
                contexts |= {c["name"]: dict(c.get("context") or {}) for c in said.get("contexts") or () if "name" in c}
    return current or None, contexts


def _kubeconfig() -> str | None:
    """Return the files of kubectl's configuration, None where there are none."""
    said = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    return os.pathsep.join(file for file in said.split(os.pathsep) if file and Path(file).exists()) or None


async def _take_from_plugin(user: dict[str, Any], which: str) -> datetime | None:
    """Put what a user's plugin gives in its place, and return when it expires.

    kubernetes.aio would run the plugin too, but waits for it for ever, and prints what goes wrong in place of raising.
    https://kubernetes.io/docs/reference/access-authn-authz/authentication/#input-and-output-formats

    Raises:
        UsageError: the plugin cannot be started, fails, gives nothing of use, or does not answer.
    """
    plugin = user.pop("exec")
    command = plugin["command"]
    code, out, err = await _run(plugin, which)
    if code != 0:
        said = " ".join(err.decode("utf-8", "replace").split())[-MOST_SAID:] or "it said nothing"
        raise UsageError(f"{which} gives no credentials: {command} ended with exit code {code}: {said}")
    try:
        status = json.loads(out)["status"]
        token, certificate, key = (status.get(n) for n in ("token", "clientCertificateData", "clientKeyData"))
        expires = status.get("expirationTimestamp")
        at = datetime.fromisoformat(expires).astimezone(UTC) if expires else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{which} gives no credentials: what {command} prints is no ExecCredential") from error
    if not token and not (certificate and key):
        raise UsageError(f"{which} gives no credentials: {command} prints neither a token nor a certificate")
    if token:
        user["token"] = token
    if certificate and key:
        user["client-certificate-data"] = base64.b64encode(certificate.encode()).decode()
        user["client-key-data"] = base64.b64encode(key.encode()).decode()
    return at


async def _run(plugin: Mapping[str, Any], which: str) -> tuple[int | None, bytes, bytes]:
    """Run a plugin in a session of its own, so that what it starts ends with it, and return its code and output."""
    command = plugin["command"]
    asked = {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    named = {each["name"]: each["value"] for each in plugin.get("env") or ()}
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            command,
            *(plugin.get("args") or ()),
            env={**os.environ, **named, "KUBERNETES_EXEC_INFO": json.dumps(asked)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    )
    said = None
    try:
        async with asyncio.timeout(PLUGIN_S):
            process = await asyncio.shield(starting)  # what is cancelled while it starts could not be ended
            said = await process.communicate()
    except TimeoutError:
        raise UsageError(
            f"{which} gives no credentials: {command} did not answer within {PLUGIN_S:g} s; run it by hand to see why"
        ) from None
    except OSError as error:
        raise UsageError(f"{which} gives no credentials: {command} cannot be started: {error.strerror}") from error
    finally:
        if said is None:
            await _kill(starting)
    return process.returncode, *said


async def _kill(starting: asyncio.Task[asyncio.subprocess.Process]) -> None:
    """Kill a process with all that it started, and close its pipes."""
    with contextlib.suppress(OSError):  # it never began
        process = await starting
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.wait_for(process.communicate(), KILLED_S)
