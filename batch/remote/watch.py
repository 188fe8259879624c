"""From a request id to its result: polls at the learner's gaps, through anything that is not an answer.

Nothing here costs money and the request id is on disk, so a watch may be cancelled at any await and begun again.
A 404 is not the end: the history is asked by id, and knows the output or the failure of a finished request of any age.
Where it knows nothing, the status is asked again at growing gaps, and only when the record's hour has passed is the
job Lost.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import anyio

from batch.errors import NoAnswer, RunStopped
from batch.model import Result
from batch.remote import history, verdicts
from batch.remote.api import LONGEST_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batch.remote.client import Client
    from batch.remote.verdicts import StatusVerdict

RECORD_S = 3600.0
"""How long the service keeps a request's record, from its submit."""

TROUBLE_FIRST_S = 0.5
TROUBLE_LONGEST_S = 30.0

LAST_LOOK_S = 1.0
"""A look that is not held by the gate may take this long, though the waiting is over: the job may just have ended."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Done:
    """The job is finished and this is its result."""

    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    """The service ran the job and it failed, unbilled."""

    reason: str
    http_status: int


@dataclass(frozen=True, slots=True)
class StillRunning:
    """The waiting ended before the job did; `denied` says so when the service refuses our key meanwhile."""

    trouble: str | None
    denied: str | None


@dataclass(frozen=True, slots=True)
class Lost:
    """The record's hour has passed and the service no longer knows the request: paid, and the result is gone."""

    reason: str


Outcome = Done | Failed | StillRunning | Lost


def growing_gap(tries: int) -> float:
    """Seconds before look n (1-based) after an answer that says nothing: full jitter over 0.5 x 2^n, at most 30.

    AWS Architecture Blog 2015, "Exponential Backoff And Jitter"; the lower half is kept so that it never hammers.
    """
    ceiling = min(TROUBLE_FIRST_S * 2.0 ** min(tries, 10), TROUBLE_LONGEST_S)
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311  jitter, no secret


class Watch:
    """Watches jobs through one client; keeps nothing of its own.

    `on_denied` hears at once when the service refuses our key, while the watch goes on until its deadline.
    """

    def __init__(self, client: Client, on_denied: Callable[[str], None] = lambda reason: None) -> None:  # noqa: ARG005
        self._client = client
        self._on_denied = on_denied

    async def until_done(
        self, request_id: str, *, submitted_at: float, until: float, size: str = "", at_once: bool = False
    ) -> Outcome:
        """Poll until the job ends, or until the wall-clock time `until` (epoch seconds).

        `size` is whose job times are learned from and told apart. `at_once` polls before the first gap: for a job of an earlier run. Raises RunStopped when the service
        refuses the verb, which is our fault.
        """
        client, learner = self._client, self._client.polls.of(size)
        polls, previous_age, troubles = 0, None, 0
        said: str | None = None
        denied: str | None = None
        while True:
            age = max(client.clock() - submitted_at, 0.0)
            sparing = client.pace.gate.counts_gets
            left = until - client.clock()
            if left <= 0:
                return StillRunning(said, denied)
            first_look = at_once and polls == 0 and not troubles
            if not first_look:
                now = anyio.current_time()
                at = (
                    now + growing_gap(troubles) if troubles else learner.due(now, age, polls, sparing=sparing)
                )
                await anyio.sleep(min(at - now, left))
            due = client.clock()
            look = await self._in_time(until, client.status(request_id))
            if look is None:
                return StillRunning(said, denied)
            # A job of an earlier run may have been done for long: that look says nothing about the server.
            late = math.inf if first_look else look.sent_at - due
            age = max(look.sent_at - submitted_at, 0.0)
            match look.verdict:
                case verdicts.Completed():
                    learner.learn(age, previous_age, late, look.total_s)
                    return await self._result(request_id, submitted_at, until)
                case verdicts.Running():
                    polls, previous_age, troubles, said, denied = polls + 1, age, 0, None, None
                case verdicts.Throttled():
                    pass  # the client has closed the gate; the next look waits there
                case _:
                    troubles += 1
                    ended, said, denied = await self._judge(request_id, look.verdict, age)
                    if ended is not None:
                        return ended

    async def _result(self, request_id: str, submitted_at: float, until: float) -> Outcome:
        """Ask a finished job for its result until it comes."""
        client, looks, troubles = self._client, 0, 0
        said: str | None = None
        denied: str | None = None
        while client.clock() < until or not looks:
            looks += 1
            answer = await self._in_time(until, client.result(request_id))
            if answer is None:
                break
            if isinstance(answer, Result):
                return Done(answer)
            if isinstance(answer, verdicts.Throttled):
                continue
            troubles += 1
            ended, said, denied = await self._judge(request_id, answer, client.clock() - submitted_at)
            if ended is not None:
                return ended
            await anyio.sleep(max(min(growing_gap(troubles), until - client.clock()), 0.0))
        return StillRunning(said, denied)

    async def _in_time(self, until: float, look: Awaitable[_Answer]) -> _Answer | None:
        """Return what a look gives, None when it does not come until then: a closed gate may hold it for long."""
        left, pace = until - self._client.clock(), self._client.pace
        if left > LONGEST_S and not pace.gate.counts_gets:  # it ends in time by itself
            return await look
        if not pace.holds_gets:
            left = max(left, LAST_LOOK_S)
        with anyio.move_on_after(left):
            return await look
        return None

    async def _judge(
        self, request_id: str, verdict: StatusVerdict, age: float
    ) -> tuple[Outcome | None, str | None, str | None]:
        """Say of an answer that is no progress: how the job ended if it did, what to remember, and who was denied."""
        match verdict:
            case verdicts.Failed():
                return Failed(verdict.reason, verdict.http_status), None, None
            case verdicts.Gone():
                return await self._ask_history(request_id, verdict, age), verdict.reason, None
            case verdicts.Denied():
                self._on_denied(verdict.reason)
                return None, verdict.reason, verdict.reason
            case verdicts.Stop():
                raise RunStopped(verdict.reason)
            case verdicts.Trouble():
                return None, verdict.reason, None
            case _:
                return None, "the answers contradict each other", None

    async def _ask_history(self, request_id: str, verdict: verdicts.Gone, age: float) -> Outcome | None:
        """Ask the history about a request whose record is gone; None means: keep looking."""
        try:
            entry = await history.look_up(self._client, request_id)
        except NoAnswer:
            entry = None
        if entry is not None and entry.status == "COMPLETED" and entry.url is not None:
            return Done(Result(entry.url, entry.cost, None, None, None))
        if entry is not None and entry.status == "FAILED":
            return Failed(entry.error or "the service gave no reason", verdict.http_status)
        running = entry is not None and entry.status not in {"COMPLETED", "FAILED"}
        if age >= RECORD_S and not running:
            return Lost(f"the service no longer has this request's record ({verdict.reason})")
        return None
