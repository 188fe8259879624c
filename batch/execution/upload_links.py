"""Fetch the image behind a link from this machine, and upload it as a local file is: for links that the service cannot reach.

A person asks for it with --upload-links: this machine then reads private addresses that the manifest names. The row's
identity stays the link. A link is fetched once a run, whichever rows have it; one that cannot be fetched fails its rows,
unbilled. No key is sent to it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio

from batch.core.config import UPLOAD_ALL
from batch.core.errors import NoResponse, RunStopped, UnusableResponse
from batch.core.links import is_private_host, without_query
from batch.execution.upload import UPLOAD_REUSE_S
from batch.manifest.input_images import FetchedImage, ImageError

if TYPE_CHECKING:
    from batch.core.parameters import Scalar
    from batch.execution.upload import Uploader

MOST_REMEMBERED = 10_000
"""Links whose outcome is remembered for the run; of more, those fetched longest ago are fetched again."""


@dataclass
class LinkUploader:
    """The fetched links of a run; `which` is UPLOAD_PRIVATE or UPLOAD_ALL."""

    uploader: Uploader
    which: str
    _outcomes: OrderedDict[str, str | ImageError] = field(default_factory=OrderedDict)
    """Link → the SHA-256 (hex) of its content, or why it has none."""
    _running: dict[str, anyio.Event] = field(default_factory=dict)

    def takes(self, image: Scalar) -> bool:
        """Return whether an image parameter is a link that this machine fetches."""
        parts = urlsplit(str(image))
        if parts.scheme not in {"http", "https"}:
            return False
        return self.which == UPLOAD_ALL or is_private_host(parts.hostname or "")

    async def url(self, link: str) -> str:
        """Return the URL under which the service has the image behind a link, fetched and uploaded now if need be.

        Raises ImageError when it cannot be fetched or does not decode, and what `Uploader.url` raises.
        """
        while (running := self._running.get(link)) is not None:
            await running.wait()
        done = self._running[link] = anyio.Event()
        try:
            outcome = self._outcomes.get(link)
            if isinstance(outcome, ImageError):
                raise outcome
            client, ledger = self.uploader.client, self.uploader.ledger
            if outcome is not None:
                fresh = client.clock() - UPLOAD_REUSE_S
                known = await ledger.run(lambda store: store.uploaded(outcome, fresh))
                if known is not None:
                    return known
            try:
                data = await self._fetch(link)
                sha256 = hashlib.sha256(data).hexdigest()
                url = await self.uploader.url(sha256, FetchedImage(link, data))
            except ImageError as exc:
                self._remember(link, exc)
                raise
            self._remember(link, sha256)
            return url
        finally:
            del self._running[link]
            done.set()

    def _remember(self, link: str, outcome: str | ImageError) -> None:
        self._outcomes[link] = outcome
        if len(self._outcomes) > MOST_REMEMBERED:
            self._outcomes.popitem(last=False)

    async def _fetch(self, link: str) -> bytes:
        """Fetch a link, again while its host gives no answer; raises ImageError."""
        client = self.uploader.client
        tries = client.timeouts.upload_tries
        shown = without_query(link)
        for failures in range(tries):
            if failures:
                await anyio.sleep(client.timeouts.no_answer.wait_s(failures))
            try:
                data = await client.download(link)
            except (UnusableResponse, RunStopped) as exc:  # the latter for a certificate, of this host alone
                raise ImageError(f"{shown} cannot be fetched ({exc}).", "Check the link.") from exc
            except NoResponse as exc:
                reason = exc
            else:
                if not data:
                    raise ImageError(f"{shown} is empty.", "Check the link.")
                return data
        remedy = "Check that this machine reaches it, then run texbatch retry."
        raise ImageError(f"{shown} cannot be fetched, tried {tries} times ({reason}).", remedy)
