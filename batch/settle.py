"""Settling lost submits: read the history, decide, write down what is certain, wait while time may decide the rest.

The decisions are reconcile.py's; this file gathers what they need from the ledger and carries them out.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from batch import moves
from batch.errors import NoAnswer
from batch.ledger.states import OPEN, Event, State
from batch.remote import history
from batch.remote.reconcile import LOOK_BACK_S, Absent, Found, LostSubmit, OwnRequest, Undecided, reconcile

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from batch.book import Book
    from batch.halt import Halt
    from batch.ledger.store import Ledger
    from batch.remote.client import Client
    from batch.remote.reconcile import Finding

LOOK_AGAIN_S = 15.0
LAG_S = 900.0
"""How long after the last lost submit has had its time a lagging history is still waited for."""

DAY_S = 86_400.0

NEVER_ARRIVES = "Sent again and again, and the history proves that it never arrived; nothing was billed."

Sent = TypeVar("Sent", LostSubmit, OwnRequest)


@dataclass(frozen=True, slots=True)
class _Settled:
    """A job that was unknown, as the book tells of it."""

    name: str
    request_id: str | None
    attempts: int
    estimate: int | None


class Settling:
    """Settles what is unknown in one folder, through one client. `settle_s` is the time a late row is given.

    `book` hears what becomes of each job, `say` what is waited for and how long. A job that never arrived is sent again
    at most `retries` times a run: a gateway that loses every submit must not keep a run going for ever.
    """

    def __init__(
        self,
        book: Book,
        client: Client,
        halt: Halt,
        *,
        say: Callable[[str], None],
        settle_s: float,
        retries: int,
    ) -> None:
        self._book = book
        self._client = client
        self._halt = halt
        self._say = say
        self._said: str | None = None
        self._settle_s = settle_s
        self._retries = retries
        self.trouble: str | None = None

    async def until_some(self) -> list[int]:
        """Wait until some unknown jobs are settled and return them; an empty list when no more can be.

        What is left then stays unknown, and `trouble` says why.
        """
        began = self._client.clock()
        while not self._halt.reason:
            lost = await self._book.desk.do(_lost)
            if not lost:
                return []
            # None has ended later than now, whatever the clock said when it was written down.
            lost = [replace(submit, ended_at=min(submit.ended_at, began)) for submit in lost]
            findings: list[Finding] = []
            with self._halt.until_asked():
                findings = await self._look(lost)
            settled = [finding.job for finding in findings if not isinstance(finding, Undecided)]
            if settled:
                return settled
            waiting = [finding for finding in findings if isinstance(finding, Undecided) and finding.waiting]
            due = min((submit.ended_at for submit in lost), default=0.0) + self._settle_s
            latest = max((submit.ended_at for submit in lost), default=0.0) + self._settle_s
            now = self._client.clock()
            if not waiting or now > max(latest, began) + LAG_S:
                return []
            self._tell(len(waiting), due - now, max(latest, began) + LAG_S - now)
            with anyio.move_on_after(due - now if due > now else LOOK_AGAIN_S):
                await self._halt.asked.wait()
        return []

    def _tell(self, jobs: int, due_s: float, at_most_s: float) -> None:
        """Say what is waited for: each thing once, though the history is read again and again."""
        lost = f"{jobs} submit{'' if jobs == 1 else 's'} whose answer was lost"
        if due_s > 0:
            text = f"{lost}: the account's history is given {math.ceil(due_s)} s more to list what arrived (--settle)."
            key = "settle"
        else:
            text = f"{lost}: {self.trouble}. Waiting for the history, up to {math.ceil(at_most_s / 60)} min."
            key = "lag"
        if self._said != key:
            self._said = key
            self._say(text)

    async def _look(self, lost: Sequence[LostSubmit]) -> list[Finding]:
        """Read the history once and write down what it proves."""
        since = min(submit.reserved_at for submit in lost)
        own = await self._book.desk.do(lambda ledger: _own(ledger, since - DAY_S))
        try:
            listing = await history.read_back(self._client, since - LOOK_BACK_S)
        except NoAnswer as exc:
            self.trouble = str(exc)
            return []
        skews = await self._book.desk.do(_skews)
        then = [_by_its_own_clock(submit, skews.get(submit.job), listing.skew) for submit in lost]
        held = [_by_its_own_clock(request, skew, listing.skew) for request, skew in own]
        findings = reconcile(then, held, listing, self._client.clock(), self._settle_s)
        by_job = {submit.job: submit for submit in lost}
        for finding in findings:
            match finding:
                case Found(job, entry):
                    event, facts = moves.found(entry, by_job[job].reserved_at)
                    await self._settle(job, event, **facts)
                case Absent(job):
                    await self._settle(job, Event.ABSENT)
                case Undecided():
                    self.trouble = finding.why
        return findings

    async def _settle(self, job: int, event: Event, **facts: Any) -> None:
        def settle(ledger: Ledger) -> tuple[_Settled, Event, State, dict[str, Any]]:
            happened, known = event, facts
            if event is Event.ABSENT and _absences(ledger, job) >= self._retries:
                happened, known = Event.GIVE_UP, {"error_class": "never_arrives", "error": NEVER_ARRIVES}
            settled = _job(ledger.connection, job)
            return settled, happened, ledger.move(job, happened, **known), known

        self._book.tell(*await self._book.desk.do(settle))


def _absences(ledger: Ledger, job: int) -> int:
    """Count how often this run has found that the job never arrived."""
    count: int = ledger.connection.execute(
        "SELECT count(*) FROM events WHERE job=? AND event=? AND run_id IS ?",
        (job, Event.ABSENT, ledger.run_id),
    ).fetchone()[0]
    return count


def _job(connection: sqlite3.Connection, job: int) -> _Settled:
    row = connection.execute(
        "SELECT estimate, attempts, coalesce((SELECT r.id FROM rows r WHERE r.job = jobs.job "
        "AND r.position IS NOT NULL ORDER BY r.position LIMIT 1), payload_key) AS name FROM jobs WHERE job=?",
        (job,),
    ).fetchone()
    return _Settled(row["name"], None, row["attempts"], row["estimate"])


def _lost(ledger: Ledger) -> list[LostSubmit]:
    return [
        LostSubmit(row["job"], _body(row), row["submitted_at"] or row["ended_at"], row["ended_at"])
        for row in ledger.connection.execute(
            "SELECT j.job, j.parameters, j.sent, j.submitted_at, "
            "(SELECT max(at) FROM events e WHERE e.job = j.job AND e.event = ?) AS ended_at "
            "FROM jobs j WHERE j.state <> 'saved' AND j.state = ? ORDER BY j.job",
            (Event.LOSE, State.UNKNOWN),
        )
    ]


def _skews(ledger: Ledger) -> dict[int, float]:
    return {
        row["job"]: row["skew"]
        for row in ledger.connection.execute(
            f"SELECT job, skew FROM jobs WHERE {OPEN} AND state = ? AND skew IS NOT NULL", (State.UNKNOWN,)
        )
    }


def _by_its_own_clock(sent: Sent, skew_then: float | None, skew_now: float | None) -> Sent:
    """Return what was sent as our clock of today would have dated it: it may have been put right since."""
    if skew_then is None or skew_now is None or sent.reserved_at is None:
        return sent
    return replace(sent, reserved_at=sent.reserved_at - skew_then + skew_now)


def _own(ledger: Ledger, since: float) -> list[tuple[OwnRequest, float | None]]:
    """Return every request id this folder holds or held of which something was noted since then, with our clock's skew.

    What was sent is known of the request a job holds now. When it was accepted is what that event says; one that the
    history found was sent when its job says; of one that was found and then replaced nobody knows.
    """
    return [
        (
            OwnRequest(
                row["request_id"],
                next((at for at in (row["accepted_at"], row["submitted_at"]) if at is not None), 0.0),
                None if row["submitted_at"] is None else _body(row),
                row["submitted_at"],
            ),
            row["skew"],
        )
        for row in ledger.connection.execute(
            "SELECT e.request_id, min(CASE WHEN e.event = ? THEN e.at END) AS accepted_at, j.parameters, j.sent, "
            "CASE WHEN j.request_id = e.request_id THEN j.submitted_at END AS submitted_at, j.skew "
            "FROM events e JOIN jobs j USING (job) WHERE e.request_id IS NOT NULL AND e.at >= ? GROUP BY e.request_id",
            (Event.ACCEPT, since),
        )
    ]


def _body(row: sqlite3.Row) -> dict[str, object]:
    body: dict[str, object] = json.loads(row["parameters"]) | json.loads(row["sent"] or "{}")
    return body
