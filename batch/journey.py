"""One job, from the ledger to a picture on disk: read this first.

    planned ─ prepare ─ submit ─▶ accepted ─ watch ─▶ completed ─ bring ─ keep ─▶ saved

A write to the ledger stands on each side of every await that can cost money. `_send` is the only place that POSTs,
and POST and record are shielded together, so that no Ctrl-C parts them; everything after it is free to be cancelled,
because the request id is on disk. What a job ends with is a move of its state; what ends the whole run is `Halt`.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
import stamina
from anyio import CancelScope, to_thread

from batch.errors import NoAnswer, RunStopped, ServiceError
from batch.ledger import feed
from batch.ledger.states import Event, State
from batch.model import Result
from batch.parameters import IMAGE_PARAMETERS
from batch.remote import verdicts
from batch.remote.pace import Turn
from batch.remote.watch import RECORD_S, Done, Failed, Lost, Watch
from batch.results import keep
from batch.results.keep import UnusablePicture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from typing import Any

    from batch.ledger.desk import Desk
    from batch.ledger.store import Ledger
    from batch.model import Picture, Task
    from batch.parameters import Scalar
    from batch.remote.client import Client
    from batch.remote.upload import Uploads
    from batch.tally import Tally

BOUNCE_FIRST_S = 0.5
BOUNCE_LONGEST_S = 20.0


@dataclass
class Halt:
    """Why no more work is submitted, once there is a reason; what is in flight is still carried to its end."""

    reason: RunStopped | None = None

    def because(self, reason: str) -> None:
        """Stop submitting; the first reason stays."""
        self.reason = self.reason or RunStopped(reason)


@dataclass(frozen=True, slots=True)
class Journey:
    """What a job needs on its way; shared by all jobs of a run. `job_timeout_s` bounds the waiting for one job."""

    desk: Desk
    client: Client
    uploads: Uploads
    folder: Path
    tally: Tally
    halt: Halt
    retries: int
    job_timeout_s: float
    bad_input: type[Exception]

    async def carry(self, task: Task) -> None:
        """Carry one job as far as it goes; its end is in the ledger.

        What stops the run stops the submitting only: the other jobs in flight are paid, and go on to their end.
        """
        try:
            await self._carry(task)
        except RunStopped as exc:
            self.halt.because(str(exc))

    async def _carry(self, task: Task) -> None:
        if task.state == State.SAVED:
            task = await self._share(task)
        if task.state == State.PLANNED:
            body = await self._prepare(task)
            if body is not None:
                async with self._in_flight():
                    await self._finish(await self._submit(task, body), at_once=False)
        elif task.state in {State.ACCEPTED, State.COMPLETED}:
            async with self._in_flight():
                await self._finish(task, at_once=True)

    async def _prepare(self, task: Task) -> dict[str, Scalar] | None:
        """Decode and upload the job's local images; return the body to send, or None when it cannot be sent."""
        body = dict(task.parameters)
        try:
            for name in IMAGE_PARAMETERS:
                content = str(body[name])
                if content in task.files and not self.halt.reason:
                    body[name] = await self.uploads.url(content.partition(":")[2], task.files[content])
        except RunStopped as exc:
            self.halt.because(str(exc))
        except (NoAnswer, ServiceError) as exc:
            await self._move(task, Event.SPOIL, error_class="upload", error=str(exc))
            return None
        except self.bad_input as exc:
            await self._move(task, Event.SPOIL, error_class="bad_input", error=str(exc))
            return None
        return None if self.halt.reason else body

    async def _submit(self, task: Task, body: dict[str, Scalar]) -> Task | None:
        """Send until the job is accepted, or certainly not, or nobody knows; return the accepted task or None."""
        bounces = 0
        while True:
            async with self.client.pace.turn(Turn.SUBMIT):
                if self.halt.reason:
                    return None
                submitted_at = self.client.clock()
                reply = await self._send(task, body, submitted_at, last=bounces >= self.retries)
            match reply:
                case verdicts.Accepted(request_id):
                    return replace(
                        task, state=State.ACCEPTED, request_id=request_id, submitted_at=submitted_at
                    )
                case verdicts.Throttled():
                    continue  # the gate is closed; the next turn waits for it
                case verdicts.Bounced() if bounces < self.retries:
                    bounces += 1
                    await anyio.sleep(backoff_s(bounces))
                case verdicts.Stop():
                    self.halt.because(reply.reason)
                    return None
                case _:
                    return None

    async def _send(
        self, task: Task, body: dict[str, Scalar], submitted_at: float, *, last: bool
    ) -> verdicts.Submission:
        """Reserve, POST once, record: three steps that nothing parts. The POST is bounded by the client's timeouts."""
        with CancelScope(shield=True):
            await self._move(task, Event.RESERVE, submitted_at=submitted_at)
            reply = await self.client.submit(body)
            event, facts = _recorded(reply, last=last)
            await self._move(task, event, **facts)
        return reply

    async def _finish(self, task: Task | None, *, at_once: bool) -> None:
        """Watch an accepted job to its end and keep what it gives."""
        if task is None or task.request_id is None or task.submitted_at is None:
            return
        until = self.client.clock() + self.job_timeout_s
        if task.state == State.COMPLETED and task.output_url is not None:
            await self._keep(task, Result(task.output_url, None, None, None, None), until)
            return
        outcome = await Watch(self.client, on_denied=self.halt.because).until_done(
            task.request_id, submitted_at=task.submitted_at, until=until, at_once=at_once
        )
        match outcome:
            case Done(result):
                if task.state == State.ACCEPTED:
                    await self._move(task, Event.COMPLETE, **_completed(result, self.client.clock()))
                await self._keep(task, result, until)
            case Failed():
                event = Event.FAIL if task.state == State.ACCEPTED else Event.UNUSABLE  # it was paid once
                await self._end(task, event, "job_failed", outcome.reason, outcome.http_status)
            case Lost():
                await self._end(task, Event.EXPIRE, "expired", outcome.reason, 404)
            case _:
                pass  # it stays accepted, and the next run watches it again

    async def _end(
        self, task: Task, event: Event, error_class: str, error: str, http_status: int | None
    ) -> None:
        await self._move(task, event, error_class=error_class, error=error, http_status=http_status)

    async def _keep(self, task: Task, result: Result, until: float) -> None:
        """Bring the picture, put it where its rows want it, and write that down."""
        image_format = str(task.parameters["image_format"])
        try:
            picture = await self._bring(result, image_format, until)
        except (NoAnswer, UnusablePicture) as exc:
            if task.submitted_at is not None and self.client.clock() >= task.submitted_at + RECORD_S:
                await self._end(task, Event.UNUSABLE, "unusable_picture", str(exc), None)
            return  # else it stays completed, and the next run fetches it again
        await self._place(task, picture)

    async def _bring(self, result: Result, image_format: str, until: float) -> Picture:
        """Fetch the picture until it comes whole and is what was asked for; raises what the last try raised."""
        left = max(until - self.client.clock(), 0.1)
        async for attempt in stamina.retry_context(
            on=(NoAnswer, UnusablePicture), attempts=None, timeout=left, wait_initial=0.5, wait_max=30.0
        ):
            with attempt:
                if result.output.startswith(("http://", "https://")):
                    data = await self.client.download(result.output)
                else:
                    data = await to_thread.run_sync(keep.from_base64, result.output)
                picture = await to_thread.run_sync(keep.look_at, data, image_format)
        return picture

    async def _place(self, task: Task, picture: Picture) -> None:
        """Write the picture for every row that wants it; only then is the job saved."""
        with CancelScope(shield=True):  # short, and a half-placed picture would be fetched again
            for target in task.targets:
                await to_thread.run_sync(keep.write, self.folder, target, picture)
            if not task.targets:
                name = f"{task.key}.{str(task.parameters['image_format']).replace('jpeg', 'jpg')}"
                await to_thread.run_sync(keep.keep_aside, self.folder, name, picture)

            def saved(ledger: Ledger) -> None:
                feed.kept(ledger, task)
                ledger.move(
                    task.job, Event.KEEP, sha256=picture.sha256, width=picture.width, height=picture.height,
                    error=None, error_class=None,
                )  # fmt: skip

            await self.desk.do(saved)
        self.tally.saved(task)

    async def _share(self, task: Task) -> Task:
        """Give a saved job's picture to the rows that lack it, from the folder; else send the job back a step."""
        for source in task.sources:
            data = await to_thread.run_sync(keep.read, self.folder, source, task.sha256)
            if data is None:
                continue
            picture = await to_thread.run_sync(keep.look_at, data, str(task.parameters["image_format"]))
            for target in task.targets:
                await to_thread.run_sync(keep.write, self.folder, target, picture)
            await self.desk.do(lambda ledger: feed.kept(ledger, task))
            self.tally.saved(task)
            return task
        again = Event.RESTART if self.client.service.local else Event.REFETCH
        state = await self._move(task, again)
        return replace(task, state=state)

    async def _move(self, task: Task, event: Event, **facts: Any) -> State:
        state = await self.desk.do(lambda ledger: ledger.move(task.job, event, **facts))
        self.tally.moved(task, event, state, facts)
        return state

    @asynccontextmanager
    async def _in_flight(self) -> AsyncIterator[None]:
        async with self.client.pace.slot():
            self.tally.flew(+1)
            try:
                yield
            finally:
                self.tally.flew(-1)


def _recorded(reply: verdicts.Submission, *, last: bool) -> tuple[Event, dict[str, Any]]:
    """Say what is written down of a submit's answer; `last` means that no further try is left."""
    match reply:
        case verdicts.Accepted(request_id):
            return Event.ACCEPT, {
                "request_id": request_id,
                "http_status": 200,
                "error": None,
                "error_class": None,
            }
        case verdicts.Throttled():
            return Event.THROTTLE, {"http_status": 429}
        case verdicts.Bounced(error_class, reason, http_status):
            event = Event.REFUSE if last else Event.BOUNCE
            return event, {"error_class": error_class, "error": reason, "http_status": http_status}
        case verdicts.Refused(reason, http_status):
            return Event.REFUSE, {"error_class": "refused", "error": reason, "http_status": http_status}
        case verdicts.Unknown(error_class, reason, http_status):
            return Event.LOSE, {"error_class": error_class, "error": reason, "http_status": http_status}
        case verdicts.Stop(reason, http_status):
            return Event.BOUNCE, {"error_class": "stopped", "error": reason, "http_status": http_status}


def _completed(result: Result, now: float) -> dict[str, Any]:
    """Say what is written down of a result. A base64 picture itself is not: it can be asked for again."""
    return {
        "completed_at": now,
        "output_url": result.output if result.output.startswith(("http://", "https://")) else None,
        "cost": result.cost,
        "queue_s": result.queue_s,
        "inference_s": result.inference_s,
        "total_s": result.total_s,
        "error": None,
        "error_class": None,
    }


def backoff_s(tries: int, rand: Callable[[], float] = random.random) -> float:
    """Seconds before submit n+1 after n unbilled refusals: full jitter in [0, 0.5 x 2^n], at most 20.

    AWS Architecture Blog 2015, "Exponential Backoff And Jitter".
    """
    return rand() * min(BOUNCE_FIRST_S * 2.0**tries, BOUNCE_LONGEST_S)
