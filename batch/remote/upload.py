"""Local images on their way to the service: read, decoded and uploaded once per content.

The upload is free, so it is repeated here, unlike a submit. An upload's URL is reused for a day, also by the next run.
What cannot be read or is refused fails its own row, before anything is paid.

Whose fault it is that a picture gets no answer: after each such failure a SPECK of a picture is sent. Where that gets no
answer either, or where no connection can be made, it is the host's, and no row's. A picture that fails TRIES times while
the speck goes through is at fault itself.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio import CapacityLimiter, to_thread

from batch.errors import NoAnswer, NotDelivered, ServiceError, TexbatchError
from batch.remote.watch import growing_gap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batch.ledger.desk import Desk
    from batch.ledger.store import Ledger
    from batch.remote.client import Client

REUSE_S = 24 * 3600.0
TRIES = 6
DECODERS = 2  # pictures decoded at a time: each may take 200 MB
SPECK = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
"""A picture of one black pixel: no fault can be found with it."""


class Loaded(Protocol):
    """A picture read and found good: its bytes and their media type."""

    @property
    def data(self) -> bytes:
        """The file's bytes, as they are to be sent."""

    @property
    def media_type(self) -> str:
        """What they are, like image/png."""


class _Sending:
    """One content on its way, and what it failed with, if it did."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.error: Exception | None = None


class Uploads:
    """The uploaded pictures of this run; `load` reads and checks a file against its planned content hash."""

    def __init__(self, client: Client, desk: Desk, load: Callable[[Path, str], Loaded]) -> None:
        self._client = client
        self._desk = desk
        self._load = load
        self._under_way: dict[str, _Sending] = {}
        self._decoders = CapacityLimiter(DECODERS)

    async def url(self, sha256: str, path: Path) -> str:
        """Return the URL under which the service has this content, uploaded now if need be.

        Whoever asks while it is under way shares its end: the URL, or the service's refusal.

        Raises what `load` raises for a bad file, ServiceError when the service does not take this picture, NoAnswer
        when it takes none at all, RunStopped when the key is refused.
        """
        while (busy := self._under_way.get(sha256)) is not None:
            await busy.done.wait()
            if busy.error is not None:
                raise busy.error
        sending = self._under_way[sha256] = _Sending()
        try:
            known = await self._desk.do(lambda ledger: _known(ledger, sha256, self._client.clock() - REUSE_S))
            if known is not None:
                return known
            url = await self._send(sha256, path)
            await self._desk.do(lambda ledger: _remember(ledger, sha256, url, self._client.clock()))
        except (
            TexbatchError
        ) as exc:  # a bad file or a cancelled caller is no news of the service: the next one tries
            sending.error = exc
            raise
        else:
            return url
        finally:
            del self._under_way[sha256]
            sending.done.set()

    async def _send(self, sha256: str, path: Path) -> str:
        data_url = await to_thread.run_sync(self._data_url, path, sha256, limiter=self._decoders)
        for tries in range(TRIES):
            if tries:
                await anyio.sleep(growing_gap(tries))
            try:
                (url,) = await self._client.upload([data_url])
            except NotDelivered:
                raise
            except NoAnswer as exc:
                await self._send_speck()
                said = exc
            else:
                return url
        raise ServiceError(f"tried {TRIES} times, while another picture was taken: {said}")

    async def _send_speck(self) -> None:
        """Tell whether the host takes pictures at all, which a refusal says as well; raises NoAnswer if not."""
        with suppress(ServiceError):
            await self._client.upload([SPECK])

    def _data_url(self, path: Path, sha256: str) -> str:
        loaded = self._load(path, sha256)
        return f"data:{loaded.media_type};base64,{base64.b64encode(loaded.data).decode('ascii')}"


def _known(ledger: Ledger, sha256: str, since: float) -> str | None:
    row = ledger.connection.execute(
        "SELECT url FROM uploads WHERE sha256=? AND uploaded_at>?", (sha256, since)
    ).fetchone()
    return row["url"] if row else None


def _remember(ledger: Ledger, sha256: str, url: str, at: float) -> None:
    ledger.connection.execute("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?)", (sha256, url, at))
