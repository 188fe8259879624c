"""Upload local images, once per content and run; a URL is reused for a day, also by the next run.

An upload is free, so it is repeated, unlike a submit. To distinguish a bad image from a bad host, each unanswered upload is
followed by a one-pixel probe. If the probe fails too, or no connection can be made, the host is down and no row is blamed;
an image that fails `upload_tries` times while the probe succeeds is at fault itself.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from anyio import CapacityLimiter, to_thread

from batch.core.errors import NoResponse, NotDelivered, ServiceError, TexbatchError
from batch.manifest.input_images import load_data_url

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batch.client.client import Client
    from batch.ledger.store import AsyncLedger
    from batch.manifest.input_images import FetchedImage

UPLOAD_REUSE_S = 24 * 3600.0
DECODERS = 2
"""Images decoded at a time: each may take 200 MB."""
PROBE_PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
"""An image of one black pixel, in which no service can find a fault."""


@dataclass
class _Upload:
    """One content that is being uploaded, and how it failed, if it did."""

    done: anyio.Event = field(default_factory=anyio.Event)
    error: Exception | None = None


@dataclass
class Uploader:
    """The uploaded images of a run; `load` returns a file of its planned content hash as a data URL."""

    client: Client
    ledger: AsyncLedger
    load: Callable[[Path | FetchedImage, str], str] = load_data_url
    _uploads: dict[str, _Upload] = field(default_factory=dict)
    _decoders: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(DECODERS))

    async def url(self, sha256: str, path: Path | FetchedImage) -> str:
        """Return the URL under which the service has this content, uploaded now if need be.

        Concurrent callers share one upload and its outcome: the URL, or the service's refusal. Raises what `load` raises
        for a bad file, ServiceError when the service does not take this image, NoResponse when it takes none at all,
        RunStopped when the key is refused.
        """
        while (running := self._uploads.get(sha256)) is not None:
            await running.done.wait()
            if running.error is not None:
                raise running.error
        upload = self._uploads[sha256] = _Upload()
        try:
            fresh = self.client.clock() - UPLOAD_REUSE_S
            known = await self.ledger.run(lambda store: store.uploaded(sha256, fresh))
            if known is not None:
                return known
            url = await self._upload(sha256, path)
            now = self.client.clock()
            await self.ledger.run(lambda store: store.remember_upload(sha256, url, now))
        except TexbatchError as exc:
            # A bad file or a cancelled caller says nothing about the service: then the next caller tries.
            upload.error = exc
            raise
        else:
            return url
        finally:
            del self._uploads[sha256]
            upload.done.set()

    async def _upload(self, sha256: str, path: Path | FetchedImage) -> str:
        data_url = await to_thread.run_sync(self.load, path, sha256, limiter=self._decoders)
        timeouts = self.client.timeouts
        for failures in range(timeouts.upload_tries):
            if failures:
                await anyio.sleep(timeouts.no_answer.wait_s(failures))
            try:
                (url,) = await self.client.upload([data_url])
            except NotDelivered:
                raise
            except NoResponse as exc:
                # A refusal shows as well that the host takes images; NoResponse leaves.
                with suppress(ServiceError):
                    await self.client.upload([PROBE_PNG])
                reason = exc
            else:
                return url
        raise ServiceError(f"tried {timeouts.upload_tries} times, while another image was taken: {reason}")
