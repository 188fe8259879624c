"""HTTP to the service's hosts and to image hosts: one request, one attempt, and every failure as one of our own errors.

`HttpClient.request_json` and `HttpClient.download` go through `_send`, which waits for a free place and bounds the time, and
`_exchange`, which sends the request and reads the answer. Two sessions: one carries the key and speaks to the three API
hosts only; the other has no key and fetches images from any host. What may be repeated is decided by those who ask
(calls.py extends this client).

httpx reads and joins the URLs; aiohttp carries the requests, for 0.11 ms of CPU each. An httpx client over aiohttp
would cost about twice that, and httpx's own connections 2.3 ms (tests/benchmarks/test_transport.py). aiohttp also shows
whether a request had a connection when it failed. That decides about money: NotDelivered is raised only where it had
none, never for a connection that broke later, whatever it looks like. No cookies, no redirects but an image's, bounded
sizes and times.

A connection may carry an answer that no request asked for (the last one twice, another client's), and aiohttp hands it to
the next request. So a connection is used again only when its last answer was 2xx, so that a copy of a refusal never lets a
submit be repeated, and when nothing has come since. A copy of a 2xx names a request: the caller compares it.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
import ssl
from collections import defaultdict
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import aiohttp
import anyio
import httpx
from anyio import to_thread
from yarl import URL

from batch.client.key_mask import KeyMask
from batch.client.responses import EXCERPT, Reply
from batch.core.config import is_host
from batch.core.errors import NoResponse, NotDelivered, RunStopped, UnusableResponse, UsageError
from batch.core.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from batch.core.config import Service

JSON_LIMIT = 2 * 1024 * 1024
HISTORY_LIMIT = 16 * 1024 * 1024
IMAGE_LIMIT = 64 * 1024 * 1024
BASE64_LIMIT = IMAGE_LIMIT // 3 * 4 + JSON_LIMIT

CONNECTIONS = 20
"""Of a kind, whatever is in flight: 66 polls a second at 300 ms each. More of them only answer at once, and keep the loop
from everything else (tests/benchmarks/test_loop_lag.py)."""

REDIRECTS = 5  # of an image's URL; the key never follows one
NOT_NOW = frozenset({408, 425, 429})  # of the 4xx those that say nothing about the file that was asked for

HEADERS = {"user-agent": "texbatch", "accept": "*/*", "accept-encoding": "gzip, deflate"}
TEXT = EXCERPT * 4
"""Characters of an answer that are kept as text."""

LARGE = 256 * 1024
"""Bytes from which JSON is read or written in a thread, since other requests wait for the loop."""

DEEPEST = 100
"""Levels of lists and objects in JSON: no answer is nearly so deep, and readers of a body recurse into it."""

GOOD = (b"HTTP/1.1 2", b"HTTP/1.0 2")
"""How an answer begins after which its connection may be used again."""

MOST_URLS = 4096
"""URLs that are remembered as read: to read one takes a third of a request's CPU, and each job is asked about by one."""


def ssl_context(ca_file: str | None) -> ssl.SSLContext:
    """Return what TLS connections trust: the CAs of a file, or the system's. Raises UsageError for a file without any."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as exc:
        raise UsageError(
            f"{ca_file}: no CA certificates can be read from it ({exc}). Check SSL_CERT_FILE."
        ) from exc


@lru_cache(maxsize=MOST_URLS)
def read_url(text: str, base: str | None = None) -> URL:
    """Read a URL, relative to `base` where that is given; raises ValueError for one that cannot be requested."""
    try:
        url = httpx.URL(text) if base is None else httpx.URL(base).join(text)
    except httpx.InvalidURL as exc:
        raise ValueError(str(exc)) from exc
    host = url.raw_host.decode("ascii")
    if url.scheme not in {"http", "https"} or not is_host(host):
        raise ValueError("it needs http(s):// and the name or address of a host")
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError(f"{url.port} is not a valid port")
    return URL(str(url), encoded=True)  # a signed URL is valid only as it was written


class Request(NamedTuple):
    """One request; `limit` bounds its answer's body in bytes, `read_s` the time between two pieces of it, in seconds.

    `on_headers` gets the answer's headers as soon as they have come. With `cut` an answer over the limit is cut there, and is
    no error.
    """

    method: str
    url: URL
    headers: Sequence[tuple[str, str]]
    content: bytes | None
    limit: int
    read_s: float
    on_headers: Callable[[Mapping[str, str]], None] = lambda _: None
    cut: bool = False

    @property
    def shown(self) -> str:
        """What an error calls the request: without user and query, which may be a password and a signature."""
        return f"{self.method} {self.url.origin()}{self.url.raw_path}"


class HttpClient:
    """The two sessions, open; use as an async context manager. Raises UsageError for a CA file that holds none.

    A request of a kind (GETs or POSTs of one host, images) waits for `max_connections` others of its kind, so that polls
    never delay a submit. Its time starts when it has a connection.
    """

    _api: aiohttp.ClientSession | None = None
    _files: aiohttp.ClientSession | None = None

    def __init__(self, service: Service, max_connections: int = CONNECTIONS) -> None:
        self.timeouts = service.timeouts
        self._stack = AsyncExitStack()
        self._plain = tuple(HEADERS.items())
        self._get_headers = (*self._plain, ("x-api-key", service.api_key))
        self._post_headers = (*self._get_headers, ("content-type", "application/json"))
        self._mask = KeyMask(service.api_key)
        self._context = ssl_context(service.network.ca_file)
        self._proxy_for = lru_cache(maxsize=MOST_URLS)(service.network.proxy_for)
        self._places: defaultdict[object, anyio.Semaphore] = defaultdict(
            lambda: anyio.Semaphore(max_connections)
        )

    async def __aenter__(self) -> Self:
        self._api, self._files = [
            await self._stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=_Connector(limit=0, ssl=self._context, keepalive_timeout=self.timeouts.idle_s),
                    cookie_jar=aiohttp.DummyCookieJar(),
                )
            )
            for _ in range(2)
        ]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def request_json(
        self,
        url: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str | int] | None = None,
        limit: int = JSON_LIMIT,
        within_s: float | None = None,
        read_s: float | None = None,
        on_headers: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> Reply:
        """GET from an API host, or POST a body there, with the key, once; return the answer whatever its status.

        `within_s` bounds the whole in seconds, `read_s` the time between two pieces of the answer. `on_headers` gets its
        headers as soon as they are there, also where the answer is cut later. Raises NotDelivered when no connection could
        be made, NoResponse when the answer did not come whole in time and in `limit` bytes, RunStopped when the
        certificate is not valid.
        """
        method, headers, content = "GET", self._get_headers, None
        if body is not None:
            write = partial(json.dumps, body, ensure_ascii=False)
            parts = (
                part for value in body.values() for part in (value if isinstance(value, list) else [value])
            )
            large = sum(len(part) for part in parts if isinstance(part, str)) > LARGE
            text = await to_thread.run_sync(write) if large else write()
            method, headers, content = "POST", self._post_headers, text.encode()
        try:
            to = read_url(url if params is None else str(httpx.URL(url, params=params)))
        except (httpx.InvalidURL, ValueError) as exc:  # a request id may be of any length
            shown = f"{method} {url.partition('?')[0][:EXCERPT]}: is not a valid URL ({exc})"
            raise NotDelivered(visible(shown)) from exc
        timeouts = self.timeouts
        read_s = timeouts.read_s if read_s is None else read_s
        request = Request(method, to, headers, content, limit, read_s, on_headers)
        reply = await self._send(self._api, request, timeouts.answer_s if within_s is None else within_s)
        if len(reply.data) > LARGE:
            return await to_thread.run_sync(self._read_json, reply)
        return self._read_json(reply)

    async def download(self, url: str, *, limit: int = IMAGE_LIMIT) -> bytes:
        """Fetch a finished image from any host, without the key; raises NoResponse when it did not come whole with 200.

        Raises UnusableResponse when the URL, or its redirect, is not a valid URL, and when its host refuses: 404, 403,
        410 and the like. A 5xx or 429 says nothing of the file.
        """
        base: str | None = None
        for _ in range(REDIRECTS + 1):
            try:
                to = read_url(url, base)
            except ValueError as exc:
                role = "is not a valid URL" if base is None else "redirects to what is not a valid URL"
                raise UnusableResponse(f"the image's URL {role} ({self._clean(str(exc))})") from exc
            request = Request("GET", to, self._plain, None, limit, self.timeouts.read_s)
            try:
                reply = await self._send(self._files, request, self.timeouts.download_s)
            except UsageError as exc:  # of the proxies only those of our own hosts are checked before
                raise NoResponse(f"{to.scheme}://{to.raw_host}: {exc}") from exc
            location = reply.headers.get("location")
            if location is None or not httpx.codes.is_redirect(reply.status):
                break
            url, base = location, str(to)
        else:
            raise NoResponse(f"{request.shown}: redirected more than {REDIRECTS} times")
        if 400 <= reply.status < 500 and reply.status not in NOT_NOW:
            raise UnusableResponse(f"the image's URL answers HTTP {reply.status}")
        if reply.status != 200:
            raise NoResponse(f"the image's URL answers HTTP {reply.status}")
        return reply.data

    async def look_at(self, method: str, url: str, limit: int, within_s: float) -> Reply:
        """HEAD any URL, or GET about its first `limit` bytes, once and without the key; return the answer, a redirect too.

        Raises ValueError for a URL that cannot be requested, NotDelivered, NoResponse, UsageError for a proxy that cannot be
        used, and RunStopped for a certificate that is not valid.
        """
        headers = (*self._plain[:-1], ("accept-encoding", "identity"))
        if method == "GET":
            headers = (*headers, ("range", f"bytes=0-{limit - 1}"))
        request = Request(method, read_url(url), headers, None, limit, self.timeouts.read_s, cut=True)
        return await self._send(self._files, request, within_s)

    async def _send(self, session: aiohttp.ClientSession | None, request: Request, within_s: float) -> Reply:
        """Wait for a place among the requests of the same kind, then send within `within_s` seconds."""
        if session is None:
            raise RuntimeError("the client is not open: use it as an async context manager")
        kind = "image" if session is self._files else (request.method, request.url.raw_authority)
        places = self._places[kind]
        try:
            places.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(self.timeouts.pool_s) as waiting:
                await places.acquire()
            if waiting.cancelled_caught:
                raise NotDelivered(f"{request.shown}: no connection (none became free in time)") from None
        try:
            with anyio.move_on_after(within_s):
                return await self._exchange(session, request)
        finally:
            places.release()
        raise NoResponse(f"{request.shown}: no whole answer in time")

    async def _exchange(self, session: aiohttp.ClientSession, request: Request) -> Reply:
        """Send a request and read the answer to its end, decompressed, which frees the connection.

        Raises NotDelivered when no connection could be made, NoResponse when the answer did not come whole,
        UnusableResponse for a body over the limit, RunStopped for a certificate that was seen and is not valid, and
        UsageError for a proxy that cannot be used.
        """
        url = request.url
        proxy = self._proxy_for(url.scheme, url.raw_host or "", url.explicit_port)
        trip = _Trip()
        _TRIP.set(trip)
        try:
            response = await session.request(
                request.method,
                url,
                headers=request.headers,
                data=request.content,
                allow_redirects=False,
                proxy=proxy,
                timeout=aiohttp.ClientTimeout(sock_connect=self.timeouts.connect_s, sock_read=request.read_s),
            )
        except aiohttp.ClientConnectorCertificateError as exc:
            raise RunStopped(
                f"{request.shown}: the certificate is not accepted ({self._words(exc)}). "
                "Check the address and SSL_CERT_FILE."
            ) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            if trip.guard is None:
                raise NotDelivered(f"{request.shown}: no connection ({self._words(exc)})") from exc
            raise NoResponse(f"{request.shown}: {self._words(exc)}") from exc
        if proxy is not None and response.status == 407:  # not the service's answer but the proxy's own
            response.close()
            raise NotDelivered(f"{request.shown}: no connection (the proxy wants another user or password)")
        headers: dict[str, str] = {}
        for raw_name, raw_value in response.raw_headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        request.on_headers(headers)
        data = bytearray()
        try:
            while len(data) <= request.limit and (chunk := await response.content.readany()):
                data += chunk
            if len(data) > request.limit and not request.cut:
                raise UnusableResponse(f"{request.shown}: the answer is over {request.limit} bytes")
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError) as exc:
            raise NoResponse(f"{request.shown}: {self._words(exc)}") from exc
        finally:
            if not response.content.at_eof():
                response.close()
        return Reply(response.status, headers, None, "", bytes(data), disown=trip.disown)

    def _read_json(self, reply: Reply) -> Reply:
        """Return an answer with its body and its text read, without the key: a service may quote what it refuses."""
        body = from_json(reply.data)
        text = reply.data[: 2 * TEXT].decode("utf-8", "replace")
        lower = reply.data.decode("latin-1").lower()
        if any(clue in lower for clue in self._mask.clues):
            body, text = self._mask.body(body), self._mask.text(text)
        return replace(reply, body=body, text=text[:TEXT])

    def _clean(self, text: str) -> str:
        return visible(self._mask.text(text))

    def _words(self, exc: BaseException) -> str:
        """Return an error's own text, without URLs, TLS contexts or the key."""
        if isinstance(exc, aiohttp.ClientResponseError):  # its own text holds the whole URL, query and all
            words = exc.message
        elif isinstance(exc, aiohttp.ClientConnectorCertificateError):  # a connector's error without os_error
            words = f"{exc.host}:{exc.port}: {exc.certificate_error}"
        elif isinstance(exc, aiohttp.ClientConnectorError):  # its own text shows our TLS context
            words = f"{exc.host}:{exc.port}: {exc.os_error or type(exc.os_error).__name__}"
        else:
            words = str(exc)
        return self._clean(" ".join(words.split()))[:EXCERPT] or type(exc).__name__


def is_unknown_host(error: NotDelivered) -> bool:
    """Return whether there is no host of that name; false where the name could not be looked up."""
    cause = error.__cause__
    return isinstance(cause, aiohttp.ClientConnectorDNSError) and cause.os_error.errno == socket.EAI_NONAME


class _Trip:
    """The connection of one request, once it has one; before that nothing of it was sent."""

    guard: _Guard | None = None

    def disown(self) -> None:
        """Close the connection: what comes on it is about something else."""
        if self.guard is not None:
            self.guard.abort()


_TRIP: ContextVar[_Trip] = ContextVar("trip")


@dataclass(eq=False)
class _Guard(asyncio.Protocol):
    """Sits between a connection and aiohttp's protocol: bytes that no request asked for end the connection.

    Only data is stopped here; the connector hands everything else to aiohttp's protocol.
    """

    _protocol: ResponseHandler
    _transport: asyncio.Transport
    _asked: bool = True
    _began: bool = False
    _good: bool = False

    def reuse(self) -> bool:
        """Let the next answer through; False when anything has come since the last one, as far as this machine knows."""
        if self._protocol.should_close or self._transport.is_closing():
            return False
        waiting = select.poll()
        waiting.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        if waiting.poll(0):
            return False
        self._asked, self._began, self._good = True, False, False
        return True

    def rest(self) -> None:
        """Let nothing through: the answer is whole. After one that was not good the connection ends."""
        self._asked = False
        if not self._good:
            # Aborted, not closed: aiohttp does not wait for a connection that it closes itself.
            self._transport.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass on an answer that was asked for."""
        if not self._asked:
            self._transport.abort()
            return
        if not self._began:
            self._began, self._good = True, data.startswith(GOOD)
        self._protocol.data_received(data)


class _Connector(aiohttp.TCPConnector):
    """Puts a guard on each connection, and hands out no connection that holds bytes no request asked for."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's
    ) -> Connection:
        """Return a connection for one request, from the pool or new."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None or transport.is_closing():
                connection.close()
                raise aiohttp.ClientConnectionError("it was closed at once")
            guard = transport.get_protocol()
            if not isinstance(guard, _Guard):
                guard = _Guard(protocol, transport)
                for name in ("eof_received", "connection_lost", "pause_writing", "resume_writing"):
                    setattr(guard, name, getattr(protocol, name))
                transport.set_protocol(guard)
            elif not guard.reuse():  # it has carried requests before
                connection.close()
                continue
            connection.add_callback(guard.rest)
            _TRIP.get().guard = guard
            return connection


def from_json(data: bytes) -> Any:
    """Return the JSON of an answer; None when it is not JSON, or deeper than DEEPEST."""
    try:
        body = json.loads(data)
        if data.count(b"[") + data.count(b"{") > DEEPEST and _is_deep(body):
            return None
        # Half a surrogate pair can be neither stored nor sent on; most answers have no backslash to look behind.
        if b"\\" in data and b"\\ud" in data.lower():
            body = json.loads(json.dumps(body, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):  # also UnicodeDecodeError
        return None
    return body


def _is_deep(body: Any) -> bool:
    """Return whether decoded JSON has more than DEEPEST levels."""
    level = [body]
    for _ in range(DEEPEST + 1):
        outer = [value for value in level if isinstance(value, dict | list)]
        level = [inner for value in outer for inner in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return False
    return True
