"""How to talk to an API server: kubeconfig files, their plugins, TLS, the token of a pod; kubernetes.aio reads them."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sweep.errors import UsageError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to talk to an API server, as kubernetes.aio read it."""

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
            UsageError: there is no such context, or its plugin gives no token.
        """
        from kubernetes.aio import client, config
        from kubernetes.aio.client.rest import RESTClientObject

        configuration = client.Configuration()
        namespace: str | None
        expires = None
        try:
            if context is None and not _kubeconfig() and (SERVICE_ACCOUNT / "token").exists():
                config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
                namespace = (SERVICE_ACCOUNT / "namespace").read_text().strip()
            elif not _kubeconfig():
                raise ValueError("there is no kubeconfig file")
            else:
                loader = await config.load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=_kubeconfig(), context=context, client_configuration=configuration, persist_config=False
                )
                said = loader.current_context["context"]
                namespace, expires = said.get("namespace"), getattr(loader, "exec_plugin_expiry", None)
                _expect_token(loader, configuration)
            tls = RESTClientObject(configuration).ssl_context
        except (config.ConfigException, OSError, KeyError, TypeError, ValueError) as error:
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
    import yaml

    if context is None and not _kubeconfig() and (SERVICE_ACCOUNT / "namespace").exists():
        return (SERVICE_ACCOUNT / "namespace").read_text().strip()
    current = context
    contexts: dict[str, dict[str, Any]] = {}
    for file in (_kubeconfig() or "").split(os.pathsep):
        try:
            said = yaml.safe_load(Path(file).read_text()) if file else None
        except (OSError, yaml.YAMLError):
            continue
        if isinstance(said, dict):
            current = current or said.get("current-context")
            contexts |= {c["name"]: c.get("context") or {} for c in said.get("contexts") or () if "name" in c}
    return str(contexts.get(str(current), {}).get("namespace") or "default")


def _kubeconfig() -> str | None:
    """Return the files of kubectl's configuration, None where there are none."""
    said = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    return os.pathsep.join(file for file in said.split(os.pathsep) if file and Path(file).exists()) or None


def _expect_token(loader: Any, configuration: Any) -> None:
    """Tell of a plugin that failed: kubernetes.aio only logs it and goes on without a token."""
    user = loader._user  # kubernetes.aio.config.refresh_token reads it there too
    if user is not None and "exec" in user and not (configuration.api_key or configuration.cert_file):
        raise ValueError(f"its plugin {user['exec']['command']} gives no token; run it by hand to see why")
