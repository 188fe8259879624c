"""The environment, read once: the key, the hosts, proxies and certificates.

The key comes from SEGMIND_API_KEY, from --api-key-file, or from a `.env` beside the job; never from the command line,
where every user of the machine could read it. Its shape is not checked.
"""

from __future__ import annotations

import os
import urllib.request
from typing import TYPE_CHECKING

from batch.config import HISTORY_URL, INFERENCE_URL, UPLOAD_URL, Network, Service
from batch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

KEY = "SEGMIND_API_KEY"
NO_KEY = (
    f"There is no API key. Set {KEY}, or give --api-key-file, or put it in a .env beside the manifest; "
    "or add --local to run against the server on this machine, which needs none."
)


def read_service(beside: Path, api_key_file: Path | None, *, required: bool = True) -> Service:
    """Return the service that the environment names; raises UsageError when there is no key, unless none is `required`.

    The three hosts have their own defaults; with SEGMIND_BASE_URL set, it stands for all that are not set themselves.
    """
    from dotenv import dotenv_values  # noqa: PLC0415  start-up time

    dotenv = beside / ".env"
    key = (
        _key_in(api_key_file)
        or os.environ.get(KEY)
        or (dotenv.is_file() and dotenv_values(dotenv).get(KEY))
        or ""
    )
    if required and not key.strip():
        raise UsageError(NO_KEY)
    base = os.environ.get("SEGMIND_BASE_URL")
    return Service(
        inference_url=base or INFERENCE_URL,
        upload_url=os.environ.get("SEGMIND_UPLOAD_URL") or base or UPLOAD_URL,
        history_url=os.environ.get("SEGMIND_HISTORY_URL") or base or HISTORY_URL,
        api_key=key.strip(),
        network=read_network(),
    )


def beside_output(folder: Path) -> Path:
    """Return where an output folder's `.env` lies: in it, or beside it, where its manifest usually is."""
    return folder if (folder / ".env").is_file() else folder.absolute().parent


def read_network() -> Network:
    """Return the proxies and the CA bundle that the usual variables name."""
    proxies = urllib.request.getproxies()
    no_proxy = tuple(host.strip() for host in proxies.pop("no", "").split(",") if host.strip())
    return Network(proxies, no_proxy, os.environ.get("SSL_CERT_FILE") or None)


def _key_in(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"--api-key-file {file}: cannot be read ({exc}).") from exc
