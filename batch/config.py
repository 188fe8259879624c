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

MOST_IN_FLIGHT = 10_000
RETRIES = 3
MOST_SUBMITS = 100_000
JOB_TIMEOUT_S = 900.0
NAME = "{id}.{ext}"
SETTLE_S = 120.0
GRACE_S = 60.0
ANEW = "random"
COUNT_UP = "+1"


@dataclass(frozen=True, slots=True)
class Network:
    """How this machine reaches the outside: proxies by URL scheme, hosts that need none, a CA bundle."""

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # a proxy URL may hold a password
    no_proxy: tuple[str, ...] = ()
    ca_file: str | None = None

    def __post_init__(self) -> None:
        for name in ("http", "https", "all"):
            proxy = self.proxies.get(name, "")
            if proxy and not proxy.startswith(("http://", "https://")):  # not shown: it may hold a password
                raise UsageError(
                    f"the proxy for {name} is no http(s):// URL. Set {name}_proxy to http://host:port, or unset it."
                )


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
            if not _is_base(url):
                raise UsageError(f"{url!r} is no base URL. Give http(s)://host, without a user name.")
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise UsageError(
                "The API key holds a line break or a character that no HTTP header can carry. Check SEGMIND_API_KEY."
            )

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

    With `ignore_url_query` the query strings of image URLs are no part of a row's identity. `name` None means NAME, or, when rows merge into a folder, the template that folder was made with.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    encoding: str | None = None
    ignore_url_query: bool = False

    def check_encoding(self, manifest: Path) -> None:
        """Raise UsageError when an encoding is named for a manifest whose format has its own."""
        suffix = manifest.suffix.lower()
        if self.encoding is not None and suffix in {".xlsx", ".parquet"}:
            raise UsageError(
                f"{manifest}: --encoding {self.encoding}: a {suffix} file tells its own encoding. Leave --encoding out."
            )


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `number` submits in any `per_s` seconds."""

    number: int
    per_s: float

    def __post_init__(self) -> None:
        if not (1 <= self.number <= MOST_SUBMITS and self.per_s > 0):
            raise UsageError(
                f"--rate: at least 1 and at most {MOST_SUBMITS} submits in more than 0 s. Write it like 50/1m."
            )

    @property
    def a_minute(self) -> float:
        """How many that are in a minute."""
        return self.number * 60 / self.per_s


@dataclass(frozen=True, slots=True)
class Redo:
    """Which rows of a folder are done once more, and what is changed in each of them first.

    `seed` None leaves the seed, ANEW draws one for each row, COUNT_UP takes the next (0 after the last one);
    `prompt_append` goes to the end of the prompt and may take columns: "in {texture}". With `from_folder` the rows are
    the folder's own, chosen by `statuses` and RunSettings.only; without, they are those of the manifest.
    """

    statuses: tuple[str, ...] = ()
    seed: str | None = None
    prompt_append: str = ""
    from_folder: bool = True

    def __post_init__(self) -> None:
        if self.seed not in {None, ANEW, COUNT_UP}:
            raise UsageError(f"--seed {self.seed}: a redo takes {ANEW} or {COUNT_UP}.")

    @property
    def changes(self) -> bool:
        """Whether a row becomes other work."""
        return self.seed is not None or bool(self.prompt_append.strip())


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What one run is asked to do; times in seconds, money in micro-dollars.

    `only` are the ids to send (empty: all). `concurrency` jobs are in flight at most, None: as many as the account can use;
    `rate` bounds the submits for who knows the account's limit better. With `yes` changed rows are paid for again without asking. `max_cost` bounds
    what this run spends plus what was unknown or in flight before it; `price` is what a job costs, where the folder does
    not know. `max_failures` and `max_failure_share` (0 … 1) stop the run, `pilot` sends that many rows spread over the
    manifest, `settle_s` is the time the history is given to list a lost submit, `grace_s` what is in flight is given
    after a signal. `redo` does rows of the folder once more, each changed a little.
    """

    out: Path | str
    reading: Reading = Reading()
    only: tuple[str, ...] = ()
    concurrency: int | None = None
    rate: Rate | None = None
    retries: int = RETRIES
    job_timeout_s: float = JOB_TIMEOUT_S
    yes: bool = False
    retry_failed: bool = False
    max_cost: int | None = None
    price: int | None = None
    max_failures: int | None = None
    max_failure_share: float | None = None
    max_duration_s: float | None = None
    pilot: int | None = None
    settle_s: float = SETTLE_S
    grace_s: float = GRACE_S
    redo: Redo | None = None

    def __post_init__(self) -> None:
        if self.concurrency is not None and not 1 <= self.concurrency <= MOST_IN_FLIGHT:
            raise UsageError(
                f"--concurrency: {self.concurrency} is out of range. Give 1 … {MOST_IN_FLIGHT}, or auto."
            )
        if not 0 <= self.retries <= 100:
            raise UsageError(f"--retries: {self.retries} is out of range. Give 0 … 100.")
        if not self.job_timeout_s > 0:
            raise UsageError("--job-timeout: must be more than 0 s. Give a time like 90s, 15m or 2h.")


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that is none
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
