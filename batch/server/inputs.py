"""Input images: from our own files, from data URLs, from the network.

Rule 1: a URL of this server is read from disk, never over HTTP. Rule 2: any other host must resolve to public
addresses only, at every redirect, and the connection goes to the very address that was checked: the server must not
open the local network to its clients. Rule 3: bounded in bytes and seconds. Any failure is Unavailable with
a reason, and the job FAILS with it.
"""

import asyncio
import base64
import binascii
import ipaddress
import socket
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from batch.core.parameters import IMAGE_PARAMETERS

MAX_BYTES = 64 * 1024 * 1024
MAX_SECONDS = 20.0
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)


class Unavailable(Exception):
    """The image cannot be read; the text is the reason."""


def is_public(address: str) -> bool:
    """Return whether an IP address, as text, is a public unicast one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = parsed if mapped is None else mapped
    return parsed.is_global and not parsed.is_multicast


def split_data_url(url: str) -> tuple[str, bytes]:
    """Return content type and bytes of a data URL; raises Unavailable when it is not one or too large."""
    head, comma, text = url.partition(",")
    if not head.startswith("data:") or not comma:
        raise Unavailable("not a data URL")
    content_type, *flags = head.removeprefix("data:").split(";")
    try:
        data = base64.b64decode(text, validate=True) if "base64" in flags else unquote_to_bytes(text)
    except binascii.Error as exc:
        raise Unavailable(f"bad base64 in the data URL ({exc})") from exc
    if len(data) > MAX_BYTES:
        raise Unavailable(f"the image has more than {MAX_BYTES} bytes")
    return content_type.lower() or "text/plain", data


class _Resolver(aiohttp.ThreadedResolver):
    """Resolves as the system does and refuses what is not permitted."""

    def __init__(self, permit: Callable[[str], bool]) -> None:
        super().__init__()
        self._permit = permit

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        if not all(self._permit(result["host"]) for result in found):
            raise OSError(f"{host} is not a public host")
        return found


class Fetcher:
    """The client for images on the network; `permit` decides for each address whether it may connect.

    It is made where the event loop runs, and is closed there.
    """

    def __init__(self, permit: Callable[[str], bool] = is_public) -> None:
        self._permit = permit
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_Resolver(permit), limit=16),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=MAX_SECONDS),
        )

    async def fetch(self, url: str) -> bytes:
        """Return the bytes behind an http(s) URL, following a few redirects."""
        try:
            async with asyncio.timeout(MAX_SECONDS):
                for _ in range(MAX_REDIRECTS + 1):
                    async with self._session.get(self._checked(url), allow_redirects=False) as response:
                        if response.status in REDIRECTS and "location" in response.headers:
                            url = urljoin(url, response.headers["location"])
                            continue
                        return await _read(response)
        except TimeoutError as exc:
            raise Unavailable(f"no image within {MAX_SECONDS:.0f} s") from exc
        except aiohttp.ClientConnectorError as exc:
            raise Unavailable(f"no connection to {exc.host}: {exc.os_error}") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise Unavailable(str(exc) or type(exc).__name__) from exc
        raise Unavailable(f"more than {MAX_REDIRECTS} redirects")

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def _checked(self, url: str) -> URL:
        """Return the URL as it will be connected to; raises Unavailable unless its host is a name or permitted."""
        checked = URL(url)
        if checked.scheme not in ("http", "https") or not checked.raw_host:
            raise Unavailable("not an http(s) URL")
        try:
            # What aiohttp connects to without resolving: an address can be written in other digits, as in "①②⑦.0.0.1".
            literal = str(ipaddress.ip_address(checked.raw_host))
        except ValueError:
            return checked  # a name: judged when it is resolved
        if not self._permit(literal):
            raise Unavailable(f"the address {literal} is not public")
        return checked


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if response.status != 200:
        raise Unavailable(f"the server answered {response.status}")
    data = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        data += chunk
        if len(data) > MAX_BYTES:
            raise Unavailable(f"the image has more than {MAX_BYTES} bytes")
    return bytes(data)


NEEDED = ("image_1", "image_2")


class Inputs:
    """Read the input images that a request body names; what cannot be read is Unavailable, with its parameter in front.

    `find` returns the bytes behind a URL of this server, None for any other URL, and raises FileNotFoundError.
    image_3 is fetched like the others, so that it can fail, and is not used: the engine knows one product and one texture.
    """

    def __init__(self, find: Callable[[str], bytes | None], fetcher: Fetcher) -> None:
        self._find = find
        self._fetcher = fetcher

    async def read(self, body: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """Return product and texture."""
        for name in NEEDED:
            if not body.get(name):
                raise Unavailable(f"{name}: no image given")
        given = [name for name in IMAGE_PARAMETERS if body.get(name)]
        product, texture, *_ = await asyncio.gather(*(self._one(name, body[name]) for name in given))
        return product, texture

    def check_own(self, body: Mapping[str, Any]) -> None:
        """Raise Unavailable when the body names a file of this server that is missing; fetch nothing."""
        for name in IMAGE_PARAMETERS:
            self._own(name, body.get(name, ""))

    async def close(self) -> None:
        """Close the client."""
        await self._fetcher.close()

    async def _one(self, name: str, url: str) -> bytes:
        own = self._own(name, url)
        if own is not None:
            return own
        try:
            if url.startswith("data:"):
                return split_data_url(url)[1]
            return await self._fetcher.fetch(url)
        except Unavailable as reason:
            raise Unavailable(f"{name}: could not be fetched: {reason}") from reason

    def _own(self, name: str, url: str) -> bytes | None:
        try:
            return self._find(url)
        except FileNotFoundError as exc:
            raise Unavailable(f"{name}: could not be fetched: the server answered 404") from exc
