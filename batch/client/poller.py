"""From a request id to its result: polls on the poll schedule, through any failure that is not an answer.

Nothing here costs money and the request id is on disk, so polling may be cancelled at any await and begun again.
A 404 is not the end: the history is asked by id, and knows the output or the failure of a finished request of any age.
Where it knows nothing, the status is asked again at growing gaps. A job is Expired only when its record's hour has
passed, the service has no record of it, and the history has answered and has no result of it either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import anyio

from batch.client import history, responses
from batch.client.bodies import differences
from batch.core.errors import NoResponse, RunStopped
from batch.core.models import Result
from batch.pacing.limiter import Throttled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batch.client.calls import Calls
    from batch.client.history_page import Entry
    from batch.client.responses import StatusVerdict

LAST_POLL_S = 1.0
"""A poll that the gate does not block may take this long past the deadline: the job may just have ended."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Done:
    """The job is finished and this is its result."""

    result: Result


@dataclass(frozen=True, slots=True)
class StillRunning:
    """Nothing proves how the job ended, or that it has; `denied` is the refusal, where the key is refused.

    It may be at work, or nobody who was asked has answered, or the answers contradict one another.
    """

    denied: str | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """Paid, as far as anybody knows, and the result is gone: its record's hour has passed and the service has no record.

    The history has answered: it does not list the request, or lists it as COMPLETED without a URL.
    """

    reason: str


Ending = Done | responses.Failed | StillRunning | Expired


@dataclass(frozen=True, slots=True)
class Poller:
    """Polls jobs through one client; keeps no state of its own.

    `on_denied` is called at once when the service refuses our key, while polling goes on until the deadline; `on_running`
    each time that the service reports the job as running.
    """

    client: Calls
    on_denied: Callable[[str], object] = lambda _: None
    on_running: Callable[[], object] = lambda: None

    async def until_done(
        self,
        request_id: str,
        *,
        submitted_at: float,
        until: float,
        size: str = "",
        seed: object = None,
        at_once: bool = False,
    ) -> Ending:
        """Poll until the job ends, or until the wall-clock time `until` (epoch seconds).

        Job times are learned for each `size` apart; a result of another seed than `seed` is not taken. `at_once` polls
        before the first gap: for a job of an earlier run. Raises RunStopped when the service refuses the verb, which is
        our fault.
        """
        client, schedule = self.client, self.client.polls.by_size[size]
        polls, previous_age, failures = 0, None, 0
        outcome: Ending = StillRunning()
        while isinstance(outcome, StillRunning):
            age = max(client.clock() - submitted_at, 0.0)
            left = until - client.clock()
            if left <= 0:
                break
            first_poll = at_once and polls == 0 and not failures
            if not first_poll:
                now = anyio.current_time()
                if failures:
                    at = now + client.timeouts.no_answer.wait_s(failures)
                else:
                    counted = client.pace.gate.counts_gets
                    at = schedule.next_poll_at(now, age, polls, rate_limited=counted)
                await anyio.sleep(min(at - now, left))
            due = client.clock()
            check = await self._in_time(until, client.status(request_id))
            if check is None:
                break
            # A job of an earlier run may have ended long ago: that poll says nothing about the server.
            late = math.inf if first_poll else check.sent_at - due
            age = max(check.sent_at - submitted_at, 0.0)
            match check.verdict:
                case responses.Completed():
                    schedule.learn(age, previous_age, late, check.total_s)
                    return await self._result(request_id, submitted_at, until, seed)
                case responses.Running():
                    self.on_running()
                    polls, previous_age, failures, outcome = polls + 1, age, 0, StillRunning()
                case Throttled():
                    pass  # the client has closed the gate; the next poll waits there
                case _:
                    failures += 1
                    outcome = await self._interpret(request_id, check.verdict, age, seed)
        return outcome

    async def _result(self, request_id: str, submitted_at: float, until: float, seed: object) -> Ending:
        """Ask a finished job for its result until it comes; at least once, also past the deadline."""
        client, asked, failures = self.client, False, 0
        outcome: Ending = StillRunning()
        while isinstance(outcome, StillRunning) and (client.clock() < until or not asked):
            asked = True
            answer = await self._in_time(until, client.result(request_id, seed=seed))
            if answer is None:
                break
            if isinstance(answer, Result):
                return Done(answer)
            if isinstance(answer, Throttled):
                continue
            failures += 1
            outcome = await self._interpret(request_id, answer, client.clock() - submitted_at, seed)
            if isinstance(outcome, StillRunning):
                wait_s = min(client.timeouts.no_answer.wait_s(failures), until - client.clock())
                await anyio.sleep(max(wait_s, 0.0))
        return outcome

    async def _in_time(self, until: float, call: Awaitable[_Answer]) -> _Answer | None:
        """Return the answer of a call, None when it has not come by `until`: a closed gate may block it for long."""
        left, gate = until - self.client.clock(), self.client.pace.gate
        if not gate.counts_gets or anyio.current_time() >= gate.opens_at:
            left = max(left, LAST_POLL_S)
        with anyio.move_on_after(left):
            return await call
        return None

    async def _interpret(self, request_id: str, verdict: StatusVerdict, age: float, seed: object) -> Ending:
        """Return what an answer other than a result says of the job's end."""
        match verdict:
            case responses.Failed():
                return verdict
            case responses.NotFound() | responses.Doubtful():
                return await self._ask_history(request_id, verdict, age, seed)
            case responses.Unauthorized():
                self.on_denied(verdict.reason)
                return StillRunning(verdict.reason)
            case responses.AccountRefused():
                raise RunStopped(verdict.reason)
        return StillRunning()  # not clear, or the answers contradict each other: ask again

    async def _ask_history(
        self, request_id: str, verdict: responses.NotFound | responses.Doubtful, age: float, seed: object
    ) -> Ending:
        """Ask the history how a request ended whose record is gone or contradicts itself.

        Only a history that answers decides anything: while it is not reachable, or does not accept the key (KeyRefused is
        a NoResponse), the job stays as it is.
        """
        try:
            entry = await history.look_up(self.client, request_id)
        except NoResponse:
            return StillRunning()
        if entry is not None:
            if _is_another(entry, seed):
                return StillRunning()
            if entry.status == "COMPLETED" and entry.url is not None:
                return Done(Result(entry.url, entry.cost, None, None, None))
            if entry.status == "FAILED":
                return responses.Failed(entry.error or "the service gave no reason", verdict.http_status)
        if isinstance(verdict, responses.NotFound):
            if entry is not None and entry.status != "COMPLETED":
                self.on_running()
            elif age >= self.client.timeouts.record_s:
                return Expired(f"the service no longer has this request's record ({verdict.reason})")
        return StillRunning()


def _is_another(entry: Entry, seed: object) -> bool:
    """Return whether a listed request has another seed than ours: the service gave us a wrong id."""
    return seed is not None and entry.body is not None and bool(differences({"seed": seed}, entry.body))
