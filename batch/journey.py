"""One job, from the ledger to a picture on disk: read this first.

    planned ─ prepare ─ submit ─▶ accepted ─ watch ─▶ completed ─ arrive ─▶ saved

A write to the ledger stands on each side of every await that can cost money. `_send` is the only place that POSTs,
and POST and record are shielded together, so that no Ctrl-C parts them; everything after it is free to be cancelled,
because the request id is on disk. What a job ends with is a move of its state; what ends the whole run is `Halt`.
"""

from __future__ import annotations

import json
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio
from anyio import CancelScope

from batch import moves
from batch.errors import CapReached, FolderError, NoAnswer, RunStopped, ServiceError
from batch.ledger.states import Event, State
from batch.parameters import IMAGE_PARAMETERS
from batch.remote import verdicts
from batch.remote.gate import Turn
from batch.remote.watch import RECORD_S, Done, Failed, Lost, Watch
from batch.results.keep import UnusablePicture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from typing import Any

    from batch.arrival import Arrival
    from batch.budget import Budget
    from batch.halt import Halt
    from batch.ledger.desk import Desk
    from batch.ledger.store import Ledger
    from batch.model import Picture, Task
    from batch.parameters import Scalar
    from batch.remote.client import Client
    from batch.remote.upload import Uploads
    from batch.tally import Tally

SIZE = "aspect_ratio"
"""The parameter that tells quick jobs from slow ones."""

BOUNCE_FIRST_S = 0.5
BOUNCE_LONGEST_S = 20.0
UNREACHABLE_TRIES = 8
"""Times in a row that no connection could be made before the run stops: some two minutes of waiting together."""


@dataclass(frozen=True, slots=True)
class Journey:
    """What a job needs on its way; shared by all jobs of a run. `job_timeout_s` bounds the waiting for one job."""

    desk: Desk
    client: Client
    uploads: Uploads
    arrival: Arrival
    budget: Budget
    tally: Tally
    halt: Halt
    retries: int
    job_timeout_s: float
    bad_input: type[Exception]
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
            task = replace(task, state=await self._move(task, again))
        if task.state == State.PLANNED:
            body, accepted = None, None
            with self.halt.until_asked():
                body = await self._prepare(task)
            if body is None:
                return
            async with self._in_flight():
                with self.halt.until_asked():
                    accepted = await self._submit(task, body)
                if accepted is not None:
                    await self._finish(accepted, at_once=False)
        else:
            async with self._in_flight():
                await self._finish(task, at_once=True)

    async def _prepare(self, task: Task) -> dict[str, Scalar] | None:
        """Decode and upload the job's local images; return the body to send, or None when it cannot be sent."""
        body = dict(task.parameters)
        try:
            for name in IMAGE_PARAMETERS:
                content = str(body[name])
                if content in task.files and not self.halt.reason:
                    body[name] = await self._upload(content.partition(":")[2], task.files[content])
        except ServiceError as exc:
            await self._move(task, Event.SPOIL, error_class="upload", error=str(exc))
            return None
        except self.bad_input as exc:
            await self._move(task, Event.SPOIL, error_class="bad_input", error=str(exc))
            return None
        return None if self.halt.reason else body

    async def _upload(self, sha256: str, path: Path) -> str:
        """Return a picture's URL; while the host of the uploads takes none, all wait together: no row is at fault.

        Raises RunStopped when that lasts, ServiceError or a `bad_input` for what is about this picture.
        """
        while True:
            try:
                return await self.uploads.url(sha256, path)
            except NoAnswer as exc:
                if self.client.pace.unreachable() > UNREACHABLE_TRIES:
                    raise RunStopped(
                        f"Pictures cannot be uploaded: {exc}. Check the network and SEGMIND_UPLOAD_URL, "
                        "then run the same command."
                    ) from exc
            await self.client.pace.opened()

    async def _submit(self, task: Task, body: dict[str, Scalar]) -> Task | None:
        """Send until the job is accepted, or certainly not, or nobody knows; return the accepted task or None."""
        bounces = 0
        while True:
            await anyio.sleep(self.arrival.drag_s())
            async with self.client.pace.turn(Turn.SUBMIT) as answered:
                if self.halt.reason:
                    return None
                task = replace(task, submitted_at=self.client.clock())
                reply, task = await self._send(task, body, answered, last=bounces >= self.retries)
            match reply:
                case verdicts.Accepted(request_id):
                    return replace(task, state=State.ACCEPTED, request_id=request_id)
                case verdicts.Throttled():
                    continue  # the gate is closed; the next turn waits for it
                case verdicts.Bounced(error_class=verdicts.NOT_DELIVERED):
                    if self.client.pace.unreachable() > UNREACHABLE_TRIES:  # nobody's row is at fault
                        self.halt.because(f"The service cannot be reached: {reply.reason}.")
                        return None
                case verdicts.Bounced() if bounces < self.retries:
                    bounces += 1
                    await anyio.sleep(backoff_s(bounces))
                case verdicts.Stop():
                    self.halt.because(reply.reason)
                    return None
                case verdicts.Unknown(http_status=status) if status is not None and 300 <= status < 400:
                    self.halt.because(
                        f"The service answers with a redirect; check SEGMIND_BASE_URL. ({reply.reason})"
                    )
                    return None
                case _:
                    return None

    async def _send(
        self, task: Task, body: dict[str, Scalar], answered: Callable[[], None], *, last: bool
    ) -> tuple[verdicts.Submission, Task]:
        """Set the money aside, reserve, POST once, call `answered` where it is accepted, record: nothing parts these steps.

        The POST is bounded by the client's timeouts, and by the halt's hurry. Raises CapReached, with nothing sent.
        """
        try:
            task = replace(task, estimate=self.budget.reserve(), attempts=task.attempts + 1)
        except CapReached as exc:
            self.halt.because(exc)
            raise
        sent = {name: body[name] for name in IMAGE_PARAMETERS if body[name] != task.parameters[name]}
        with CancelScope(shield=True):
            await self._move(
                task,
                Event.RESERVE,
                submitted_at=task.submitted_at,
                estimate=task.estimate,
                sent=json.dumps(sent),
                skew=self.client.skew,
            )
            reply: verdicts.Submission = verdicts.Unknown(
                "interrupted", "the run ended before the answer came", None
            )
            with self.halt.posting():
                reply = await self.client.submit(body)
            if isinstance(
                reply, verdicts.Accepted
            ):  # any other answer may be the last word for those behind as well
                answered()
            reply = await self._record(task, reply, last=last)
        return reply, task

    async def _record(self, task: Task, reply: verdicts.Submission, *, last: bool) -> verdicts.Submission:
        """Write down what a POST was answered; return the answer as it is to be taken."""

        def record(ledger: Ledger) -> tuple[verdicts.Submission, Event, State, dict[str, Any]]:
            taken = reply
            if isinstance(reply, verdicts.Accepted) and ledger.holds(reply.request_id):
                why = f"another row holds request {reply.request_id}"
                taken = verdicts.Unknown("repeated_request_id", why, 200)
            event, facts = moves.submitted(taken, last=last)
            return taken, event, ledger.move(task.job, event, **facts), facts

        try:
            taken, event, state, facts = await self.desk.do(record)
        except FolderError as exc:
            if isinstance(
                reply, verdicts.Accepted
            ):  # on disk it is "sending": the history will find it, or this
                raise FolderError(f"{exc} The service accepted {task.name} as {reply.request_id}.") from exc
            raise
        self._tell(task, event, state, facts)
        return taken

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
                    await self._move(task, event, **facts)
                await self._keep(task, result.output, until)
            case Failed():
                event = Event.FAIL if task.state == State.ACCEPTED else Event.UNUSABLE  # it was paid once
                await self._move(
                    task,
                    event,
                    error_class="job_failed",
                    error=outcome.reason,
                    http_status=outcome.http_status,
                )
            case Lost():
                # Paid, as far as anybody knows: what was set aside for it goes on the bill.
                cost = {"cost": task.estimate} if task.state == State.ACCEPTED else {}
                await self._move(
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
                self.tally.unfetched(task, exc)
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
            self.tally.unfetched(task, exc)
        except UnusablePicture:
            if isinstance(first, NoAnswer):
                self.tally.unfetched(task, first)
            else:
                await self._move(task, Event.UNUSABLE, error_class="unusable_picture", error=str(first))
        return None

    async def _move(self, task: Task, event: Event, **facts: Any) -> State:
        state = await self.desk.do(lambda ledger: ledger.move(task.job, event, **facts))
        self._tell(task, event, state, facts)
        return state

    def _tell(self, task: Task, event: Event, state: State, facts: dict[str, Any]) -> None:
        self.budget.moved(event, task.estimate, facts.get("cost"))
        self.tally.moved(task, event, state, facts)

    @asynccontextmanager
    async def _in_flight(self) -> AsyncIterator[None]:
        async with self.client.pace.slot():
            self.tally.flew(+1)
            try:
                yield
            finally:
                self.tally.flew(-1)


def backoff_s(tries: int, rand: Callable[[], float] = random.random) -> float:
    """Seconds before submit n+1 after n unbilled refusals: full jitter in [0, 0.5 x 2^n], at most 20.

    AWS Architecture Blog 2015, "Exponential Backoff And Jitter".
    """
    return rand() * min(BOUNCE_FIRST_S * 2.0**tries, BOUNCE_LONGEST_S)
