"""Reconcile lost submits: read the history, decide, record what is certain, wait while time may decide the rest.

reconcile_rules.py decides; this module gathers what the rules need, from the ledger and the history, and records the
result. `recover_expired` asks the same history for paid jobs whose record was gone before their result was seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from batch.client import history
from batch.core import error_classes
from batch.core.errors import NoResponse
from batch.core.units import boot, counted, counter, format_usd
from batch.execution import transitions
from batch.execution.reconcile_rules import (
    Absent,
    Found,
    Undecided,
    reconcile,
)
from batch.ledger.states import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batch.client.client import Client
    from batch.client.history_page import Entry
    from batch.execution.reconcile_rules import Finding
    from batch.execution.shutdown import StopController
    from batch.execution.transitions import Recorder
    from batch.ledger.store import AsyncLedger, ExpiredJob, LedgerStore, UnconfirmedSubmit

DAY_S = 86_400.0
OWN_S = 3 * DAY_S
"""How long before a lost submit our own requests matter: longer than the listed times may be wrong."""

APART_S = 2 * DAY_S
"""Lost submits further apart than this are looked up separately: the history between them does not matter."""

OUTPUT_S = 7 * DAY_S
"""How long the service keeps a finished image."""

MOST_RECOVERED = 100
"""Expired requests that are asked for in one run, the newest first."""

NEVER_ARRIVES_TEXT = "Sent again and again, and the history proves that it never arrived; nothing was billed."


@dataclass
class Reconciler:
    """Reconciles what is unknown in one folder, through one client.

    `warn` gets what is waited for and how long; `settle_s` is the time that a late entry of the history is given. A job
    that never arrived is sent again at most `retries` times a run: a gateway that loses every submit must not keep a run
    going for ever.
    """

    recorder: Recorder
    client: Client
    stop: StopController
    warn: Callable[[str], None]
    settle_s: float
    retries: int
    began: float
    """When this run began, epoch seconds."""
    unsettled: str | None = None
    """Why some jobs stayed unknown."""
    _warned: str | None = None

    async def reconcile_some(self) -> list[int]:
        """Wait until some unknown jobs are settled and return them; an empty list when no more can be.

        The rest then stays unknown, and `unsettled` says why.
        """
        began, timeouts = self.client.clock(), self.client.timeouts
        while not self.stop.reason:
            lost = await self.recorder.ledger.run(lambda store: store.unconfirmed())
            if not lost:
                self.unsettled = None
                return []
            findings: list[Finding] = []
            with self.stop.cancel_on_stop():
                findings = await self._read_history(lost)
            settled = [finding.job for finding in findings if not isinstance(finding, Undecided)]
            if settled:
                return settled
            waiting = [finding for finding in findings if isinstance(finding, Undecided) and finding.waiting]
            if not waiting:
                return []
            jobs = {finding.job for finding in waiting}
            left = [self.settle_s - self._passed_s(submit) for submit in lost if submit.job in jobs]
            now = self.client.clock()
            until = max(now + max(left), began) + timeouts.settle_lag_s
            if now > until:
                return []
            self._report_wait(len(waiting), min(left), until - now)
            with anyio.move_on_after(min(left) if min(left) > 0 else timeouts.settle_again_s):
                await self.stop.stop_requested.wait()
        return []

    def _passed_s(self, lost: UnconfirmedSubmit) -> float:
        """Return how much time has passed since a submit was lost, as far as that is certain.

        The wall clock may have been set meanwhile: what counts is the machine's own counter, which is the same for every
        process until it is started again. Where there is none, this run's own time counts.
        """
        now, ended_at = self.client.clock(), lost.ended_at
        if lost.counter is not None and lost.boot is not None and lost.boot == boot():
            return max(counter() - lost.counter, 0.0)
        return now - ended_at if self.began <= ended_at <= now else now - self.began

    def _report_wait(self, jobs: int, due_s: float, at_most_s: float) -> None:
        """Report what is awaited: each thing once, although the history is read repeatedly."""
        lost = f"{counted(jobs, 'submit')} whose answer was lost"
        if due_s > 0:
            text = f"{lost}: the account's history is given {math.ceil(due_s)} s more to list what arrived (--settle)."
            key = "settle"
        else:
            text = (
                f"{lost}: {self.unsettled}. Waiting for the history, up to {math.ceil(at_most_s / 60)} min."
            )
            key = "lag"
        if self._warned != key:
            self._warned = key
            self.warn(text)

    async def _read_history(self, lost: Sequence[UnconfirmedSubmit]) -> list[Finding]:
        """Read the history once and record what it proves."""
        findings: list[Finding] = []
        for group in _groups_by_time(lost):
            try:
                findings += await self._reconcile_group(group)
            except NoResponse as exc:
                self.unsettled = str(exc)
                break
        return findings

    async def _reconcile_group(self, lost: Sequence[UnconfirmedSubmit]) -> list[Finding]:
        """Record what the history proves about submits of about the same time; raises NoResponse."""
        client = self.client
        # Before the history is read: what lands while it is read may have been missed.
        overdue = [submit.job for submit in lost if self._passed_s(submit) >= self.settle_s]
        if client.clocks.skew is None:
            await history.greet(client)
        shifts = [0.0, *(_shift(submit.skew, client.clocks.skew) for submit in lost)]
        since = min(submit.reserved_at for submit in lost) + min(shifts)
        until = max(max(submit.ended_at, submit.reserved_at) for submit in lost) + max(shifts)
        own = await self.recorder.ledger.run(lambda store: store.own_requests(since - OWN_S))
        listing = await history.read_back(
            client, since - client.timeouts.look_back_s, until, {request.request_id for request in own}
        )
        now = client.clock()
        sent = [
            replace(
                submit,
                shift=_shift(submit.skew, listing.skew),
                ended_at=min(submit.ended_at, now),  # whatever the clock said when it was recorded
            )
            for submit in lost
        ]
        held = [replace(request, shift=_shift(request.skew, listing.skew)) for request in own]
        findings = reconcile(sent, held, listing, overdue, client.timeouts)
        for finding in findings:
            match finding:
                case Found(job, entry):
                    (submit,) = [each for each in lost if each.job == job]
                    await self._record_found(submit, entry)
                case Absent(job):
                    await self._record(job, Event.ABSENT)
                case Undecided():
                    self.unsettled = finding.why
        return findings

    async def _record_found(self, submit: UnconfirmedSubmit, entry: Entry) -> None:
        (task,) = await self.recorder.ledger.run(lambda store: store.tasks([submit.job]))
        estimate = task.estimate
        if estimate is None:  # what others cost
            estimate = self.recorder.budget.price
        event, fields = transitions.found(entry, submit.reserved_at, estimate)
        await self._record(submit.job, event, **fields)
        if event is Event.FIND_DONE and entry.cost is None:
            self.warn(
                f"The history names no cost for request {entry.request_id}, which is finished: the bill has the estimate of "
                f"{format_usd(estimate, 4)}."
            )

    async def _record(self, job: int, event: Event, **fields: Any) -> None:
        ledger = self.recorder.ledger
        if event is Event.ABSENT and await ledger.run(lambda store: store.times_absent(job)) >= self.retries:
            event, fields = (
                Event.GIVE_UP,
                {"error_class": error_classes.NEVER_ARRIVES, "error": NEVER_ARRIVES_TEXT},
            )
        (task,) = await ledger.run(lambda store: store.tasks([job]))
        await self.recorder.record(task, event, **fields)


def _groups_by_time(lost: Sequence[UnconfirmedSubmit]) -> Iterator[list[UnconfirmedSubmit]]:
    """Yield the lost submits in groups of about the same time, the latest first."""
    group: list[UnconfirmedSubmit] = []
    for submit in sorted(lost, key=lambda submit: submit.reserved_at, reverse=True):
        if group and group[-1].reserved_at - submit.reserved_at > APART_S:
            yield group
            group = []
        group.append(submit)
    yield group


def _shift(skew_then: float | None, skew_now: float | None) -> float:
    """Return by how much our clock seems to have been set forward since something was sent."""
    return 0.0 if skew_then is None or skew_now is None else skew_now - skew_then


# -- expired jobs ----------------------------------------------------------------------------------------------------


def expired_jobs(store: LedgerStore) -> list[ExpiredJob]:
    """Return the expired jobs whose image the service may still have, the newest first."""
    return store.expired(store.clock() - OUTPUT_S, MOST_RECOVERED)


async def recover_expired(client: Client, ledger: AsyncLedger, warn: Callable[[str], None]) -> None:
    """Ask the history, by id, for each expired job, whose record was gone before its result was seen; record the result.

    A request listed as finished is fetched at no cost, and one listed as failed was not billed; a job whose request is not
    listed, or cannot be looked up, stays expired. `warn` gets why the history could not be asked.
    """
    for asked, job in enumerate(await ledger.run(expired_jobs)):
        if asked >= history.FREE_PAGES:
            await anyio.sleep(client.timeouts.history_page_s)
        try:
            entry = await history.look_up(client, job.request_id)
        except NoResponse as exc:
            warn(
                f"Expired rows could not be looked up in the account's history ({exc}). They stay as they are: "
                "run the same command again later, before you pay for them again."
            )
            return
        if entry is not None:
            await ledger.run(partial(_record_recovered, job=job, entry=entry))


def _record_recovered(store: LedgerStore, job: ExpiredJob, entry: Entry) -> None:
    estimated, named = store.billed(job.job, job.attempts)
    moved = transitions.recalled(entry, job.cost, estimated, named=named)
    if moved is not None:
        event, fields = moved
        store.transition(job.job, event, detail="the history lists it", **fields)
