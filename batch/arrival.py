"""The end of a journey: the picture is brought, looked at, put where its rows want it, and only then saved.

A paid picture is fetched again until it comes whole, for as long as the service may still have it; when its URL no
longer gives it, the history is asked for the URL once more before the row is failed, with its cost kept.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import stamina
from anyio import CancelScope, CapacityLimiter, to_thread

from batch.errors import NoAnswer
from batch.ledger import feed
from batch.ledger.states import Event, State
from batch.moves import is_url
from batch.parameters import EXTENSIONS
from batch.remote import history
from batch.remote.watch import RECORD_S
from batch.results import keep
from batch.results.keep import UnusablePicture

if TYPE_CHECKING:
    from pathlib import Path

    from batch.ledger.desk import Desk
    from batch.ledger.store import Ledger
    from batch.model import Picture, Task
    from batch.remote.client import Client
    from batch.tally import Tally

AGED_S = 60.0
LONGEST_DRAG_S = 10.0
THREADS = 4  # pictures decoded and written at a time
LEAST_TRY_S = 5.0  # a picture whose hour is over is still tried for this long


class Arrival:
    """Brings pictures into the folder; shared by all jobs of a run."""

    def __init__(self, client: Client, desk: Desk, folder: Path, tally: Tally) -> None:
        self._client = client
        self._desk = desk
        self._folder = folder
        self._tally = tally
        self._threads = CapacityLimiter(THREADS)
        self._downloads: dict[int, float] = {}  # job → since when, oldest first

    def drag_s(self) -> float:
        """Seconds a submit should hold back, because paid pictures wait to be fetched: 0 … LONGEST_DRAG_S."""
        oldest = next(iter(self._downloads.values()), None)
        if oldest is None or (age := self._client.clock() - oldest) < AGED_S:
            return 0.0
        return min(age / AGED_S, LONGEST_DRAG_S)

    async def bring(self, task: Task, output: str, until: float) -> Picture:
        """Fetch the picture from a URL or a base64 result and put it where its rows want it.

        Tries until `until` or the end of the job's hour (epoch seconds).
        Raises NoAnswer or UnusablePicture, whichever the last try raised.
        """
        now = self._client.clock()
        hour_ends = now if task.submitted_at is None else task.submitted_at + RECORD_S
        left = max(min(until, hour_ends) - now, LEAST_TRY_S)
        self._downloads[task.job] = now
        try:
            with suppress(NoAnswer, UnusablePicture):  # nearly always the first try is the only one
                return await self._fetch(task, output)
            async for attempt in stamina.retry_context(
                on=(NoAnswer, UnusablePicture), attempts=None, timeout=left, wait_initial=0.5, wait_max=30.0
            ):
                with attempt:
                    return await self._fetch(task, output)
        finally:
            del self._downloads[task.job]
        raise AssertionError("unreachable")  # the context returns or raises

    async def bring_anew(self, task: Task) -> Picture | None:
        """Ask the history for the output's URL once more and bring it from there; None when that gives nothing either."""
        if task.request_id is None:
            return None
        try:
            entry = await history.look_up(self._client, task.request_id)
            return await self._fetch(task, entry.url) if entry is not None and entry.url is not None else None
        except (NoAnswer, UnusablePicture):
            return None

    async def _fetch(self, task: Task, output: str) -> Picture:
        """Fetch the picture once, look at it and write it for every row that wants it."""
        data = await self._client.download(output) if is_url(output) else output

        def store() -> Picture:
            raw = keep.from_base64(data) if isinstance(data, str) else data
            picture = keep.look_at(raw, str(task.parameters["image_format"]))
            self._write(task, picture)
            return picture

        # One thread for all of it, and few threads: each hop costs more than a small picture's decoding.
        return await to_thread.run_sync(store, limiter=self._threads)

    async def place(self, task: Task, picture: Picture) -> None:
        """Write down that the picture lies for every row that wants it; only then is the job saved."""

        def saved(ledger: Ledger) -> None:
            feed.kept(ledger, task)
            ledger.move(
                task.job, Event.KEEP, sha256=picture.sha256, width=picture.width, height=picture.height,
                error=None, error_class=None,
            )  # fmt: skip

        with CancelScope(shield=True):
            await self._desk.do(saved)
        self._tally.saved(task)

    async def share(self, task: Task) -> bool:
        """Give a saved job's picture to the rows that lack it, from the folder; say whether it was still there.

        It may lie at another row, or be an earlier version of a row that came back to the work of before.
        """
        outputs = [target.output for target in task.targets]
        aside = await to_thread.run_sync(keep.set_aside, self._folder, outputs)
        for source in (*task.sources, *aside):
            data = await to_thread.run_sync(keep.read, self._folder, source, task.sha256)
            if data is None:
                continue
            picture = await to_thread.run_sync(keep.look_at, data, str(task.parameters["image_format"]))
            await to_thread.run_sync(self._write, task, picture)
            await self._desk.do(lambda ledger: feed.kept(ledger, task))
            if source in aside:  # it is no earlier version any more
                await to_thread.run_sync(keep.forget_aside, self._folder, source)
                self._tally.returned.append(task.name)
            self._tally.saved(task)
            return True
        return False

    def _write(self, task: Task, picture: Picture) -> None:
        for target in task.targets:
            keep.write(self._folder, target, picture)
        if not task.targets and task.state != State.SAVED:
            name = f"{task.key}.{EXTENSIONS[str(task.parameters['image_format'])]}"
            keep.keep_aside(self._folder, name, picture)
