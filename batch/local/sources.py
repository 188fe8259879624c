"""Input pictures: from our own files, from data URLs, from the network.

Rule 1: a URL of this server is read from disk, never over HTTP. Rule 2: any other host must resolve to public
addresses only, at every redirect, and the connection goes to the very address that was checked: the server is no
door into the network it stands in. Rule 3: bounded in bytes and seconds. Whatever goes wrong is Unavailable with
a reason, and the job FAILS with it. aiohttp is imported on the first fetch, to keep the start short.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import socket
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp
    from aiohttp.abc import ResolveResult

MAX_BYTES = 64 * 1024 * 1024
MAX_SECONDS = 20.0
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)


class Unavailable(Exception):
    """The picture cannot be had; the text says why."""


def is_public(address: str) -> bool:
    """Return whether an IP address, as text, is a public unicast one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = parsed if mapped is None else mapped
    return parsed.is_global and not parsed.is_multicast


def split_data_url(url: str) -> tuple[str, bytes]:
    """Return content type and bytes of a data URL; Unavailable when it is none or too big."""
    head, comma, text = url.partition(",")
    if not head.startswith("data:") or not comma:
        raise Unavailable("not a data URL")
    content_type, *flags = head.removeprefix("data:").split(";")
    try:
        data = base64.b64decode(text, validate=True) if "base64" in flags else unquote_to_bytes(text)
    except binascii.Error as exc:
        raise Unavailable(f"bad base64 in the data URL ({exc})") from exc
    if len(data) > MAX_BYTES:
        raise Unavailable(f"the picture has more than {MAX_BYTES} bytes")
    return content_type.lower() or "text/plain", data


class Fetcher:
    """The client for pictures on the network; `permit` judges each address it would connect to."""

    def __init__(self, permit: Callable[[str], bool] = is_public) -> None:
        self._permit = permit
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str) -> bytes:
        """Return the bytes behind an http(s) URL, following a few redirects."""
        import aiohttp  # noqa: PLC0415  start-up time

        try:
            async with asyncio.timeout(MAX_SECONDS):
                for _ in range(MAX_REDIRECTS + 1):
                    self._check(url)
                    async with self._open().get(url, allow_redirects=False) as response:
                        if response.status in REDIRECTS and "location" in response.headers:
                            url = urljoin(url, response.headers["location"])
                            continue
                        return await _read(response)
        except TimeoutError as exc:
            raise Unavailable(f"no picture within {MAX_SECONDS:.0f} s") from exc
        except aiohttp.ClientConnectorError as exc:
            raise Unavailable(f"no connection to {exc.host}: {exc.os_error}") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise Unavailable(str(exc) or type(exc).__name__) from exc
        raise Unavailable(f"more than {MAX_REDIRECTS} redirects")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Unavailable("not an http(s) URL")
        try:
            literal = str(ipaddress.ip_address(parts.hostname))
        except ValueError:
            return  # a name: judged when it is resolved
        if not self._permit(literal):
            raise Unavailable(f"the address {literal} is not public")

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp  # noqa: PLC0415  start-up time

        if self._session is None:
            permit = self._permit

            class Resolver(aiohttp.ThreadedResolver):
                """Resolves as the system does and refuses what is not permitted."""

                async def resolve(
                    self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
                ) -> list[ResolveResult]:
                    found = await super().resolve(host, port, family)
                    if not all(permit(result["host"]) for result in found):
                        raise OSError(f"{host} is not a public host")
                    return found

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=Resolver(), limit=16),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=MAX_SECONDS),
            )
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if response.status != 200:
        raise Unavailable(f"the server answered {response.status}")
    data = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        data += chunk
        if len(data) > MAX_BYTES:
            raise Unavailable(f"the picture has more than {MAX_BYTES} bytes")
    return bytes(data)
