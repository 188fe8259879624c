"""Which way a request leaves this machine: through which proxy, trusting whose certificates."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from batch.errors import UsageError

if TYPE_CHECKING:
    from batch.config import Network


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """Return what TLS connections trust: the CAs of a file, or the system's. Raises UsageError for a file that is none."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as exc:
        raise UsageError(
            f"{ca_file}: no CA certificates can be read from it ({exc}). Check SSL_CERT_FILE."
        ) from exc


def proxy_for(network: Network, scheme: str, host: str, port: int | None) -> str | None:
    """Return the proxy's URL for a request, None for none; NO_PROXY names hosts, their domains, or host:port."""
    proxy = network.proxies.get(scheme) or network.proxies.get("all")
    if proxy is not None:
        place = f"{host}:{port or (443 if scheme == 'https' else 80)}"
        for entry in network.no_proxy:
            name = entry.lower().lstrip(".")
            if name in {"*", host, place} or host.endswith("." + name):
                return None
    return proxy
