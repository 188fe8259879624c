"""A job on its way out: its pictures are uploaded, it is sent once, and the answer is written down.

A write to the ledger stands on each side of every await that can cost money. `_send` is the only place that POSTs a job,
and POST and record are shielded together, so that no Ctrl-C parts them.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio
from anyio import CancelScope

from batch import moves
from batch.errors import CapReached, FolderError, NoAnswer, RunStopped, ServiceError
from batch.ledger.states import Event, State
from batch.parameters import IMAGE_PARAMETERS
from batch.remote import verdicts
from batch.remote.gate import Turn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batch.book import Book
    from batch.halt import Halt
    from batch.ledger.store import Ledger
    from batch.model import Task
    from batch.parameters import Scalar
    from batch.remote.client import Client
    from batch.remote.upload import Uploads

BOUNCE_FIRST_S = 0.5
BOUNCE_LONGEST_S = 20.0
UNREACHABLE_TRIES = 8
"""Times in a row that no connection could be made before the run stops: some two minutes of waiting together."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What sends the jobs of a run; shared by all of them.

    `drag_s` says how long a submit should hold back, in seconds; `bad_input` is what a picture that cannot be used raises.
    """

    book: Book
    client: Client
    uploads: Uploads
    halt: Halt
    drag_s: Callable[[], float]
    retries: int
    bad_input: type[Exception]

    async def prepare(self, task: Task) -> dict[str, Scalar] | None:
        """Decode and upload the job's local images; return the body to send, or None when it cannot be sent."""
        body = dict(task.parameters)
        try:
            for name in IMAGE_PARAMETERS:
                content = str(body[name])
                if content in task.files and not self.halt.reason:
                    body[name] = await self._upload(content.partition(":")[2], task.files[content])
        except ServiceError as exc:
            await self.book.move(task, Event.SPOIL, error_class="upload", error=str(exc))
            return None
        except self.bad_input as exc:
            await self.book.move(task, Event.SPOIL, error_class="bad_input", error=str(exc))
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

    async def submit(self, task: Task, body: dict[str, Scalar]) -> Task | None:
        """Send until the job is accepted, or certainly not, or nobody knows; return the accepted task or None."""
        bounces = 0
        while True:
            await anyio.sleep(self.drag_s())
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
            task = replace(task, estimate=self.book.budget.reserve(), attempts=task.attempts + 1)
        except CapReached as exc:
            self.halt.because(exc)
            raise
        sent = {name: body[name] for name in IMAGE_PARAMETERS if body[name] != task.parameters[name]}
        with CancelScope(shield=True):
            await self.book.move(
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
            if isinstance(reply, verdicts.Accepted):
                answered()  # any other answer may be the last word for those behind as well
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
            taken, event, state, facts = await self.book.desk.do(record)
        except FolderError as exc:
            if isinstance(reply, verdicts.Accepted):
                # On disk it is "sending": the history will find it, or this.
                raise FolderError(f"{exc} The service accepted {task.name} as {reply.request_id}.") from exc
            raise
        self.book.tell(task, event, state, facts)
        return taken


def backoff_s(tries: int, rand: Callable[[], float] = random.random) -> float:
    """Seconds before submit n+1 after n unbilled refusals: full jitter in [0, 0.5 x 2^n], at most 20.

    AWS Architecture Blog 2015, "Exponential Backoff And Jitter".
    """
    return rand() * min(BOUNCE_FIRST_S * 2.0**tries, BOUNCE_LONGEST_S)
