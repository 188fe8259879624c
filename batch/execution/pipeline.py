"""One job, from planned to saved: read this first.

    planned ─ prepare ─ submit ─▶ accepted ─ poll ─▶ completed ─ fetch, verify, write ─▶ saved

`JobPipeline.process` is that line; each step is one call away: `Submitter` (submit.py), `Poller` (client/poller.py),
`ImageFetcher` (fetch.py). Rules: what becomes of a job is a transition in the ledger; what ends the run is
`StopController`. Everything after `submit` may be cancelled at any await, because the request id is on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio

from batch.client.poller import Done, Expired, Poller
from batch.client.responses import Failed
from batch.core import error_classes
from batch.core.errors import NoResponse, RunStopped
from batch.execution import transitions
from batch.ledger.states import Event, State
from batch.output.images import UnusableImage

if TYPE_CHECKING:
    from collections.abc import Collection

    from batch.client.client import Client
    from batch.core.models import Task
    from batch.execution.fetch import ImageFetcher
    from batch.execution.shutdown import StopController
    from batch.execution.submit import Submitter
    from batch.execution.transitions import Recorder

SIZE_PARAMETER = "aspect_ratio"
"""The parameter that separates quick jobs from slow ones."""


@dataclass
class PaidFirst:
    """Holds submits back while jobs that an earlier run paid for are `ahead`.

    A job is ahead until it has ended, or is seen to be still running at the service.
    """

    ahead: set[int] = field(default_factory=set)
    _passed: anyio.Event = field(default_factory=anyio.Event)
    _until: float | None = None

    def passed(self, job: int) -> None:
        """Let no submit wait for this job any more."""
        self.ahead.discard(job)
        if not self.ahead:
            self._until = None
            self._passed.set()
            self._passed = anyio.Event()

    async def wait(self, head_start_s: float) -> None:
        """Wait until no job is `ahead`, or `head_start_s` after the first caller began to wait."""
        self._until = self._until or anyio.current_time() + head_start_s
        with anyio.move_on_after(self._until - anyio.current_time()):
            await self._passed.wait()


@dataclass(frozen=True, slots=True)
class JobPipeline:
    """What a job needs on its way; shared by all jobs of a run. `job_timeout_s` bounds the polling of one job.

    `remake` are saved jobs that a person pays for again; every other saved job is neither fetched nor sent.
    """

    recorder: Recorder
    client: Client
    submitter: Submitter
    fetcher: ImageFetcher
    stop: StopController
    job_timeout_s: float
    remake: Collection[int] = ()
    first: PaidFirst = field(default_factory=PaidFirst)
    paid_in_flight: dict[int, Task] = field(default_factory=dict)
    """Accepted jobs that have not ended: when the folder fails, the error names their request ids, in case it has lost them."""

    async def process(self, task: Task) -> None:
        """Process one job as far as it goes; how it ended is in the ledger.

        What stops the run stops the submitting only: the other jobs in flight are paid, and go on to their end.
        """
        tracker = self.recorder.tracker
        try:
            if task.state == State.SAVED and task.job not in self.remake:
                await self.fetcher.reuse_existing(task)
                return
            body, accepted = None, None
            sent_before = task.state not in {State.PLANNED, State.SAVED}
            if not sent_before:
                with self.stop.cancel_on_stop():
                    body = await self.submitter.prepare(task)
                    if self.first.ahead:
                        await self.first.wait(self.client.timeouts.head_start_s)
                if body is None:
                    return
            async with self.client.pace.slot():
                tracker.update(in_flight=tracker.progress.in_flight + 1)
                try:
                    if body is None:
                        accepted = task
                    else:
                        with self.stop.cancel_on_stop():
                            accepted = await self.submitter.submit(task, body)
                    if accepted is not None:
                        self.paid_in_flight[task.job] = accepted
                        await self._complete(accepted, at_once=sent_before)
                        del self.paid_in_flight[task.job]
                finally:
                    tracker.update(in_flight=tracker.progress.in_flight - 1)
        except RunStopped as exc:
            self.stop.request_stop(exc)
        finally:
            if task.job in self.first.ahead:
                self.first.passed(task.job)
            self.client.pace.admitted.release_on_behalf_of(task.job)

    async def _complete(self, task: Task, *, at_once: bool) -> None:
        """Poll an accepted job to its end, then save its image; `at_once` polls without waiting first."""
        if task.submitted_at is None:
            return
        until = self.client.clock() + self.job_timeout_s
        if task.state == State.COMPLETED and task.output_url is not None:
            await self._save(task, task.output_url, until)
            return
        if task.request_id is None:
            return
        on_running = partial(self.first.passed, task.job) if task.job in self.first.ahead else lambda: None
        poller = Poller(self.client, on_denied=self.stop.request_stop, on_running=on_running)
        with self.client.pace.track_job():
            outcome = await poller.until_done(
                task.request_id,
                submitted_at=task.submitted_at,
                until=until,
                size=str(task.parameters[SIZE_PARAMETER]),
                seed=task.parameters["seed"],
                at_once=at_once,
            )
        # Otherwise an earlier run has recorded it as completed: it was paid.
        accepted = task.state == State.ACCEPTED
        match outcome:
            case Done(result):
                if accepted:
                    event, fields = transitions.completed(result, self.client.clock(), task.estimate)
                    await self.recorder.record(task, event, **fields)
                await self._save(task, result.output, until)
            case Failed(reason, http_status):
                await self.recorder.record(
                    task,
                    Event.FAIL if accepted else Event.UNUSABLE,
                    error_class=error_classes.JOB_FAILED,
                    error=reason,
                    http_status=http_status,
                )
            case Expired(reason):
                # Paid, as far as anybody knows: what was reserved for it goes on the bill.
                cost = {"cost": task.estimate, "estimated": task.estimate} if accepted else {}
                await self.recorder.record(
                    task,
                    Event.EXPIRE,
                    error_class=error_classes.EXPIRED,
                    error=reason,
                    http_status=404,  # where it was a 410 too: scripts know this value
                    **cost,
                )
            case _:
                pass  # it stays accepted, and the next run polls it again

    async def _save(self, task: Task, output: str, until: float) -> None:
        """Fetch the image and mark the job saved; otherwise it stays completed, and the next run fetches it again.

        When its hour is over, and its host and the history have both answered and have none, the row is failed, paid.
        """
        try:
            fetched = await self.fetcher.fetch(task, output, until)
        except NoResponse as exc:
            await self._leave_unfetched(task, error_classes.NOT_FETCHED, exc)
        except UnusableImage as exc:
            record_s = self.client.timeouts.record_s
            if task.submitted_at is None or self.client.clock() < task.submitted_at + record_s:
                await self._leave_unfetched(task, error_classes.NO_IMAGE, exc)
            else:
                await self.recorder.record(
                    task, Event.UNUSABLE, error_class=error_classes.UNUSABLE_IMAGE, error=str(exc)
                )
        else:
            await self.fetcher.mark_saved(*fetched)

    async def _leave_unfetched(self, task: Task, error_class: str, why: Exception) -> None:
        """Leave a paid image to the next run, and record what was in the way."""
        await self.recorder.ledger.run(lambda store: store.note_not_fetched(task.job, error_class, str(why)))
        self.recorder.tracker.image_unfetched(task, why)
