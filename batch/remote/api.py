"""The border: the only module that imports httpx. Requests go in; a Reply or a NoAnswer comes out.

Two pools: one holds the key and speaks to the three API hosts only; the other has no key and fetches pictures from any
host. httpx's face rides on an aiohttp transport of our own, because the mapping of its errors decides about money:
NotDelivered is raised only when no connection could be made (aiohttp's connector errors), or when none was free, never
for a connection that broke later, whatever it looks like. No cookies, no redirects with the key, bounded sizes and times.

Only a picture that was redirected goes through httpx's client. Every other request is handed to the transport itself: the
client's stack of wrappers costs more CPU than all the rest of a call (tests/benchmarks/test_transport.py).
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import AsyncExitStack
from functools import lru_cache, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiohttp
import anyio
import httpx
from anyio import to_thread
from yarl import URL

from batch.errors import NoAnswer, NotDelivered, RunStopped, UselessAnswer
from batch.remote.body import LARGE, from_json, to_json
from batch.remote.route import proxy_for, trusting
from batch.remote.verdicts import EXCERPT, Reply

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from batch.config import Network, Service

JSON_LIMIT = 2 * 1024 * 1024
HISTORY_LIMIT = 16 * 1024 * 1024
PICTURE_LIMIT = 64 * 1024 * 1024
BASE64_LIMIT = PICTURE_LIMIT // 3 * 4 + JSON_LIMIT

REUSE_IDLE_S = 2.0  # a connection idle for longer may be closed by the other side just as a POST leaves
ANSWER_S = 60.0  # the whole of one request, so that an endless answer ends; waiting for a free connection is not in it
UPLOAD_S = 300.0
TIMEOUTS = httpx.Timeout(connect=10.0, read=30.0, write=None, pool=300.0)  # writing: the whole bounds it
CONNECTIONS = 64  # of a kind, whatever is in flight: a few kinds must fit into macOS's 256 open files
REDIRECTS = 5  # of a picture's URL; the key never follows one

HEADERS = {"user-agent": "texbatch", "accept": "*/*", "accept-encoding": "gzip, deflate"}
SHORTEST_SECRET = 8  # a shorter key is part of too many words

_Answer = TypeVar("_Answer")
_url = lru_cache(maxsize=4096)(httpx.URL)
"""A job is asked for again and again, and reading its URL is half the cost of a request."""


class CertificateRejected(httpx.ConnectError):
    """The other side's certificate was not accepted."""


def _unheard(headers: Mapping[str, str]) -> None:
    """Do nothing with the headers; most answers are read whole or not at all."""


class AiohttpTransport(httpx.AsyncBaseTransport):
    """httpx over an aiohttp session, answers read whole: a request's extension `limit` bounds them, in bytes.

    Does not count connections: whoever calls it does.
    """

    def __init__(self, network: Network, context: ssl.SSLContext) -> None:
        self._network = network
        self._context = context
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._context, keepalive_timeout=REUSE_IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; aiohttp's errors become httpx's, connector errors alone ConnectError."""
        status, headers, data = await self.exchange(request)
        plain = {name: value for name, value in headers.items() if name != "content-encoding"}
        return httpx.Response(status, headers=plain, content=data, request=request)

    async def exchange(
        self, request: httpx.Request, heard: Callable[[Mapping[str, str]], None] = _unheard
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request; return status, headers (names in lower case) and the body, decompressed.

        `heard` gets the headers as soon as they are there. Raises as `handle_async_request` does, and NoAnswer for a
        body over the limit.
        """
        if self._session is None:  # a session belongs to the running loop
            self._session = self._open()
        timeout, proxy = (
            request.extensions["timeout"],
            proxy_for(self._network, request.url.scheme, request.url.host, request.url.port),
        )
        try:
            response = await self._session.request(
                request.method,
                URL(str(request.url), encoded=True),  # a signed URL is good as it was written only
                headers=request.headers.multi_items(),
                data=await request.aread() or None,
                allow_redirects=False,
                proxy=proxy,
                timeout=aiohttp.ClientTimeout(sock_connect=timeout["connect"], sock_read=timeout["read"]),
            )
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as exc:
            raise CertificateRejected(str(exc), request=request) from exc
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ClientHttpProxyError,
            aiohttp.ConnectionTimeoutError,
            aiohttp.InvalidURL,  # refused before anything was sent
        ) as exc:
            raise httpx.ConnectError(_words(exc), request=request) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise httpx.ReadError(_words(exc), request=request) from exc
        if proxy is not None and response.status == 407:  # no service's answer: the proxy's own
            response.close()
            raise httpx.ConnectError("the proxy wants another user or password", request=request)
        headers = _headers(response)
        heard(headers)
        return response.status, headers, await _body(response, request)

    async def aclose(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()


async def _body(response: aiohttp.ClientResponse, request: httpx.Request) -> bytes:
    """Read the body to its end, which frees the connection; one that is not read so far is cut."""
    limit, chunks, size = request.extensions["limit"], [], 0
    try:
        while chunk := await response.content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise UselessAnswer(f"{_place(request)}: the answer is over {limit} bytes")
    except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError) as exc:
        raise httpx.ReadError(_words(exc), request=request) from exc
    finally:
        if not response.content.at_eof():
            response.close()
    return b"".join(chunks)


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.raw_headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class Api:
    """The two pools, open; use as an async context manager. Raises UsageError for a CA file that is none.

    A request of a kind (GETs or POSTs of one host, pictures) waits for `max_connections` others of its kind: polls
    keep no submit waiting. Its time starts when its turn has come.
    """

    def __init__(self, service: Service, max_connections: int = CONNECTIONS) -> None:
        self.service = service
        self._stack = AsyncExitStack()
        context = trusting(service.network.ca_file)
        self._asking = httpx.Headers(HEADERS | {"x-api-key": service.api_key})
        self._sending = httpx.Headers({**self._asking, "content-type": "application/json"})
        self._secret = service.api_key.encode()
        self._api = AiohttpTransport(service.network, context)
        self._files = AiohttpTransport(service.network, context)
        self._plain = httpx.Headers(HEADERS)
        self._redirecting = httpx.AsyncClient(
            transport=self._files,
            headers=HEADERS,
            max_redirects=REDIRECTS - 1,  # the first one is ours
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        self._turns: defaultdict[object, anyio.Semaphore] = defaultdict(
            lambda: anyio.Semaphore(max_connections)
        )

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._api)
        await self._stack.enter_async_context(self._redirecting)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def call(
        self,
        method: str,
        url: str,
        *,
        body: Any = None,
        params: Mapping[str, str | int] | None = None,
        limit: int = JSON_LIMIT,
        within_s: float = ANSWER_S,
    ) -> Reply:
        """Make one request to an API host, with the key, once; return the answer whatever its status.

        Raises NotDelivered when no connection could be made, NoAnswer when the answer did not come whole within
        `within_s` seconds and `limit` bytes, RunStopped when the certificate is not accepted.
        """
        request = await self._request(method, url, body, params, limit=limit, timeout=TIMEOUTS.as_dict())
        kind = (method, request.url.netloc)
        return await self._reply(*await self._send(self._api.exchange, request, kind, within_s))

    async def blocking(
        self, url: str, body: Any, *, within_s: float, heard: Callable[[Mapping[str, str]], None]
    ) -> tuple[Reply, bytes]:
        """POST once, wait up to `within_s` seconds for an answer that may be a picture; return it as reply and bytes.

        `heard` gets the headers as soon as they are there, also of an answer that is cut later. Raises as `call` does.
        """
        patient = TIMEOUTS.as_dict() | {"read": within_s}
        request = await self._request("POST", url, body, None, limit=PICTURE_LIMIT, timeout=patient)
        exchange, kind = partial(self._api.exchange, heard=heard), ("POST", request.url.netloc)
        status, headers, data = await self._send(exchange, request, kind, within_s)
        return await self._reply(status, headers, data), data

    async def download(
        self, url: str, *, limit: int = PICTURE_LIMIT, within_s: float = ANSWER_S
    ) -> tuple[int, bytes]:
        """Fetch a file from any host without the key; return status and bytes. Raises as `call` does."""
        extensions = {"limit": limit, "timeout": TIMEOUTS.as_dict()}
        try:
            request = httpx.Request("GET", url, headers=self._plain, extensions=extensions)
        except (httpx.InvalidURL, ValueError) as exc:
            raise NoAnswer(f"the output URL cannot be read: {exc}") from exc
        status, headers, data = await self._send(self._files.exchange, request, "file", within_s)
        if "location" not in headers or not httpx.codes.is_redirect(status):
            return status, data
        try:
            request = httpx.Request(
                "GET", request.url.join(headers["location"]), headers=self._plain, extensions=extensions
            )
        except (httpx.InvalidURL, ValueError) as exc:
            raise NoAnswer(f"the output URL leads nowhere: {exc}") from exc
        send = partial(self._redirecting.send, follow_redirects=True)
        response = await self._send(send, request, "file", within_s)
        return response.status_code, response.content

    async def _request(
        self, method: str, url: str, body: Any, params: Mapping[str, str | int] | None, **bounds: Any
    ) -> httpx.Request:
        content = None if body is None else await to_json(body)
        headers = self._asking if content is None else self._sending
        try:
            return httpx.Request(
                method, _url(url), headers=headers, params=params, content=content, extensions=bounds
            )
        except httpx.InvalidURL as exc:  # a request id may be of any length
            raise NotDelivered(f"{method} {url[:EXCERPT]}: no URL ({exc})") from exc

    async def _send(
        self,
        send: Callable[[httpx.Request], Awaitable[_Answer]],
        request: httpx.Request,
        kind: object,
        within_s: float,
    ) -> _Answer:
        """Wait for a turn, then send within `within_s` seconds; what httpx and the clock raise becomes our own."""
        turns = self._turns[kind]
        with _border(request):
            try:
                turns.acquire_nowait()
            except anyio.WouldBlock:
                with anyio.move_on_after(TIMEOUTS.pool) as waiting:
                    await turns.acquire()
                if waiting.cancelled_caught:
                    raise httpx.PoolTimeout("none became free in time") from None
            try:
                with anyio.move_on_after(within_s):
                    return await send(request)
            finally:
                turns.release()
            raise TimeoutError

    async def _reply(self, status: int, headers: Mapping[str, str], data: bytes) -> Reply:
        if len(data) > LARGE:
            return await to_thread.run_sync(self._read, status, headers, data)
        return self._read(status, headers, data)

    def _read(self, status: int, headers: Mapping[str, str], data: bytes) -> Reply:
        if len(self._secret) >= SHORTEST_SECRET:  # a service may quote the key that it refuses
            data = data.replace(self._secret, b"[key]")
        return Reply(status, headers, from_json(data), data[: EXCERPT * 4].decode("utf-8", "replace"))


class _border:  # noqa: N801  reads as a statement
    """Turn what httpx and the clock raise into our own errors, most specific first; URLs lose their queries."""

    def __init__(self, request: httpx.Request) -> None:
        self.request = request

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if exc is None:
            return
        place = _place(self.request)
        if isinstance(exc, CertificateRejected):
            raise RunStopped(
                f"{place}: the certificate is not accepted ({exc}). Check the address and SSL_CERT_FILE."
            ) from exc
        if isinstance(exc, httpx.ConnectError | httpx.PoolTimeout):
            raise NotDelivered(f"{place}: no connection ({exc})") from exc
        if isinstance(exc, TimeoutError):
            raise NoAnswer(f"{place}: no whole answer in time") from exc
        if isinstance(exc, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError):
            raise NoAnswer(f"{place}: {exc or type(exc).__name__}") from exc


def _place(request: httpx.Request) -> str:
    return f"{request.method} {request.url.scheme}://{request.url.netloc.decode()}{request.url.path}"


def _words(exc: BaseException) -> str:
    if isinstance(exc, aiohttp.ClientResponseError):  # its own text holds the whole URL, query and all
        return " ".join(exc.message.split())[:EXCERPT] or type(exc).__name__
    return str(exc) or type(exc).__name__
