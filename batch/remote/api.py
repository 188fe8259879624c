"""The border: the only module that imports httpx. Requests go in; a Reply or a NoAnswer comes out.

Two pools: `api` holds the key and speaks to the three API hosts only; `files` has no key and fetches pictures from
any host. The httpx face rides on an aiohttp transport of our own, because the mapping of its errors decides about
money: NotDelivered is raised only when no connection could be made (aiohttp's connector errors), never for a
connection that broke later, whatever it looks like. No cookies, no redirects with the key, bounded sizes and times.
"""

from __future__ import annotations

import json
import ssl
from contextlib import AsyncExitStack
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import anyio
import httpx
from yarl import URL

from batch.errors import NoAnswer, NotDelivered, RunStopped, UsageError
from batch.remote.verdicts import EXCERPT, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from batch.config import Network, Service

JSON_LIMIT = 2 * 1024 * 1024
HISTORY_LIMIT = 16 * 1024 * 1024
PICTURE_LIMIT = 64 * 1024 * 1024
BASE64_LIMIT = PICTURE_LIMIT // 3 * 4 + JSON_LIMIT

REUSE_IDLE_S = 2.0  # a connection idle for longer may be closed by the other side just as a POST leaves
ANSWER_S = 60.0  # the whole of one request, so that an endless answer ends
UPLOAD_S = 300.0
TIMEOUTS = httpx.Timeout(connect=10.0, read=30.0, write=30.0, pool=30.0)
REDIRECTS = 5  # of a picture's URL; the key never follows one

USER_AGENT = "texbatch"
SHORTEST_SECRET = 8  # a shorter key is part of too many words


class CertificateRejected(httpx.ConnectError):
    """The other side's certificate was not accepted."""


class AiohttpTransport(httpx.AsyncBaseTransport):
    """httpx over an aiohttp session; one connection pool, closed with the client."""

    def __init__(self, network: Network, context: ssl.SSLContext, max_connections: int) -> None:
        self._network = network
        self._context = context
        self._limit = max_connections
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._limit, ssl=self._context, keepalive_timeout=REUSE_IDLE_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; aiohttp's errors become httpx's, connector errors alone ConnectError."""
        if self._session is None:  # a session belongs to the running loop
            self._session = self._open()
        timeout = request.extensions["timeout"]
        try:
            response = await self._session.request(
                request.method,
                URL(str(request.url), encoded=True),  # a signed URL is good as it was written only
                headers=request.headers.multi_items(),
                data=await request.aread() or None,
                allow_redirects=False,
                proxy=_proxy(self._network, request.url),
                timeout=aiohttp.ClientTimeout(
                    connect=timeout["pool"], sock_connect=timeout["connect"], sock_read=timeout["read"]
                ),
            )
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as exc:
            raise CertificateRejected(str(exc), request=request) from exc
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ClientHttpProxyError,
            aiohttp.ConnectionTimeoutError,
        ) as exc:
            raise httpx.ConnectError(_words(exc), request=request) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise httpx.ReadError(_words(exc), request=request) from exc
        return httpx.Response(
            response.status, headers=response.raw_headers, stream=_Body(response, request), request=request
        )

    async def aclose(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as exc:
            raise httpx.ReadError(_words(exc), request=self._request) from exc

    async def aclose(self) -> None:
        if self._response.content.at_eof():
            self._response.release()  # the connection can be used again
        else:
            self._response.close()


def _unheard(headers: Mapping[str, str]) -> None:
    """Do nothing with the headers; most answers are read whole or not at all."""


class Api:
    """The two pools, open; use as an async context manager. Raises UsageError for a CA file that is none."""

    def __init__(self, service: Service, max_connections: int = 100) -> None:
        self.service = service
        self._stack = AsyncExitStack()
        agent = {"user-agent": USER_AGENT}
        context = _trusting(service.network.ca_file)
        keyed = agent | {"x-api-key": service.api_key}
        self._secret = service.api_key.encode()
        self._api = _client(AiohttpTransport(service.network, context, max_connections), keyed)
        self._files = _client(AiohttpTransport(service.network, context, max_connections), agent)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._api)
        await self._stack.enter_async_context(self._files)
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
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        request = self._api.build_request(method, url, content=content, headers=headers, params=params)
        return self._reply(*await self._fetch(self._api, request, limit, within_s))

    async def blocking(
        self, url: str, body: Any, *, within_s: float, heard: Callable[[Mapping[str, str]], None]
    ) -> tuple[Reply, bytes]:
        """POST once, wait up to `within_s` seconds for an answer that may be a picture; return it as reply and bytes.

        `heard` gets the headers as soon as they are there, also of an answer that is cut later. Raises as `call` does.
        """
        request = self._api.build_request(
            "POST",
            url,
            content=json.dumps(body, ensure_ascii=False).encode(),
            headers={"content-type": "application/json"},
            timeout=httpx.Timeout(
                connect=TIMEOUTS.connect, read=within_s, write=TIMEOUTS.write, pool=TIMEOUTS.pool
            ),
        )
        status, answered, data = await self._fetch(self._api, request, PICTURE_LIMIT, within_s, heard=heard)
        return self._reply(status, answered, data), data

    def _reply(self, status: int, answered: Mapping[str, str], data: bytes) -> Reply:
        if len(self._secret) >= SHORTEST_SECRET:  # a service may quote the key that it refuses
            data = data.replace(self._secret, b"[key]")
        return Reply(status, answered, _parse(data), data[: EXCERPT * 4].decode("utf-8", "replace"))

    async def download(
        self, url: str, *, limit: int = PICTURE_LIMIT, within_s: float = ANSWER_S
    ) -> tuple[int, bytes]:
        """Fetch a file from any host without the key; return status and bytes. Raises as `call` does."""
        try:
            request = self._files.build_request("GET", url)
        except (httpx.InvalidURL, ValueError) as exc:
            raise NoAnswer(f"the output URL cannot be read: {exc}") from exc
        status, _, data = await self._fetch(self._files, request, limit, within_s, follow=True)
        return status, data

    async def _fetch(
        self,
        client: httpx.AsyncClient,
        request: httpx.Request,
        limit: int,
        within_s: float,
        *,
        follow: bool = False,
        heard: Callable[[Mapping[str, str]], None] = _unheard,
    ) -> tuple[int, Mapping[str, str], bytes]:
        with _border(request), anyio.fail_after(within_s):
            response = await client.send(request, stream=True, follow_redirects=follow)
            headers = {name.lower(): value for name, value in response.headers.items()}
            heard(headers)
            data = bytearray()
            try:
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > limit:
                        raise NoAnswer(f"{_place(request)}: the answer is over {limit} bytes")
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        return response.status_code, headers, bytes(data)


class _border:  # noqa: N801  reads as a statement
    """Turn what httpx and the clock raise into our own errors, most specific first; URLs lose their queries."""

    def __init__(self, request: httpx.Request) -> None:
        self.request = request

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        place = _place(self.request)
        if isinstance(exc, CertificateRejected):
            raise RunStopped(
                f"{place}: the certificate is not accepted ({exc}). Check the address and SSL_CERT_FILE."
            ) from exc
        if isinstance(exc, httpx.ConnectError):
            raise NotDelivered(f"{place}: no connection ({exc})") from exc
        if isinstance(exc, TimeoutError):
            raise NoAnswer(f"{place}: no whole answer in time") from exc
        if isinstance(exc, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError):
            raise NoAnswer(f"{place}: {exc or type(exc).__name__}") from exc


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as exc:
        raise UsageError(
            f"{ca_file}: no CA certificates can be read from it ({exc}). Check SSL_CERT_FILE."
        ) from exc


def _client(transport: httpx.AsyncBaseTransport, headers: Mapping[str, str]) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport,
        headers=headers,
        timeout=TIMEOUTS,
        max_redirects=REDIRECTS,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


def _proxy(network: Network, url: httpx.URL) -> str | None:
    for host in network.no_proxy:
        if host in {"*", url.host} or url.host.endswith("." + host.lstrip(".")):
            return None
    return network.proxies.get(url.scheme) or network.proxies.get("all")


def _parse(data: bytes) -> Any:
    try:
        body = json.loads(data)
        if b"\\ud" in data.lower():  # half a surrogate pair can be neither stored nor sent on
            body = json.loads(json.dumps(body, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):  # also UnicodeDecodeError
        return None
    return body


def _place(request: httpx.Request) -> str:
    return f"{request.method} {request.url.scheme}://{request.url.netloc.decode()}{request.url.path}"


def _words(exc: BaseException) -> str:
    if isinstance(exc, aiohttp.ClientResponseError):  # its own text holds the whole URL, query and all
        return " ".join(exc.message.split())[:EXCERPT] or type(exc).__name__
    return str(exc) or type(exc).__name__
