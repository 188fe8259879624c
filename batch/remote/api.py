"""The border: the only module that imports httpx. Requests go in; a Reply or a NoAnswer comes out.

Two pools: one holds the key and speaks to the three API hosts only; the other has no key and fetches pictures from any
host. httpx makes the requests; pool.py carries them, because httpx's own connections, and its client's stack of wrappers,
cost more CPU than all the rest of a call (tests/benchmarks/test_transport.py), and its errors do not tell whether a
request was delivered. Only a picture that was redirected goes through httpx's client, over the same pool.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import AsyncExitStack
from functools import cached_property, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
import httpx
from anyio import to_thread
from yarl import URL

from batch.errors import NoAnswer, NotDelivered
from batch.remote.body import LARGE, from_json, to_json
from batch.remote.pool import Form, Pool
from batch.remote.route import proxy_for, trusting
from batch.remote.verdicts import EXCERPT, Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from batch.config import Network, Service

JSON_LIMIT = 2 * 1024 * 1024
HISTORY_LIMIT = 16 * 1024 * 1024
PICTURE_LIMIT = 64 * 1024 * 1024
BASE64_LIMIT = PICTURE_LIMIT // 3 * 4 + JSON_LIMIT

ANSWER_S = 60.0  # the whole of one request, so that an endless answer ends; waiting for a free connection is not in it
UPLOAD_S = 300.0
POOL_S = 300.0  # waiting for a free connection
LONGEST_S = POOL_S + ANSWER_S
TIMEOUTS = httpx.Timeout(connect=10.0, read=30.0, write=None, pool=POOL_S)  # writing: the whole bounds it
CONNECTIONS = 20
"""Of a kind, whatever is in flight: 66 polls a second at 300 ms each. More of them only answer at once, and keep the loop
from everything else (tests/benchmarks/test_loop_lag.py)."""

REDIRECTS = 5  # of a picture's URL; the key never follows one

HEADERS = {"user-agent": "texbatch", "accept": "*/*", "accept-encoding": "gzip, deflate"}
JSON_TYPE = ("content-type", "application/json")
SHORTEST_SECRET = 8  # a shorter key is part of too many words

_Answer = TypeVar("_Answer")


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
        self._sending = httpx.Headers([*self._asking.multi_items(), JSON_TYPE])
        self._plain = httpx.Headers(HEADERS)
        self._secret = service.api_key.encode()
        self._api = Pool(context)
        self._files = Pool(context)
        self._redirecting = httpx.AsyncClient(
            transport=_OverPool(self._files, service.network),
            max_redirects=REDIRECTS - 1,  # the first one is ours
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        self._turns: defaultdict[object, anyio.Semaphore] = defaultdict(
            lambda: anyio.Semaphore(max_connections)
        )

    async def __aenter__(self) -> Self:
        for opened in (self._api, self._files, self._redirecting):
            await self._stack.enter_async_context(opened)
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
        try:
            headers = self._asking if body is None else self._sending
            content = None if body is None else await to_json(body)
            request = httpx.Request(method, url, headers=headers, params=params, content=content)
            form = _form(self.service.network, request, limit)
        except httpx.InvalidURL as exc:  # a request id may be of any length
            raise _no_url(method, url, exc) from exc
        return await self._answer(form, within_s)

    async def ask(
        self,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        limit: int = JSON_LIMIT,
        within_s: float = ANSWER_S,
    ) -> Reply:
        """GET a path below the inference host's URL, or POST a body there, as `call` does: for what every job asks.

        To make httpx's request takes a third of a call's CPU: here it is made once, and given another path.
        """
        form = self._inference
        url = form.url.with_path(f"{form.url.raw_path.rstrip('/')}{path}", encoded=True)
        form = form._replace(url=url, limit=limit)
        if body is not None:
            form = form._replace(
                method="POST", headers=[*form.headers, JSON_TYPE], content=await to_json(body)
            )
        return await self._answer(form, within_s)

    @cached_property
    def _inference(self) -> Form:
        url = self.service.inference_url
        try:
            return _form(self.service.network, httpx.Request("GET", url, headers=self._asking), JSON_LIMIT)
        except httpx.InvalidURL as exc:
            raise _no_url("GET", url, exc) from exc

    async def blocking(
        self, url: str, body: Any, *, within_s: float, heard: Callable[[Mapping[str, str]], None]
    ) -> tuple[Reply, bytes]:
        """POST once, wait up to `within_s` seconds for an answer that may be a picture; return it as reply and bytes.

        `heard` gets the headers as soon as they are there, also of an answer that is cut later. Raises as `call` does.
        """
        try:
            request = httpx.Request("POST", url, headers=self._sending, content=await to_json(body))
        except httpx.InvalidURL as exc:
            raise _no_url("POST", url, exc) from exc
        form = _form(self.service.network, request, PICTURE_LIMIT, read_s=within_s)
        status, headers, data = await self._send(
            partial(self._api.exchange, form, heard), form, _kind(form), within_s
        )
        return await self._reply(status, headers, data), data

    async def download(
        self, url: str, *, limit: int = PICTURE_LIMIT, within_s: float = ANSWER_S
    ) -> tuple[int, bytes]:
        """Fetch a file from any host without the key; return status and bytes. Raises as `call` does."""
        try:
            request = httpx.Request("GET", url, headers=self._plain)
        except (httpx.InvalidURL, ValueError) as exc:
            raise NoAnswer(f"the output URL cannot be read: {exc}") from exc
        form = _form(self.service.network, request, limit)
        status, headers, data = await self._send(partial(self._files.exchange, form), form, "file", within_s)
        if "location" not in headers or not httpx.codes.is_redirect(status):
            return status, data
        try:
            target = request.url.join(headers["location"])
            request = httpx.Request("GET", target, headers=self._plain, extensions={"limit": limit})
        except (httpx.InvalidURL, ValueError) as exc:
            raise NoAnswer(f"the output URL leads nowhere: {exc}") from exc
        try:
            response = await self._send(
                partial(self._redirecting.send, request, follow_redirects=True), form, "file", within_s
            )
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as exc:
            raise NoAnswer(f"{form.place}: {exc or type(exc).__name__}") from exc
        return response.status_code, response.content

    async def _answer(self, form: Form, within_s: float) -> Reply:
        return await self._reply(
            *await self._send(partial(self._api.exchange, form), form, _kind(form), within_s)
        )

    async def _send(
        self, exchange: Callable[[], Awaitable[_Answer]], form: Form, kind: object, within_s: float
    ) -> _Answer:
        """Wait for a turn, then send within `within_s` seconds."""
        turns = self._turns[kind]
        try:
            turns.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(TIMEOUTS.pool) as waiting:
                await turns.acquire()
            if waiting.cancelled_caught:
                raise NotDelivered(f"{form.place}: no connection (none became free in time)") from None
        try:
            with anyio.move_on_after(within_s):
                return await exchange()
        finally:
            turns.release()
        raise NoAnswer(f"{form.place}: no whole answer in time")

    async def _reply(self, status: int, headers: Mapping[str, str], data: bytes) -> Reply:
        if len(data) > LARGE:
            return await to_thread.run_sync(self._read, status, headers, data)
        return self._read(status, headers, data)

    def _read(self, status: int, headers: Mapping[str, str], data: bytes) -> Reply:
        if len(self._secret) >= SHORTEST_SECRET:  # a service may quote the key that it refuses
            data = data.replace(self._secret, b"[key]")
        return Reply(status, headers, from_json(data), data[: EXCERPT * 4].decode("utf-8", "replace"))


class _OverPool(httpx.AsyncBaseTransport):
    """Lets httpx's client send through a pool; what the pool raises passes through the client as it is."""

    def __init__(self, pool: Pool, network: Network) -> None:
        self._pool = pool
        self._network = network

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        form = _form(self._network, request, request.extensions["limit"])
        status, headers, data = await self._pool.exchange(form)
        plain = {name: value for name, value in headers.items() if name != "content-encoding"}
        return httpx.Response(status, headers=plain, content=data, request=request)


def _form(network: Network, request: httpx.Request, limit: int, *, read_s: float | None = None) -> Form:
    """Return a request as a pool takes it; raises NotDelivered when it cannot be one. Errors show no query of its URL."""
    url = request.url
    origin = f"{url.scheme}://{url.netloc.decode()}"
    try:
        target = URL(str(url), encoded=True)  # a signed URL is good as it was written only
    except ValueError as exc:
        raise _no_url(request.method, f"{origin}{url.path}", exc) from exc
    return Form(
        method=request.method,
        origin=origin,
        url=target,
        headers=request.headers.multi_items(),
        content=request.read() or None,
        proxy=proxy_for(network, url.scheme, url.host, url.port),
        limit=limit,
        connect_s=TIMEOUTS.connect,
        read_s=TIMEOUTS.read if read_s is None else read_s,
    )


def _kind(form: Form) -> tuple[str, str]:
    return form.method, form.url.authority


def _no_url(method: str, url: str, exc: Exception) -> NotDelivered:
    return NotDelivered(f"{method} {url[:EXCERPT]}: no URL ({exc})")
