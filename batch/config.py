"""Settings: a few frozen values, built once at the edge and handed down. Nothing below the edge reads the environment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INFERENCE_URL = "https://api.segmind.com"
UPLOAD_URL = "https://workflows-api.segmind.com"
HISTORY_URL = "https://api.spotprod.segmind.com"

LOCAL_SERVICE = "local"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

CONCURRENCY = 16
RETRIES = 3
JOB_TIMEOUT_S = 900.0
NAME = "{id}.{ext}"


@dataclass(frozen=True, slots=True)
class Network:
    """How this machine reaches the outside: proxies by URL scheme, hosts that need none, a CA bundle."""

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # a proxy URL may hold a password
    no_proxy: tuple[str, ...] = ()
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One service and the key to it: base URLs without a trailing slash. The key never shows in a repr."""

    inference_url: str = INFERENCE_URL
    upload_url: str = UPLOAD_URL
    history_url: str = HISTORY_URL
    api_key: str = field(default="", repr=False)
    local: bool = False
    network: Network = Network()

    def __post_init__(self) -> None:
        for url in (self.inference_url, self.upload_url, self.history_url):
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
                raise UsageError(f"{url!r} is no base URL. Give http(s)://host, without a user name.")

    @property
    def identity(self) -> str:
        """What an output folder is bound to: "local", or the host and a fingerprint that does not reveal the key."""
        if self.local:
            return LOCAL_SERVICE
        fingerprint = hashlib.sha256(b"texbatch key " + self.api_key.encode()).hexdigest()[:12]
        return f"{urlsplit(self.inference_url).netloc} with key {fingerprint}"

    @property
    def nearby(self) -> bool:
        """Whether the service runs on this machine."""
        return urlsplit(self.inference_url).hostname in LOOPBACK


@dataclass(frozen=True, slots=True)
class Reading:
    """How a manifest is read: defaults of the model's parameters as text, the template of the pictures' names.

    `name` None means NAME, or, when rows merge into a folder, the template that folder was made with.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What one run is asked to do.

    `only` are the ids to send (empty: all); times in seconds. With `yes` changed rows are paid for again without
    asking.
    """

    out: Path | str
    reading: Reading = Reading()
    only: tuple[str, ...] = ()
    concurrency: int = CONCURRENCY
    retries: int = RETRIES
    job_timeout_s: float = JOB_TIMEOUT_S
    yes: bool = False
    retry_failed: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= 10_000:
            raise UsageError(f"--concurrency: {self.concurrency} is out of range. Give 1 … 10000.")
        if not 0 <= self.retries <= 100:
            raise UsageError(f"--retries: {self.retries} is out of range. Give 0 … 100.")
        if not self.job_timeout_s > 0:
            raise UsageError("--job-timeout: must be more than 0 s. Give a time like 90s, 15m or 2h.")
