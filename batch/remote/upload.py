"""Local images on their way to the service: read, decoded and uploaded once per content.

The upload is free, so it is retried by a library (stamina), unlike a submit. An upload's URL is reused for a day,
also by the next run. What cannot be read or is refused fails its own row, before anything is paid.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Protocol

import anyio
import stamina
from anyio import CapacityLimiter, to_thread

from batch.errors import NoAnswer, TexbatchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batch.ledger.desk import Desk
    from batch.ledger.store import Ledger
    from batch.remote.client import Client

REUSE_S = 24 * 3600.0
TRIES = 6
DECODERS = 2  # pictures decoded at a time: each may take 200 MB


class Loaded(Protocol):
    """A picture read and found good: its bytes and their media type."""

    @property
    def data(self) -> bytes: ...  # noqa: D102
    @property
    def media_type(self) -> str: ...  # noqa: D102


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

        Raises what `load` raises for a bad file, NoAnswer or ServiceError when the upload fails, RunStopped when the
        key is refused.
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
        async for attempt in stamina.retry_context(on=NoAnswer, attempts=TRIES, timeout=None, wait_max=20.0):
            with attempt:
                (url,) = await self._client.upload([data_url])
        return url

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
