"""The input pictures of a job: files of this server from disk, data URLs, everything else from the network.

A picture that cannot be had is Unavailable with the parameter's name in front. image_3 is fetched like the
others, so that it can fail, and then not used: the engine knows one product and one texture.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from batch.local.sources import Unavailable, split_data_url
from batch.parameters import IMAGE_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.local.service import Service
    from batch.local.sources import Fetcher

NEEDED = ("image_1", "image_2")


class Inputs:
    """Reads the pictures a request body names."""

    def __init__(self, service: Service, fetcher: Fetcher) -> None:
        self._service = service
        self._fetcher = fetcher

    async def read(self, body: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """Return product and texture."""
        for name in NEEDED:
            if not body.get(name):
                raise Unavailable(f"{name}: no picture given")
        given = [name for name in IMAGE_PARAMETERS if body.get(name)]
        product, texture, *_ = await asyncio.gather(*(self._one(name, body[name]) for name in given))
        return product, texture

    def check_own(self, body: Mapping[str, Any]) -> None:
        """Raise Unavailable when the body names a file of this server that is not there; look at nothing else."""
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
        """Return the bytes of a file of ours, None for any other URL."""
        service = self._service
        by_name = service.url.replace("127.0.0.1", "localhost")
        bases = (service.url, by_name, service.settings.file_base_url)
        base = next((base for base in bases if base and url.startswith(f"{base}/files/")), None)
        if base is None:
            return None
        kind, _, file_name = url.removeprefix(f"{base}/files/").partition("/")
        lifetime_s = service.settings.output_lifetime_s
        stored = service.files.find(kind, file_name, service.clock(), lifetime_s)
        if stored is None:
            raise Unavailable(f"{name}: could not be fetched: the server answered 404")
        return service.files.path(stored).read_bytes()
