"""Fetch a finished image, verify it, write it for every row that shares the job, then mark the job saved.

Rules:
- A paid image is fetched again until it comes whole, for as long as the service may still have it. When its URL does
  not give it, the history is asked for the URL that it has now.
- UnusableImage means that somebody answered and has no usable image. NoResponse means that somebody did not answer, which
  proves nothing about what was paid for.
- An image in another format than the one asked for is kept, under its own suffix, and never over another file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import CancelScope, CapacityLimiter, from_thread, to_thread

from batch.client import history
from batch.core import error_classes
from batch.core.errors import NoResponse, UnusableResponse
from batch.core.models import Result
from batch.execution.transitions import is_output_url
from batch.ledger.states import Event, State
from batch.output import images
from batch.output.files import PREVIOUS
from batch.output.images import UnusableImage
from batch.pacing import backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch.client.client import Client
    from batch.core.models import StoredImage, Task
    from batch.execution.progress import ProgressTracker
    from batch.ledger.store import AsyncLedger, LedgerStore
    from batch.output.images import ExistingImage
    from batch.output.other_formats import OtherFormats
    from batch.output.previous import PreviousVersions

AGED_S = 60.0
"""Age of the oldest unfinished download from which submits hold back: a second for each such age."""
THREADS = 4
"""Images that are decoded and written at a time."""
FIRST = 20
"""Finished images of which at least one has to come: otherwise the run submits nothing more."""

Fetched = tuple["Task", "StoredImage"]
"""An image that is on disk, and its task, whose targets name where."""


@dataclass
class ImageFetcher:
    """Puts images into the folder; shared by all jobs of a run.

    `warn` gets what a person should know at once, `request_stop` the reason why nothing more should be submitted.
    """

    client: Client
    ledger: AsyncLedger
    previous: PreviousVersions
    naming: OtherFormats
    tracker: ProgressTracker
    warn: Callable[[str], None] = lambda message: None  # noqa: ARG005
    request_stop: Callable[[str], None] = lambda reason: None  # noqa: ARG005
    _threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS), init=False)
    # Apart: a search through a large folder must not keep paid images from being written.
    _searches: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS), init=False)
    _downloads: dict[int, float] = field(default_factory=dict, init=False)
    """Job → since when, oldest first."""
    _late: set[int] = field(default_factory=set, init=False)
    """Jobs of this hour whose image does not come."""
    _any_came: bool = field(default=False, init=False)
    _reported: bool = field(default=False, init=False)

    def backpressure_s(self) -> float:
        """Seconds a submit should hold back, because paid images wait to be fetched: 0 … `hold_back_s`."""
        oldest = next(iter(self._downloads.values()), None)
        if oldest is None or (age := self.client.clock() - oldest) < AGED_S:
            return 0.0
        return min(age / AGED_S, self.client.timeouts.hold_back_s)

    async def fetch(self, task: Task, output: str, until: float) -> Fetched:
        """Fetch the image from a URL or a base64 result and write it where its rows want it.

        Tries until `until` or the end of the job's hour (epoch seconds); base64 once, since it will not change. Raises
        what the last try raised: UnusableImage when the image's host and the history both answered and have no image,
        NoResponse when one of them was out of reach.
        """
        began, timeouts = self.client.clock(), self.client.timeouts
        hour_ends = began if task.submitted_at is None else task.submitted_at + timeouts.record_s
        ends = began + max(min(until, hour_ends) - began, timeouts.image_s)
        self._downloads[task.job] = began
        try:
            tries = 0
            while True:
                tries += 1
                try:
                    try:
                        fetched = await self._fetch_from(task, output)
                    except (NoResponse, UnusableImage) as exc:
                        # What is late or denied may be elsewhere by now; one network error says nothing.
                        if isinstance(exc, NoResponse) and tries == 1 and began < hour_ends:
                            raise
                        fetched = await self._fetch_moved(task, output, ends, exc)
                except (NoResponse, UnusableImage) as exc:
                    left = ends - self.client.clock() if is_output_url(output) else 0.0
                    late = left <= 0 or self.client.clock() >= began + timeouts.image_late_s
                    if late and began < hour_ends:
                        self._note_late(task, exc)
                    if left <= 0:
                        raise
                    await self._pause(min(timeouts.no_answer.wait_s(tries), left), began, exc)
                else:
                    self._any_came = True
                    return fetched
        finally:
            del self._downloads[task.job]

    async def _fetch_moved(
        self, task: Task, output: str, ends: float, first: NoResponse | UnusableImage
    ) -> Fetched:
        """Fetch the image from where the history has it now; raises `first` when it is not elsewhere."""
        try:
            url = await self._present_url(task, ends)
        except NoResponse as exc:
            raise (first if isinstance(first, NoResponse) else exc) from first
        if url is None or url == output:
            raise first
        try:
            return await self._fetch_from(task, url)
        except UnusableImage:
            raise first from None

    async def _fetch_from(self, task: Task, source: str | bytes) -> Fetched:
        """Verify an image and write it for every row that wants it; `source` is its URL, its base64 or its bytes.

        Returns the task with the names that the image got.
        """
        try:
            data = (
                await self.client.download(source)
                if isinstance(source, str) and is_output_url(source)
                else source
            )
        except UnusableResponse as exc:
            raise UnusableImage(str(exc)) from exc
        # One thread for all of it, and few threads: each hop costs more than decoding a small image.
        image = await to_thread.run_sync(self._verify_and_write, task, data, limiter=self._threads)
        if image.came_as is not None:
            task = await self.ledger.run(lambda store: self.naming.renamed(store, task, image))
            await to_thread.run_sync(images.write_image, self.previous, task, image, limiter=self._threads)
        return task, image

    def _verify_and_write(self, task: Task, data: str | bytes) -> StoredImage:
        """Decode an image in full; write it, unless it came in another format than asked and needs another name."""
        raw = images.from_base64(data) if isinstance(data, str) else data
        image = images.decode_image(raw, str(task.parameters["image_format"]))
        if image.came_as is None:
            images.write_image(self.previous, task, image)
        return image

    async def mark_saved(self, task: Task, image: StoredImage) -> None:
        """Record that the image is on disk for every row that wants it; only then is the job saved, if it was not."""
        warning = None
        if image.came_as is not None:
            asked = str(task.parameters["image_format"])
            warning = f"came as {image.came_as} although {asked} was asked for; kept under its own suffix"
            if task.state != State.SAVED:
                self.tracker.other_formats[asked, image.came_as] += 1

        def save(store: LedgerStore) -> None:
            outputs = [target.output for target in task.targets]
            stamps = {name: found for name in outputs if (found := self.previous.image_store.exists(name))}
            store.place_image(task, stamps)
            if task.state != State.SAVED or task.sha256 != image.sha256:
                store.transition(
                    task.job, Event.KEEP, sha256=image.sha256, width=image.width, height=image.height,
                    error=warning, error_class=warning and error_classes.OTHER_FORMAT,
                )  # fmt: skip

        with CancelScope(shield=True):
            await self.ledger.run(save)
        self.tracker.on_transition(task, Event.KEEP, State.SAVED, {})

    async def _present_url(self, task: Task, ends: float) -> str | None:
        """Ask the history for the image's URL; None when it answers and knows none. Raises NoResponse."""
        if task.request_id is None:
            return None
        with anyio.move_on_after(max(ends - self.client.clock(), self.client.timeouts.image_s)):
            entry = await history.look_up(self.client, task.request_id)
            if entry is not None and entry.url is None and entry.status not in {"COMPLETED", "FAILED"}:
                raise NoResponse("the history lists this request as not finished")
            return None if entry is None else entry.url
        raise NoResponse("the history did not answer in time")

    async def _pause(self, gap: float, began: float, why: Exception) -> None:
        """Wait before the next try; report what is in the way when the image is late, once a run."""
        patience = max(began + self.client.timeouts.image_late_s - self.client.clock(), 0.0)
        if not self._reported and patience < gap:
            await anyio.sleep(patience)
            gap -= patience
            if not self._reported:
                self._reported = True
                self.warn(
                    f"Finished images do not come: {why}. Their host and the history are asked again until they do, for "
                    "as long as --job-timeout says."
                )
        await anyio.sleep(gap)

    def _note_late(self, task: Task, why: Exception) -> None:
        """Count an image that does not come; when none of the FIRST does, nothing more should be paid for."""
        self._late.add(task.job)
        if not self._any_came and len(self._late) >= FIRST:
            self.request_stop(
                f"None of the first {FIRST} finished images could be kept: {why}. Nothing more is submitted; what is "
                "paid for is fetched first when you run the same command again."
            )

    async def refetch(self, task: Task) -> Fetched:
        """Fetch an image that was saved before: from its URL, from the result while it lives, or by the history.

        Raises UnusableImage only when all of them have answered, after the job's hour, and have none; otherwise
        NoResponse.
        """
        out_of_reach: NoResponse | None = None
        for refetch in (self._refetch_from_url, self._refetch_from_result, self._refetch_from_history):
            try:
                return await refetch(task)
            except NoResponse as exc:
                out_of_reach = out_of_reach or exc
            except UnusableImage as exc:
                gone = exc
        if out_of_reach is not None:
            raise out_of_reach
        if self._is_within_hour(task):
            raise NoResponse(f"{gone}; the service may still have it within the hour after the submit")
        raise gone

    def _is_within_hour(self, task: Task) -> bool:
        """Return whether the service may still have the job's record."""
        record_s = self.client.timeouts.record_s
        return task.submitted_at is not None and self.client.clock() < task.submitted_at + record_s

    async def _refetch_from_url(self, task: Task) -> Fetched:
        if task.output_url is None:
            raise UnusableImage("its result had no URL")
        timeouts = self.client.timeouts
        return await backoff.retry(
            partial(self._fetch_from, task, task.output_url),
            NoResponse,
            timeouts.retry,
            attempts=timeouts.image_tries,
        )

    async def _refetch_from_result(self, task: Task) -> Fetched:
        """Ask for the result itself: a base64 image has no URL."""
        if task.request_id is None or not self._is_within_hour(task):
            raise UnusableImage("the service keeps a result for an hour")
        answer = await self.client.result(task.request_id)
        if not isinstance(answer, Result):
            raise NoResponse(f"the result could not be asked for ({answer})")
        return await self._fetch_from(task, answer.output)

    async def _refetch_from_history(self, task: Task) -> Fetched:
        url = await self._present_url(task, self.client.clock())
        if url is None:
            raise UnusableImage("the history knows no image of this request")
        return await self._fetch_from(task, url)

    async def reuse_existing(self, task: Task) -> None:
        """Give a saved job's image, from whichever file below images/ holds it, to the rows that want it.

        The file may be another row's, one at the row's own name that the ledger does not know, an earlier version of a row
        that returned to its earlier work, or have been in another image's way. When it is in no file, its rows stay saved,
        moved away, and nothing is fetched for them.
        """
        found = await to_thread.run_sync(self._find, task, limiter=self._searches)
        if found is None:
            await self._mark_missing(task)
            return
        task, image = await self._fetch_from(task, found.data)
        await self.mark_saved(task, image)
        if task.targets and found.name.startswith(f"{PREVIOUS}/"):  # it is not an earlier version any longer
            await to_thread.run_sync(
                partial(self.previous.forget, found.name, image.sha256, lies_at=task.targets[0].output)
            )
        if found.earlier:
            self.tracker.restored.append(task.name)

    def _find(self, task: Task) -> ExistingImage | None:
        return images.find_existing(
            self.previous,
            task,
            lambda: from_thread.run(self.ledger.run, lambda store: store.files_to_search()),
            from_thread.check_cancelled,
        )

    async def _mark_missing(self, task: Task) -> None:
        """Record that a saved image is in no file. Another row's image under one of its names is archived first."""
        others = await self.ledger.run(
            lambda store: [store.other_hashes_at(target.output, task.job) for target in task.targets]
        )
        for target, hashes in zip(task.targets, others, strict=True):
            await to_thread.run_sync(images.make_way, self.previous, target, hashes)
        with CancelScope(shield=True):
            await self.ledger.run(lambda store: store.mark_nowhere(task))
        self.tracker.image_missing(task)
