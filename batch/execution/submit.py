"""Submit a job: have its images uploaded, POST it once, and record the answer.

Rule: a write to the ledger comes before and after every await that can cost money. `Submitter._submit_once` is the only
function that POSTs a job; the POST and the record of its answer are shielded together, so that a cancellation cannot
separate them. What cannot be read or uploaded fails its own row, before anything is paid.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
from anyio import CancelScope

from batch.client import responses
from batch.core import error_classes
from batch.core.errors import (
    FolderError,
    NoResponse,
    RequestIdTaken,
    RunStopped,
    ServiceError,
)
from batch.core.parameters import IMAGE_PARAMETERS
from batch.execution import transitions
from batch.ledger.states import Event, State
from batch.manifest.input_images import ImageError
from batch.pacing.limiter import Priority, Throttled

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch.client.client import Client
    from batch.core.models import Task
    from batch.core.parameters import Scalar
    from batch.execution.shutdown import StopController
    from batch.execution.transitions import Recorder
    from batch.execution.upload import Uploader
    from batch.execution.upload_links import LinkUploader


@dataclass(frozen=True, slots=True)
class Submitter:
    """Submits jobs; shared by all jobs of a run.

    `retries` is how often a job to which the service gave its own 500 is sent again; a 429 and a submit for which no
    connection could be made are not counted, and after a refusal of the account nothing is sent again in this run.
    `backpressure_s` returns how many seconds a submit should hold back, because finished images wait to be fetched.
    `links` fetches the links that this machine uploads, None when it uploads none.
    """

    recorder: Recorder
    client: Client
    uploader: Uploader
    stop: StopController
    retries: int
    backpressure_s: Callable[[], float]
    links: LinkUploader | None = None

    async def prepare(self, task: Task) -> dict[str, Scalar] | None:
        """Decode and upload the job's local images, and the links that are uploaded; return the body to send, or None when it cannot be sent.

        While the upload host takes no image at all, all jobs wait and none fails for it. Raises RunStopped when that lasts.
        """
        body = dict(task.parameters)
        try:
            for name in IMAGE_PARAMETERS:
                content = str(body[name])
                file = task.files.get(content)
                link = self.links if file is None and self.links and self.links.takes(content) else None
                while (file or link) and body[name] == content and not self.stop.reason:
                    try:
                        if link is not None:
                            body[name] = await link.url(content)
                        elif file is not None:
                            body[name] = await self.uploader.url(content.partition(":")[2], file)
                    except NoResponse as exc:
                        if self.client.pace.unreachable() > self.client.timeouts.unreachable_tries:
                            raise RunStopped(
                                f"Images cannot be uploaded: {exc}. Check the network and SEGMIND_UPLOAD_URL, "
                                "then run the same command."
                            ) from exc
                        await self.client.pace.wait_until_open()
        except (ServiceError, ImageError) as exc:
            error_class = error_classes.BAD_INPUT if isinstance(exc, ImageError) else error_classes.UPLOAD
            await self.recorder.record(task, Event.SPOIL, error_class=error_class, error=str(exc))
            return None
        return None if self.stop.reason else body

    async def submit(self, task: Task, body: dict[str, Scalar]) -> Task | None:
        """Send until the job is accepted, certainly refused, or its answer is lost; return the accepted task or None."""
        bounces = 0
        while True:
            await anyio.sleep(self.backpressure_s())
            async with self.client.pace.acquire(Priority.SUBMIT) as answered:
                if self.stop.reason:
                    return None
                task = replace(task, submitted_at=self.client.clock())
                reply, task = await self._submit_once(task, body, answered, last=bounces >= self.retries)
            match reply:
                case responses.Accepted(request_id):
                    return replace(task, state=State.ACCEPTED, request_id=request_id)
                case Throttled():
                    continue  # the gate is closed; the next turn waits for it
                case responses.NotAccepted(error_class=error_classes.NOT_DELIVERED):
                    # Nobody's row is at fault.
                    if self.client.pace.unreachable() > self.client.timeouts.unreachable_tries:
                        self.stop.request_stop(f"The service cannot be reached: {reply.reason}.")
                        return None
                case responses.NotAccepted() if bounces < self.retries:
                    bounces += 1
                    await anyio.sleep(self.client.timeouts.not_accepted.wait_s(bounces))
                case responses.AccountRefused():
                    self.stop.request_stop(reply.reason)
                    return None
                case responses.Unknown(http_status=status) if status is not None and 300 <= status < 400:
                    self.stop.request_stop(
                        f"The service answers with a redirect; check SEGMIND_BASE_URL. ({reply.reason})"
                    )
                    return None
                case _:
                    return None

    async def _submit_once(
        self, task: Task, body: dict[str, Scalar], answered: Callable[[], None], *, last: bool
    ) -> tuple[responses.Submission, Task]:
        """Reserve the money, write the intent, POST once, call `answered` if accepted, record: all of it or nothing.

        The POST is bounded by the client's timeouts, and by `force_stop`. Raises BudgetExceeded with nothing sent.
        """
        task = replace(task, estimate=self.recorder.budget.reserve(), attempts=task.attempts + 1)
        sent = {name: body[name] for name in IMAGE_PARAMETERS if body[name] != task.parameters[name]}
        with CancelScope(shield=True):
            await self.recorder.record(
                task,
                Event.REMAKE if task.state == State.SAVED else Event.RESERVE,
                submitted_at=task.submitted_at,
                estimate=task.estimate,
                sent=json.dumps(sent),
                skew=self.client.clocks.skew,
            )
            reply: responses.Submission = responses.Unknown(
                error_classes.INTERRUPTED, "the run ended before the answer came", None
            )
            with self.stop.shield_post():
                reply = await self.client.submit(body)
            if isinstance(reply, responses.Accepted):
                answered()  # any other answer may be the last word for those behind as well
            event, fields = transitions.submitted(reply, last=last)
            try:
                await self.recorder.record(task, event, **fields)
            except RequestIdTaken as exc:
                # The answer belongs to another submit; the one to this POST is lost.
                reply = responses.Unknown(error_classes.REPEATED_REQUEST_ID, str(exc), 200)
                event, fields = transitions.submitted(reply, last=last)
                await self.recorder.record(task, event, **fields)
            except FolderError as exc:
                if not isinstance(reply, responses.Accepted):
                    raise
                # On disk it is "sending", or accepted where only the mark failed: the next run goes on, or this message.
                raise FolderError(f"{exc} The service accepted {task.name} as {reply.request_id}.") from exc
        return reply, task
