"""The end of a journey: the picture is brought, looked at, put where its rows want it, and only then saved.

A paid picture is fetched again until it comes whole, for as long as the service may still have it; when its URL no
longer gives it, the history is asked for the URL once more. UnusablePicture is said only by somebody who answered;
NoAnswer means that nobody did, and settles nothing about what was paid for.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
import stamina
from anyio import CancelScope, CapacityLimiter, from_thread, to_thread

from batch.errors import NoAnswer, UselessAnswer
from batch.ledger import feed, owned
from batch.ledger.states import Event, State
from batch.moves import is_url
from batch.parameters import EXTENSIONS
from batch.remote import history
from batch.remote.watch import RECORD_S
from batch.results import keep
from batch.results.aside import Aside
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
        self._aside = Aside(folder)
        self._seeking = anyio.Lock()
        self._downloads: dict[int, float] = {}  # job → since when, oldest first

    def drag_s(self) -> float:
        """Seconds a submit should hold back, because paid pictures wait to be fetched: 0 … LONGEST_DRAG_S."""
        oldest = next(iter(self._downloads.values()), None)
        if oldest is None or (age := self._client.clock() - oldest) < AGED_S:
            return 0.0
        return min(age / AGED_S, LONGEST_DRAG_S)

    async def bring(self, task: Task, output: str, until: float) -> Picture:
        """Fetch the picture from a URL or a base64 result and put it where its rows want it.

        Tries until `until` or the end of the job's hour (epoch seconds); base64 once, since it will not change.
        Raises what the last try raised: NoAnswer, or UnusablePicture when the picture's host answered.
        """
        now = self._client.clock()
        hour_ends = now if task.submitted_at is None else task.submitted_at + RECORD_S
        left = max(min(until, hour_ends) - now, LEAST_TRY_S)
        self._downloads[task.job] = now
        try:
            if not is_url(output):
                return await self._fetch(task, output)
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

    async def bring_anew(self, task: Task) -> Picture:
        """Ask the history for the output's URL once more and bring it from there.

        Raises UnusablePicture when the history knows none or it gives no picture, NoAnswer when either is not reachable.
        """
        entry = None if task.request_id is None else await history.look_up(self._client, task.request_id)
        if entry is None or entry.url is None:
            raise UnusablePicture("the history knows no picture of this request")
        return await self._fetch(task, entry.url)

    async def _fetch(self, task: Task, output: str) -> Picture:
        """Fetch the picture once, look at it and write it for every row that wants it."""
        try:
            data = await self._client.download(output) if is_url(output) else output
        except UselessAnswer as exc:
            raise UnusablePicture(str(exc)) from exc

        def store() -> Picture:
            raw = keep.from_base64(data) if isinstance(data, str) else data
            picture = keep.look_at(raw, str(task.parameters["image_format"]))
            self._write(task, picture)
            return picture

        # One thread for all of it, and few threads: each hop costs more than a small picture's decoding.
        return await to_thread.run_sync(store, limiter=self._threads)

    async def place(self, task: Task, picture: Picture) -> None:
        """Write down that the picture lies for every row that wants it; only then is the job saved, if it was not."""

        def saved(ledger: Ledger) -> None:
            feed.kept(ledger, task)
            if task.state == State.SAVED:
                return
            ledger.move(
                task.job, Event.KEEP, sha256=picture.sha256, width=picture.width, height=picture.height,
                error=None, error_class=None,
            )  # fmt: skip

        with CancelScope(shield=True):
            await self._desk.do(saved)
        self._tally.saved(task)

    async def share(self, task: Task) -> bool:
        """Give a job's picture to the rows that lack it, from the folder; say whether it was still there.

        It may lie at another row, at the row's own place though the ledger has forgotten it (images/ was not mounted for
        a while), be an earlier version of a row that came back to the work of before, or have been in another's way.
        """
        if task.sha256 is None:
            return False
        outputs = [target.output for target in task.targets]
        earlier = await to_thread.run_sync(self._aside.named, outputs)
        names = (*task.sources, *outputs, *earlier)
        found = await to_thread.run_sync(keep.find, self._folder, names, task.sha256) or await self._seek(
            task.sha256
        )
        if found is None:
            return False
        name, data = found
        picture = await to_thread.run_sync(keep.look_at, data, str(task.parameters["image_format"]))
        await to_thread.run_sync(self._write, task, picture)
        await self.place(task, picture)
        if outputs and name.startswith(f"{keep.PREVIOUS}/"):  # it is no earlier version any more
            await to_thread.run_sync(partial(self._aside.forget, name, task.sha256, lies_at=outputs[0]))
        if name in earlier:
            self._tally.returned.append(task.name)
        return True

    async def _seek(self, sha256: str) -> tuple[str, bytes] | None:
        """Find a picture that lies under another's name; the first who asks searches the folder, for the whole run."""
        async with self._seeking:
            if not self._aside.searched:
                strangers = await self._desk.do(_strangers)
                await to_thread.run_sync(
                    self._aside.search, strangers, from_thread.check_cancelled, limiter=self._threads
                )
        return await to_thread.run_sync(self._aside.find, sha256, limiter=self._threads)

    def _write(self, task: Task, picture: Picture) -> None:
        for target in task.targets:
            keep.write(self._folder, target, picture, self._aside)
        if not task.targets and task.state != State.SAVED:
            name = f"{task.key}.{EXTENSIONS[str(task.parameters['image_format'])]}"
            keep.keep_aside(self._folder, name, picture)


def _strangers(ledger: Ledger) -> list[str]:
    """Return the names below images/ that the ledger did not know when the run began."""
    return [name for page in owned.strangers(ledger.connection) for name in page]
