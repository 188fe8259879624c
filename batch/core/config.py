"""Settings: a few frozen values, built once by the command line and passed down. Only the command line reads the environment."""

from __future__ import annotations

import hashlib
import random
import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batch.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Address, IPv6Address
    from pathlib import Path

INFERENCE_URL = "https://api.segmind.com"
UPLOAD_URL = "https://workflows-api.segmind.com"
HISTORY_URL = "https://api.spotprod.segmind.com"

LOCAL_SERVICE = "local"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

LIST_PRICE = 30_000
"""What a job costs by the model's own page, in micro-dollars; a bill of the account wins over it (ledger/prices.py).

Source: https://www.segmind.com/models/qwen-image-edit-plus-texture-apply, as read in LIST_PRICE_READ.
"""

LIST_PRICE_READ = "November 2026"

MOST_IN_FLIGHT = 10_000
MOST_CANDIDATES = 20  # images a row, its first one counted
RETRIES = 3
MOST_SUBMITS = 100_000
JOB_TIMEOUT_S = 900.0
DEFAULT_NAME = "{id}.{ext}"
SETTLE_S = 120.0
GRACE_S = 60.0
SEED_RANDOM = "random"
SEED_NEXT = "+1"
SEED_KEEP = "keep"
INVALID_STOP = "stop"
INVALID_SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first_s` to `longest_s` seconds; each is drawn between its share `least` and all of it.

    `least` 0 is full jitter, 1 none at all.
    """

    first_s: float
    longest_s: float
    least: float = 0.0

    def wait_s(self, failures: int, rand: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait after so many failures in a row, from 1."""
        ceiling = min(self.first_s * 2.0 ** min(failures - 1, 60), self.longest_s)
        return ceiling * (self.least + (1.0 - self.least) * rand())


@dataclass(frozen=True, slots=True)
class PollLimits:
    """Bounds of the gaps between polls, in seconds.

    The floor is `share` of the usual time, within `lowest` … `highest`; `first` while nothing is learned.
    """

    lowest: float = 0.2
    highest: float = 1.0
    share: float = 0.04
    first: float = 1.5
    ceiling: float = 10.0


CAREFUL = PollLimits()
NEARBY = PollLimits(lowest=0.1, highest=0.1, first=0.2, ceiling=2.0)
"""For a service on this machine, where a status call is cheap."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a service is waited for and how often it is asked: `…_s` in seconds from 0, `…_tries` a number from 0.

    The defaults are measured or follow from what the vendor publishes; tests give shorter ones.
    """

    # One request. `answer_s` is the whole of it, so that an endless answer ends; waiting for a free connection, at most
    # `pool_s`, is not in it. `read_s` passes between two pieces of an answer.
    connect_s: float = 10.0
    read_s: float = 30.0
    answer_s: float = 60.0
    download_s: float = 60.0
    upload_s: float = 300.0
    pool_s: float = 300.0
    # A connection that was idle for longer may be closed by the other side just as a POST leaves.
    idle_s: float = 2.0

    # Between polls, uploads and downloads without an answer: half of each wait is certain, so that it never hammers.
    no_answer: Backoff = Backoff(first_s=1.0, longest_s=30.0, least=0.5)
    # Between the few attempts at the history and at an image that was saved before.
    retry: Backoff = Backoff(first_s=0.5, longest_s=5.0, least=0.5)
    # Before a job that was certainly not accepted is sent again.
    not_accepted: Backoff = Backoff(first_s=1.0, longest_s=20.0)
    # While no connection can be made; the run stops after so many in a row, which is some two minutes of waiting.
    unreachable: Backoff = Backoff(first_s=1.0, longest_s=30.0, least=1.0)
    unreachable_tries: int = 8

    # The gate after a 429: added to the announced reset; the next probe where none is announced.
    reset_margin_s: float = 0.3
    probe_s: float = 5.0

    # Polls; `polls` None: close ones for a service on this machine, CAREFUL ones for any other.
    polls: PollLimits | None = None
    # How long the service keeps a request's record, from its submit.
    record_s: float = 3600.0
    # Submits wait this long at most, all together, for the paid images of an earlier run.
    head_start_s: float = 60.0

    # Submits hold back at most so long, each, while downloads do not end.
    hold_back_s: float = 10.0

    # An image that fails so often, while another one is taken, is at fault itself.
    upload_tries: int = 6
    # An image is tried for `image_s` even where its hour is over; one that has not come after `image_late_s` is reported.
    image_s: float = 5.0
    image_late_s: float = 10.0
    image_tries: int = 3

    # The history: attempts at a page; between two looks at a page without new rows; between two pages of many.
    history_tries: int = 4
    history_again_s: float = 0.3
    history_page_s: float = 0.2
    # It is read from this long before a lost submit, to see whether it lags; again after `settle_again_s`; and a lagging
    # one is awaited for `settle_lag_s` after the last lost submit has had its --settle.
    look_back_s: float = 600.0
    settle_again_s: float = 15.0
    settle_lag_s: float = 900.0
    # Added to how far clocks were seen to disagree.
    clock_doubt_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Network:
    """How this machine reaches the outside: proxies by URL scheme, hosts that need none, a CA bundle."""

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # a proxy URL may hold a password
    no_proxy: tuple[str, ...] = ()
    ca_file: str | None = None

    def proxy_for(self, scheme: str, host: str, port: int | None) -> str | None:
        """Return the URL of the proxy for a request, None for none.

        Only the proxy that would be taken is checked: raises UsageError when it is not a URL that we can use.
        """
        name = scheme if self.proxies.get(scheme) else "all"
        proxy = self.proxies.get(name)
        if not proxy:
            return None
        port = port or (443 if scheme == "https" else 80)
        if any(_is_exempt(entry, host, port) for entry in self.no_proxy):
            return None
        if _http_host(proxy) is None:  # not shown: it may hold a password
            raise UsageError(
                f"the proxy for {name} is not an http(s):// URL. Set {name}_proxy to http://host:port, or unset it."
            )
        return proxy


@dataclass(frozen=True, slots=True)
class Account:
    """The account of an output folder: the host of a service, and the fingerprint of a key, which does not reveal it.

    `host` is "local", with no key, for the server on this machine. Several keys may belong to one account: the ledger
    remembers which do.
    """

    host: str
    key: str = ""

    def __str__(self) -> str:
        if self.host == LOCAL_SERVICE:
            return "the local service (--local)"
        return f"{self.host} with key {self.key}"


LOCAL_ACCOUNT = Account(LOCAL_SERVICE)


_NOT_IN_A_BASE = re.compile(r"[ ?#@\\]|%(?![0-9a-fA-F]{2})")
"""What keeps paths from being appended to a base URL; a percent sign begins an escape."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service and the key to it: base URLs without a trailing slash. The key never shows in a repr.

    `timeouts` is how long it is waited for, by everything that asks it.
    """

    inference_url: str = INFERENCE_URL
    upload_url: str = UPLOAD_URL
    history_url: str = HISTORY_URL
    api_key: str = field(default="", repr=False)
    local: bool = False
    network: Network = Network()
    timeouts: Timeouts = field(default=Timeouts(), repr=False)

    def __post_init__(self) -> None:
        for url in (self.inference_url, self.upload_url, self.history_url):
            host = _http_host(url)
            if (
                host is None
                or any(label != label.strip("-") for label in host.split("."))
                or not url.isprintable()
                or _NOT_IN_A_BASE.search(url)
            ):
                shown = f"…{url[url.rindex('@') :]}" if "@" in url else url  # a password may precede the @
                raise UsageError(
                    f"{shown!r} is not a valid base URL. Give http(s)://host, without a user name or a query."
                )
            parts = urlsplit(url)
            self.network.proxy_for(parts.scheme, parts.hostname or "", parts.port)
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise UsageError(
                "The API key holds a line break or a character that no HTTP header can carry. Check SEGMIND_API_KEY."
            )

    @property
    def account(self) -> Account:
        """The account of the key, as an output folder remembers it."""
        if self.local:
            return LOCAL_ACCOUNT
        fingerprint = hashlib.sha256(b"texbatch key " + self.api_key.encode()).hexdigest()[:12]
        return Account(_host(self.inference_url), fingerprint)

    @property
    def poll_limits(self) -> PollLimits:
        """Bounds of the gaps between polls, by whether the service runs on this machine."""
        nearby = urlsplit(self.inference_url).hostname in LOOPBACK
        return self.timeouts.polls or (NEARBY if nearby else CAREFUL)


UPLOAD_PRIVATE, UPLOAD_ALL = "private", "all"


@dataclass(frozen=True, slots=True)
class Reading:
    """How a manifest is read: defaults of the model's parameters as text, the template of the images' names.

    With `ignore_url_query` the query strings of image URLs do not count for a row's identity. `name` None means
    DEFAULT_NAME, or, when rows merge into a folder, the template that the folder was made with. `columns` says which
    heading is which parameter, by the parameter's name or `id`. `sheet` is a sheet's title or its number, from 1;
    `skip_hidden` leaves out the rows that a workbook hides. `upload_links` says which links this machine fetches and
    uploads: UPLOAD_PRIVATE those that the service cannot reach, UPLOAD_ALL all of them. A row's identity stays the link.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    encoding: str | None = None
    ignore_url_query: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    sheet: str | None = None
    skip_hidden: bool = False
    upload_links: str | None = None


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
    def per_minute(self) -> float:
        """The same rate in submits per minute."""
        return self.number * 60 / self.per_s


@dataclass(frozen=True, slots=True)
class Redo:
    """Which rows of a folder are done again, and the change that is made to each of them first.

    `seed` SEED_RANDOM draws one for each row, SEED_NEXT takes the next (0 after the last one), SEED_KEEP keeps it; None draws
    one for saved and abandoned rows of the folder and keeps those of others. `prompt_append` goes to the end of the prompt
    and may take columns: "in {texture}". With `from_folder` the rows are the folder's own, chosen by `statuses`, `rejected`
    (their present image was) and RunSettings.only; without, they are those of the manifest. `further` says that further
    images of the rows are asked for: a row may then stay what it is.
    """

    statuses: tuple[str, ...] = ()
    seed: str | None = None
    prompt_append: str = ""
    from_folder: bool = True
    rejected: bool = False
    further: bool = False

    def __post_init__(self) -> None:
        if self.seed not in {None, SEED_RANDOM, SEED_NEXT, SEED_KEEP}:
            raise UsageError(f"--seed {self.seed}: a redo takes {SEED_RANDOM}, {SEED_NEXT} or {SEED_KEEP}.")
        if self.rejected and (self.statuses or not self.from_folder):
            raise UsageError("--rejected chooses rows of the folder by itself: leave --status and FILE out.")

    @property
    def changes(self) -> bool:
        """Whether every row becomes different work."""
        return self.seed in {SEED_RANDOM, SEED_NEXT} or bool(self.prompt_append.strip())


_URL = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)
"""How a URL begins; of its two slashes a Path keeps one."""


def check_not_url(out: Path | str) -> None:
    """Refuse a URL as output folder, which would become a local folder of that name; raises UsageError."""
    if url := _URL.match(str(out)):
        raise UsageError(
            f"{url[1]}://…: is a URL, and images are written to a local folder. Give the path of a folder, and copy it when "
            "the run has ended."
        )


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The options of one run; times in seconds, money in micro-dollars.

    `only` are the ids to send (empty: all). `concurrency` jobs are in flight at most, None: as many as the account can use;
    `rate` bounds the submits, for accounts whose limit is known. `yes` pays again without asking: for rows that were
    edited since they were paid for, and for the very same work (expired, unusable, the same image under another link).
    `yes_to_edits` is a yes to the edited rows alone, as a job file gives it. `max_cost` bounds what this run spends plus
    what was unknown or in flight before it; `price` is what a job is expected to cost until the account has paid for one.
    `max_failures` and `max_failure_share` (0 … 1) stop the run, `pilot` sends that many rows spread over the manifest.
    `candidates` images are made of each row, each of another seed; `settle_s` is the time in which the history must list a lost submit, `grace_s` the time that jobs in flight get after
    a signal. `redo` does rows of the folder again, each with a small change. `same_account` is a person's confirmation
    that the key belongs to the account that paid for the folder, where the history cannot show it. `group_by` is the column
    by which summary.json counts rows and money, None: as before. `invalid` is what becomes of a manifest with invalid rows:
    INVALID_STOP sends nothing, INVALID_SKIP leaves them out; None asks.
    """

    out: Path | str
    reading: Reading = Reading()
    only: tuple[str, ...] = ()
    concurrency: int | None = None
    rate: Rate | None = None
    retries: int = RETRIES
    job_timeout_s: float = JOB_TIMEOUT_S
    yes: bool = False
    yes_to_edits: bool = False
    retry_failed: bool = False
    max_cost: int | None = None
    price: int | None = None
    max_failures: int | None = None
    max_failure_share: float | None = None
    max_duration_s: float | None = None
    pilot: int | None = None
    candidates: int = 1
    settle_s: float = SETTLE_S
    grace_s: float = GRACE_S
    redo: Redo | None = None
    same_account: bool = False
    group_by: str | None = None
    invalid: str | None = INVALID_STOP

    def __post_init__(self) -> None:
        if self.concurrency is not None and not 1 <= self.concurrency <= MOST_IN_FLIGHT:
            raise UsageError(
                f"--concurrency: {self.concurrency} is out of range. Give 1 … {MOST_IN_FLIGHT}, or auto."
            )
        if not 0 <= self.retries <= 100:
            raise UsageError(f"--retries: {self.retries} is out of range. Give 0 … 100.")
        if self.price is not None and self.price <= 0:
            raise UsageError("--price: must be more than 0 dollars, or --max-cost would bound nothing.")
        if self.max_failures is not None and self.max_failures < 1:
            raise UsageError(f"--max-failures: {self.max_failures} is out of range. Give 1 or more.")
        if self.max_failure_share is not None and not 0 < self.max_failure_share <= 1:
            raise UsageError(
                f"--max-failures: {self.max_failure_share:.0%} is out of range. Give more than 0 % and at most 100 %."
            )
        if not 1 <= self.candidates <= MOST_CANDIDATES:
            raise UsageError(f"--candidates: {self.candidates} is out of range. Give 2 … {MOST_CANDIDATES}.")
        if self.invalid not in {None, INVALID_STOP, INVALID_SKIP}:
            raise UsageError(
                f"--invalid: {self.invalid!r} is not known. Give {INVALID_STOP} or {INVALID_SKIP}."
            )
        if not self.job_timeout_s > 0:
            raise UsageError("--job-timeout: must be more than 0 s. Give a time like 90s, 15m or 2h.")

    @property
    def pays_for_edits(self) -> bool:
        """Whether changed rows are paid for without asking; a yes to edits alone, of a job file, covers no redo."""
        redoes = self.redo is not None and (self.redo.from_folder or self.redo.changes)
        return self.yes or (self.yes_to_edits and not redoes)


_LABEL = re.compile(r"[a-z0-9_-]{1,63}", re.IGNORECASE)
_MOST_HOST = 253


@lru_cache(maxsize=1024)
def is_host(host: str) -> bool:
    """Return whether this is a host's address, or a name that can be looked up; an IPv6 address has no brackets."""
    if ":" in host:
        return _address(host) is not None
    if not host.isascii() or "xn--" in host.lower():
        import idna  # noqa: PLC0415  start-up time

        try:
            host = idna.encode(host.lower()).decode("ascii")
            idna.decode(host)
        except UnicodeError:
            return False
    labels = host.removesuffix(".").split(".")
    if all(label.isdecimal() for label in labels):
        return _address(host) is not None
    return len(host) <= _MOST_HOST and all(_LABEL.fullmatch(label) for label in labels)


def _host(url: str) -> str:
    """Return the host of a base URL in one spelling: lower case, without a port that is the default of http or https."""
    parts = urlsplit(url)
    name = (parts.hostname or "").rstrip(".")
    name = f"[{name}]" if ":" in name else name
    return name if parts.port in {None, 80, 443} else f"{name}:{parts.port}"


def _http_host(url: str) -> str | None:
    """Return the host of an http(s) URL; None when it is not one, or its host or port is not valid."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    return host if parts.scheme in {"http", "https"} and port != 0 and is_host(host) else None


def _is_exempt(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY covers a host: its name, a domain above it, its address, or a net (CIDR).

    An entry may end in :port. `*` covers all hosts.
    """
    name, host = entry.strip().lower(), host.rstrip(".").lower()
    if name == "*":
        return True
    wanted = ""
    if name.startswith("["):
        name, _, rest = name[1:].partition("]")
        name, wanted = (name + rest, "") if rest.startswith("/") else (name, rest.removeprefix(":"))
    elif name.count(":") == 1:
        name, _, wanted = name.partition(":")
    if wanted and wanted != str(port):
        return False
    if (address := _address(host)) is not None:
        import ipaddress  # noqa: PLC0415  start-up time

        with suppress(ValueError):
            if address in ipaddress.ip_network(name, strict=False):
                return True
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that a host is given as, None for a name."""
    import ipaddress  # noqa: PLC0415  start-up time

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
