"""Rows nobody knows about, and a person's word on them: `texbatch resolve`. Changes states only; the next run sends.

Asking the history (`reconcile`) costs nothing and proves what it says; resubmitting may pay a second time, abandoning
may leave something paid behind, attaching takes a person's word for a request id.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from batch.book import Book
from batch.budget import Budget
from batch.config import RETRIES
from batch.errors import FolderError, UsageError
from batch.folder import OutputFolder
from batch.halt import Halt
from batch.ledger import bill, feed
from batch.ledger.desk import open_desk
from batch.ledger.states import OPEN, Event, State
from batch.ledger.store import Ledger
from batch.remote.client import Client
from batch.results import report
from batch.results.sheet import THUMBS_S, THUMBS_STOPPED_S, write_sheet
from batch.settle import Settling
from batch.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batch.config import Service


@dataclass(frozen=True, slots=True)
class UnknownJob:
    """A job that may have been accepted: the ids of its rows, when it was sent (epoch seconds), micro-dollars at risk."""

    job: int
    ids: tuple[str, ...]
    submitted_at: float | None
    at_risk: int | None
    why: str


def unknown(ledger: Ledger) -> list[UnknownJob]:
    """List the unknown jobs, oldest first."""
    known = bill.price(ledger)
    found = ledger.connection.execute(
        f"SELECT job, submitted_at, estimate, error FROM jobs WHERE {OPEN} AND state=? ORDER BY submitted_at",
        (State.UNKNOWN,),
    ).fetchall()
    return [
        UnknownJob(
            row["job"],
            tuple(
                name["id"]
                for name in ledger.connection.execute(
                    "SELECT id FROM rows WHERE job=? ORDER BY position", (row["job"],)
                )
            ),
            row["submitted_at"],
            row["estimate"] if row["estimate"] is not None else known,
            row["error"] or "",
        )
        for row in found
    ]


def _silent(_: str) -> None:
    """Say nothing."""


class Resolution:
    """An open folder whose unknown rows are being decided; made by `open_resolution`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @property
    def unknown(self) -> list[UnknownJob]:
        """What is unknown now."""
        return unknown(self._ledger)

    def chosen(self, ids: Sequence[str], *, every: bool) -> list[UnknownJob]:
        """Return the unknown jobs of these rows, or every one; raises UsageError for a row that is not unknown."""
        jobs = self.unknown
        strangers = [wanted for wanted in ids if not any(wanted in job.ids for job in jobs)]
        if strangers:
            raise UsageError(
                f"not unknown rows of this folder: {', '.join(strangers)}. See `texbatch resolve DIR`."
            )
        return jobs if every else [job for job in jobs if set(job.ids) & set(ids)]

    def decide(self, jobs: Sequence[UnknownJob], event: Event) -> None:
        """Resubmit or abandon these jobs: the next run sends them again, or never."""
        with self._ledger.atomic():
            for job in jobs:
                self._ledger.move(job.job, event, detail="decided by a person")

    def attach(self, requests: Mapping[str, str]) -> None:
        """Give rows the request ids a person found for them; raises UsageError when one is taken."""
        jobs = self.chosen(list(requests), every=False)
        with self._ledger.atomic() as connection:
            for row_id, request_id in requests.items():
                taken = connection.execute(
                    "SELECT 1 FROM events WHERE request_id=?", (request_id,)
                ).fetchone()
                if taken:
                    raise UsageError(
                        f"--attach {row_id}={request_id}: another row of this folder holds that request."
                    )
                job = next((job for job in jobs if row_id in job.ids), None)
                if job is None:
                    raise UsageError(
                        f"--attach {row_id}={request_id}: another row of the same job has been given a request."
                    )
                jobs.remove(job)
                self._ledger.move(job.job, Event.ATTACH, request_id=request_id, detail="attached by a person")

    async def reconcile(
        self, service: Service, settle_s: float, say: Callable[[str], None] = _silent
    ) -> str | None:
        """Ask the history about every unknown row; return why some stayed unknown, if any did.

        `say` hears what is waited for and how long.
        """
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client(service))
            desk = await stack.enter_async_context(open_desk(self._ledger))
            settling = Settling(
                Book(desk, Budget(None, None), Tally(lambda _: None)),
                client,
                Halt(),
                say=say,
                settle_s=settle_s,
                retries=RETRIES,
            )
            while await settling.until_some():
                pass
        return settling.trouble if feed.unknown_jobs(self._ledger) else None


@contextmanager
def open_resolution(folder: Path, service: Service | None) -> Iterator[Resolution]:
    """Hold the folder, let its unknown rows be decided, and write the report anew, also when a decision raises.

    `service` None keeps the folder's own binding. Raises FolderBusy while a run is going on, FolderError.
    """
    place = OutputFolder(folder)
    with Ledger.read(place.ledger) as reading:  # raises when there is no folder to resolve
        bound = reading.meta("service") or ""
    identity = service.identity if service else bound
    with place.hold(), Ledger.create_or_open(place.ledger, service=identity) as ledger:
        with ledger.atomic():
            feed.recover(ledger)
        try:
            yield Resolution(ledger)
        except BaseException:
            with suppress(FolderError):  # the first error says what is wrong
                _write(ledger, place, THUMBS_STOPPED_S)
            raise
        _write(ledger, place, THUMBS_S)


def _write(ledger: Ledger, place: OutputFolder, thumbs_s: float) -> None:
    report.write_report(ledger, place)
    report.write_summary(report.summary(ledger, ledger.clock), place)
    write_sheet(ledger, place, thumbs_s=thumbs_s)


def reconcile(
    resolution: Resolution, service: Service, settle_s: float, say: Callable[[str], None] = _silent
) -> str | None:
    """Do what `Resolution.reconcile` does, from code without an event loop."""
    return anyio.run(resolution.reconcile, service, settle_s, say)
