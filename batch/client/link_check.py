"""Is there an image behind a link? Each is asked once, before anything is paid for.

Rule 1: HEAD first. What it does not show to be a good image is asked with GET for its first bytes: some hosts refuse HEAD,
and a signed link may allow GET alone. Rule 2: polite and bounded. At most AT_A_TIME requests at a time, one to a host,
GAP_S apart; a host that says 429 is waited for once, one that says it again or stays silent is asked no more. Rule 3: what
could not be asked is a warning, since it says nothing about the link. Neither a key nor a cookie is sent.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import anyio

from batch.client.http import NOT_NOW, REDIRECTS, HttpClient, is_unknown_host
from batch.core.config import Service
from batch.core.errors import NoResponse, NotDelivered, RunStopped, UsageError
from batch.core.file_kinds import AVIF, HEAD_BYTES, HEIC, HTML, file_kind
from batch.core.imaging import is_sent_as_it_is
from batch.core.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from batch.client.responses import Reply
    from batch.core.config import Network

AT_A_TIME = 4
GAP_S = 0.2
FIRST_BYTES = 64 * 1024
LARGEST = 64 << 20
ANSWER_S = 15.0
LONGEST_WAIT_S = 60.0
"""Of what a host asks for with a 429; GAP_S times 25 where it names no time."""
LONGEST_CHECK_S = 3600.0
MOST_SILENT = 3
"""Requests in a row without an answer, after which a host is asked no more."""

SENT_TYPES = frozenset(
    {"image/jpeg", "image/jpg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff"}
)
_LATER = NOT_NOW | {500, 502, 503, 504}
_REDIRECT = frozenset({301, 302, 303, 307, 308})
_CHECK = "Check the link in a browser where you are not logged in."

_DOWNLOAD = "Download the image, and name the file."
_SHARES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("dropbox.com",), "Dropbox", "Write dl=1 instead of dl=0 at the end of the link."),
    (
        ("drive.google.com", "docs.google.com"), "Google Drive",
        "Share the file with everyone who has the link, and write https://drive.google.com/uc?export=download&id={id}",
    ),
    (("photos.google.com", "photos.app.goo.gl"), "Google Photos", _DOWNLOAD),
    (("1drv.ms", "onedrive.live.com", "sharepoint.com"), "OneDrive", "Write download=1 at the end of the link, or name a file."),
    (("wetransfer.com", "we.tl"), "WeTransfer", _DOWNLOAD),
    (("icloud.com",), "iCloud", _DOWNLOAD),
    (("box.com",), "Box", "Take the direct link from the file's settings, or download the image."),
    (("imgur.com",), "Imgur", "Write the address of the image itself: https://i.imgur.com/….jpg"),
    (("flickr.com", "flic.kr", "pinterest.com", "instagram.com", "facebook.com"), "web", _DOWNLOAD),
)  # fmt: skip
"""Hosts whose links show a page with the file in it, the service's name, and what to do."""

_DRIVE_ID = re.compile(r"/d/([\w-]+)|[?&]id=([\w-]+)")


@dataclass(frozen=True, slots=True)
class LinkFault:
    """Why a link gives no image, and what to do; a warning where it could not be asked, or may be taken nevertheless."""

    reason: str
    remedy: str
    warning: bool = False


@dataclass(slots=True)
class _Host:
    """One host: its next request leaves at `free_at` (by the checker's clock); `closed` is why it is asked no more."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    free_at: float = 0.0
    silent: int = 0
    closed: str = ""


async def check_links(
    links: Mapping[str, bool],
    network: Network,
    *,
    clock: Callable[[], float] = time.monotonic,
    on_checked: Callable[[], None] = lambda: None,
) -> dict[str, LinkFault]:
    """Ask for each URL once; return those with a fault. A URL's value says whether an image is meant.

    `on_checked` is called after each. Raises UsageError for a CA file without certificates.
    """
    async with HttpClient(Service(network=network)) as client:
        checker = _LinkChecker(client, clock, on_checked)
        hosts: defaultdict[str, list[str]] = defaultdict(list)
        for url in links:
            hosts[_host(url)].append(url)
        turns = iter(hosts.values())
        async with anyio.create_task_group() as tasks:
            for _ in range(AT_A_TIME):
                tasks.start_soon(checker.work, turns, links)
        return checker.faults


class _LinkChecker:
    def __init__(
        self, client: HttpClient, clock: Callable[[], float], on_checked: Callable[[], None]
    ) -> None:
        self.faults: dict[str, LinkFault] = {}
        self._client = client
        self._clock = clock
        self._on_checked = on_checked
        self._hosts: defaultdict[str, _Host] = defaultdict(_Host)
        self._ends = clock() + LONGEST_CHECK_S

    async def work(self, turns: Iterator[list[str]], links: Mapping[str, bool]) -> None:
        """Check the links of one host after the other, as long as there are hosts that nobody has taken."""
        for urls in turns:
            for url in urls:
                fault = await self._check(url, is_image=links[url])
                if fault is not None:
                    self.faults[url] = fault
                self._on_checked()

    async def _check(self, url: str, *, is_image: bool) -> LinkFault | None:
        if self._clock() > self._ends:
            return _unasked(f"the check had {LONGEST_CHECK_S / 60:.0f} min")
        try:
            found, reply = await self._follow("HEAD", url)
            if _is_good(reply, is_image=is_image):
                return None
            if reply.status != 429:
                found, reply = await self._follow("GET", url)
        except (_HostClosed, _TooManyRedirects, NoResponse, RunStopped, UsageError, ValueError) as exc:
            return _unanswered(url, exc)
        return _judge(reply, (url, found), is_image=is_image)

    async def _follow(self, method: str, url: str) -> tuple[str, Reply]:
        """Ask, and follow redirects; return the last URL and its answer."""
        for _ in range(REDIRECTS + 1):
            reply = await self._ask(method, url)
            location = reply.headers.get("location")
            if reply.status not in _REDIRECT or not location:
                return url, reply
            url = urljoin(url, location)
        raise _TooManyRedirects

    async def _ask(self, method: str, url: str) -> Reply:
        """Ask once, when it is the host's turn; once more after a 429. Raises _HostClosed."""
        name = _host(url)
        host = self._hosts[name]
        async with host.lock:
            reply = await self._ask_now(method, url, name, host)
            if reply.status == 429:
                host.free_at = self._clock() + _asked_to_wait_s(reply)
                reply = await self._ask_now(method, url, name, host)
                if reply.status == 429:
                    host.closed = f"{name} takes no more requests now (HTTP 429)"
            return reply

    async def _ask_now(self, method: str, url: str, name: str, host: _Host) -> Reply:
        if host.closed:
            raise _HostClosed(host.closed)
        await anyio.sleep(max(host.free_at - self._clock(), 0.0))
        try:
            reply = await self._client.look_at(method, url, FIRST_BYTES, ANSWER_S)
        except NoResponse:
            host.silent += 1
            if host.silent >= MOST_SILENT:
                host.closed = f"{name} did not answer {MOST_SILENT} times"
            raise
        finally:
            host.free_at = self._clock() + GAP_S
        host.silent = 0
        return reply


class _HostClosed(Exception):
    """A host is asked no more; the text says why."""


class _TooManyRedirects(Exception):
    """A link leads from one URL to the next."""


def _unasked(why: str) -> LinkFault:
    return LinkFault(
        f"the link could not be checked: {why}.", "Try again later, or open it in a browser.", warning=True
    )


def _unanswered(url: str, error: Exception) -> LinkFault:
    """Return the fault of a link that got no answer."""
    match error:
        case _TooManyRedirects():
            return LinkFault(f"the link redirects more than {REDIRECTS} times.", _CHECK)
        case RunStopped():
            remedy = f"The service will hardly accept it either. {_CHECK}"
            return LinkFault(f"the certificate of {_host(url)} is not valid.", remedy)
        case NotDelivered() if is_unknown_host(error):
            return LinkFault(f"there is no host {_host(url)}.", "Check the spelling of the link.")
        case ValueError():
            return LinkFault(f"the link cannot be followed ({visible(str(error))}).", _CHECK)
        case _:
            return _unasked(str(error))


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


def _asked_to_wait_s(reply: Reply) -> float:
    after = reply.headers.get("retry-after", "")
    return min(float(after), LONGEST_WAIT_S) if after.isdecimal() else 25 * GAP_S


def _is_good(reply: Reply, *, is_image: bool) -> bool:
    """Return whether a HEAD shows that all is well, so that nothing need be read."""
    kind = _type_of(reply)
    size = reply.headers.get("content-length", "")
    if reply.status != 200 or not size.isdecimal() or int(size) == 0 or kind == "text/html":
        return False
    return not is_image or (kind in SENT_TYPES and int(size) <= LARGEST)


def _type_of(reply: Reply) -> str:
    return reply.headers.get("content-type", "").partition(";")[0].strip().lower()


def _size_of(reply: Reply) -> int | None:
    """Return how many bytes there are behind a link, as far as its answer says."""
    whole = reply.headers.get("content-range", "").rpartition("/")[2]
    if reply.status == 206:
        return int(whole) if whole.isdecimal() else None
    length = reply.headers.get("content-length", "")
    return int(length) if length.isdecimal() else None


def _judge(reply: Reply, urls: tuple[str, str], *, is_image: bool) -> LinkFault | None:
    """Return what is wrong with the answer to a GET for the first bytes; `urls` are the link and where it led."""
    fault = _refused(reply, urls[1])
    if fault is not None:
        return fault
    kind, data = _type_of(reply), reply.data
    what = file_kind(data[:HEAD_BYTES])
    if what is HTML or (kind == "text/html" and not is_sent_as_it_is(data)):
        return _page(urls)
    if not is_image:
        return None
    if what is not None:
        by_file = what in {HEIC, AVIF}
        remedy = (
            "The service is not known to read it: name a file, which is sent as JPEG."
            if by_file
            else what.remedy
        )
        return LinkFault(f"the link leads to {what.name}.", remedy, warning=by_file)
    if not is_sent_as_it_is(data):
        return LinkFault(f"the link leads to no image ({visible(kind) or 'of no type'}).", _CHECK)
    size = _size_of(reply)
    if size is not None and size > LARGEST:
        return LinkFault(f"the image behind the link is larger than {LARGEST >> 20} MiB.", "Save it smaller.")
    return None


def _refused(reply: Reply, url: str) -> LinkFault | None:
    """Return why an answer has no bytes of a file, None when it has some."""
    status = reply.status
    if status in {404, 410}:
        return LinkFault(
            f"there is nothing behind the link (HTTP {status}).", "Check the link, or name a file."
        )
    if status in {401, 403}:
        return LinkFault(
            f"the link is not for everyone (HTTP {status}).", "Make it public, sign it, or name a file."
        )
    if status in _LATER:
        return _unasked(f"{_host(url)} answers HTTP {status}")
    if status == 416 or (status in {200, 206} and not reply.data):
        return LinkFault("the link leads to an empty file.", "Save the image again, or name another.")
    return None if status in {200, 206} else LinkFault(f"the link answers HTTP {status}.", _CHECK)


def _page(urls: tuple[str, str]) -> LinkFault:
    """Return the fault of a link that shows a page; one of a known service is named, with its way out."""
    for url in urls:
        host = _host(url).partition(":")[0]
        for domains, service, remedy in _SHARES:
            if any(host == domain or host.endswith(f".{domain}") for domain in domains):
                found = _DRIVE_ID.search(urls[0])
                file_id = (found[1] or found[2]) if found else "ID"
                return LinkFault(
                    f"the link shows a {service} page, not the image.", remedy.replace("{id}", file_id)
                )
    return LinkFault("the link shows an HTML page, not an image.", f"Name the image itself. {_CHECK}")
