"""The contact sheet written anew while a run goes on, for the person who has it open from disk.

A thread of its own reads the ledger as `status` does, over its own connection: neither the event loop nor the ledger's
writer waits for it. What cannot be written is told once and tried again; the sheet at the end of the run is runner.py's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
from anyio import CapacityLimiter, from_thread, to_thread

from batch.ledger.store import Ledger
from batch.results.sheet import write_sheet

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch.folder import OutputFolder
    from batch.tally import Progress

EVERY_S = 60.0
SOON_S = 2.0
"""How long after the first picture the first sheet comes: some more are there by then."""

SHARE = 20.0
"""A sheet never takes more than one part in so many of the time: that of a long manifest comes less often."""

THUMBS_S = 15.0
"""What each sheet spends on new thumbnails, in one thread. They are made once, so the end of the run has fewer to make."""


class Refresh:
    """Writes the sheet of one folder until it is cancelled; `warn` hears once that it cannot."""

    def __init__(self, folder: OutputFolder, warn: Callable[[str], None]) -> None:
        self._folder = folder
        self._warn = warn
        self._warned = False
        self._pictures = anyio.Event()

    def hear(self, progress: Progress) -> None:
        """Take note of the run's progress: the first picture calls for the first sheet."""
        if progress.saved:
            self._pictures.set()

    async def go_on(self) -> None:
        """Write the sheet soon after the first picture, then again and again.

        Cancelled while a sheet is being written it leaves the old one in its place, and returns when the thread has
        ended: nobody else writes meanwhile.
        """
        thread = CapacityLimiter(1)
        with anyio.move_on_after(EVERY_S):
            await self._pictures.wait()
            await anyio.sleep(SOON_S)
        while True:
            began = time.monotonic()
            page_s = await to_thread.run_sync(self._write, limiter=thread)
            await anyio.sleep(pause_s(page_s, time.monotonic() - began))

    def _write(self) -> float:
        """Write it once; return the seconds it took but for the thumbnails."""
        began = time.monotonic()
        try:
            with Ledger.read(self._folder.ledger) as ledger:
                return write_sheet(
                    ledger, self._folder, thumbs_s=THUMBS_S, running=True, check=from_thread.check_cancelled
                )
        except Exception as exc:  # noqa: BLE001  the run is worth more than its picture
            if not self._warned:
                self._warned = True
                from_thread.run_sync(
                    self._warn, f"The contact sheet cannot be written while the run goes on: {exc}"
                )
            return time.monotonic() - began


def pause_s(page_s: float, took_s: float) -> float:
    """Seconds until the next sheet, when the last took `took_s`, thumbnails included, and its page `page_s` of these.

    One each EVERY_S, and never more than one part in SHARE of the time for pages.
    """
    return max(EVERY_S - took_s, SHARE * page_s, 0.0)
