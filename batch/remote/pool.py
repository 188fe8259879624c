"""One request over a pool of connections: status, headers and bytes come back, and aiohttp's errors become our own.

The mapping decides about money: NotDelivered is raised only where no connection could be made (aiohttp's connector
errors), never for one that broke later, whatever it looks like. No cookies, no redirects, bounded sizes and times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import aiohttp

from batch.errors import NoAnswer, NotDelivered, RunStopped, UselessAnswer
from batch.remote.verdicts import EXCERPT

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence

    from yarl import URL

REUSE_IDLE_S = 2.0  # a connection idle for longer may be closed by the other side just as a POST leaves

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers with names in lower case, and the body, decompressed."""


class Form(NamedTuple):
    """A request in the pool's terms, to be sent as often as one likes.

    `origin` is the URL's scheme and host, for people. `limit` bounds the answer's body, in bytes; seconds are those to a
    connection, and between two pieces of the answer.
    """

    method: str
    origin: str
    url: URL
    headers: Sequence[tuple[str, str]]
    content: bytes | None
    proxy: str | None
    limit: int
    connect_s: float | None
    read_s: float | None

    @property
    def place(self) -> str:
        """What an error calls it; a query may be a signature, and is not shown."""
        return f"{self.method} {self.origin}{self.url.raw_path}"


class Pool:
    """Connections to any host that a context trusts; does not count them: whoever sends does."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._context, keepalive_timeout=REUSE_IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def exchange(self, form: Form, heard: Callable[[Mapping[str, str]], None] | None = None) -> Answer:
        """Send a request once; `heard` gets the headers as soon as they are there.

        Raises NotDelivered when no connection could be made, NoAnswer when the answer did not come whole, UselessAnswer
        for a body over the limit, RunStopped for a certificate that is not accepted.
        """
        if self._session is None:
            raise RuntimeError("the pool is not open")
        try:
            response = await self._session.request(
                form.method,
                form.url,
                headers=form.headers,
                data=form.content,
                allow_redirects=False,
                proxy=form.proxy,
                timeout=aiohttp.ClientTimeout(sock_connect=form.connect_s, sock_read=form.read_s),
            )
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as exc:
            raise RunStopped(
                f"{form.place}: the certificate is not accepted ({exc}). Check the address and SSL_CERT_FILE."
            ) from exc
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ClientHttpProxyError,
            aiohttp.ConnectionTimeoutError,
            aiohttp.InvalidURL,  # refused before anything was sent
        ) as exc:
            raise NotDelivered(f"{form.place}: no connection ({_words(exc)})") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise NoAnswer(f"{form.place}: {_words(exc)}") from exc
        if form.proxy is not None and response.status == 407:  # no service's answer: the proxy's own
            response.close()
            raise NotDelivered(f"{form.place}: no connection (the proxy wants another user or password)")
        headers = _headers(response)
        if heard is not None:
            heard(headers)
        return response.status, headers, await _body(response, form)


async def _body(response: aiohttp.ClientResponse, form: Form) -> bytes:
    """Read the body to its end, which frees the connection; one that is not read so far is cut."""
    chunks, size = [], 0
    try:
        while chunk := await response.content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > form.limit:
                raise UselessAnswer(f"{form.place}: the answer is over {form.limit} bytes")
    except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError) as exc:
        raise NoAnswer(f"{form.place}: {_words(exc)}") from exc
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


def _words(exc: BaseException) -> str:
    if isinstance(exc, aiohttp.ClientResponseError):  # its own text holds the whole URL, query and all
        return " ".join(exc.message.split())[:EXCERPT] or type(exc).__name__
    return str(exc) or type(exc).__name__
