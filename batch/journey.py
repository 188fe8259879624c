"""One job, from the ledger to a picture on disk: read this first.

    planned ─ prepare ─ submit ─▶ accepted ─ watch ─▶ completed ─ arrive ─▶ saved

What is sent, and how often, is sending.py's; everything after it is free to be cancelled, because the request id is on
disk. What a job ends with is a move of its state; what ends the whole run is `Halt`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batch import moves
from batch.errors import NoAnswer, RunStopped
from batch.ledger.states import Event, State
from batch.remote.watch import RECORD_S, Done, Failed, Lost, Watch
from batch.results.keep import UnusablePicture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from batch.arrival import Arrival
    from batch.book import Book
    from batch.halt import Halt
    from batch.model import Picture, Task
    from batch.remote.client import Client
    from batch.sending import Sending

SIZE = "aspect_ratio"
"""The parameter that tells quick jobs from slow ones."""


@dataclass(frozen=True, slots=True)
class Journey:
    """What a job needs on its way; shared by all jobs of a run. `job_timeout_s` bounds the waiting for one job."""

    book: Book
    client: Client
    sending: Sending
    arrival: Arrival
    halt: Halt
    job_timeout_s: float
    paid: dict[int, Task] = field(default_factory=dict)
    """Jobs that were accepted and have not ended, for a folder that fails: then they are known here only."""

    async def carry(self, task: Task) -> None:
        """Carry one job as far as it goes; its end is in the ledger.

        What stops the run stops the submitting only: the other jobs in flight are paid, and go on to their end.
        """
        try:
            await self._carry(task)
        except RunStopped as exc:
            self.halt.because(exc)

    async def _carry(self, task: Task) -> None:
        if task.state in {State.SAVED, State.COMPLETED} and await self.arrival.share(task):
            return
        if task.state == State.SAVED:
            again = Event.RESTART if self.client.service.local else Event.REFETCH
            task = replace(task, state=await self.book.move(task, again))
        if task.state == State.PLANNED:
            body, accepted = None, None
            with self.halt.until_asked():
                body = await self.sending.prepare(task)
            if body is None:
                return
            async with self._in_flight():
                with self.halt.until_asked():
                    accepted = await self.sending.submit(task, body)
                if accepted is not None:
                    await self._finish(accepted, at_once=False)
        else:
            async with self._in_flight():
                await self._finish(task, at_once=True)

    async def _finish(self, task: Task, *, at_once: bool) -> None:
        """Bring an accepted job to its end; while that lasts, or when it fails, it is among the `paid`."""
        self.paid[task.job] = task
        await self._watch(task, at_once=at_once)
        del self.paid[task.job]

    async def _watch(self, task: Task, *, at_once: bool) -> None:
        """Watch an accepted job to its end and keep what it gives."""
        if task.submitted_at is None:
            return
        until = self.client.clock() + self.job_timeout_s
        if task.state == State.COMPLETED and task.output_url is not None:
            await self._keep(task, task.output_url, until)
            return
        if task.request_id is None:
            return
        watch = Watch(self.client, on_denied=self.halt.because)
        with self.client.pace.flying():
            outcome = await watch.until_done(
                task.request_id,
                submitted_at=task.submitted_at,
                until=until,
                size=str(task.parameters[SIZE]),
                at_once=at_once,
            )
        match outcome:
            case Done(result):
                if task.state == State.ACCEPTED:
                    event, facts = moves.completed(result, self.client.clock())
                    await self.book.move(task, event, **facts)
                await self._keep(task, result.output, until)
            case Failed():
                event = Event.FAIL if task.state == State.ACCEPTED else Event.UNUSABLE  # it was paid once
                await self.book.move(
                    task,
                    event,
                    error_class="job_failed",
                    error=outcome.reason,
                    http_status=outcome.http_status,
                )
            case Lost():
                # Paid, as far as anybody knows: what was set aside for it goes on the bill.
                cost = {"cost": task.estimate} if task.state == State.ACCEPTED else {}
                await self.book.move(
                    task, Event.EXPIRE, error_class="expired", error=outcome.reason, http_status=404, **cost
                )
            case _:
                pass  # it stays accepted, and the next run watches it again

    async def _keep(self, task: Task, output: str, until: float) -> None:
        """Bring the picture and place it; else the job stays completed, and the next run fetches it again.

        When its hour is over, and its host and the history have both answered and have none, the row is failed, paid.
        """
        try:
            picture = await self.arrival.bring(task, output, until)
        except (NoAnswer, UnusablePicture) as exc:
            if task.submitted_at is None or self.client.clock() < task.submitted_at + RECORD_S:
                self.book.tally.unfetched(task, exc)
                return
            anew = await self._bring_anew(task, exc)
            if anew is None:
                return
            picture = anew
        await self.arrival.place(task, picture)

    async def _bring_anew(self, task: Task, first: NoAnswer | UnusablePicture) -> Picture | None:
        """Bring the picture from where the history knows it; `first` is why it did not come before.

        Without it the row is failed only when nobody was out of reach: a network that is down settles nothing.
        """
        try:
            return await self.arrival.bring_anew(task)
        except NoAnswer as exc:
            self.book.tally.unfetched(task, exc)
        except UnusablePicture:
            if isinstance(first, NoAnswer):
                self.book.tally.unfetched(task, first)
            else:
                await self.book.move(task, Event.UNUSABLE, error_class="unusable_picture", error=str(first))
        return None

    @asynccontextmanager
    async def _in_flight(self) -> AsyncIterator[None]:
        async with self.client.pace.slot():
            self.book.tally.flew(+1)
            try:
                yield
            finally:
                self.book.tally.flew(-1)
