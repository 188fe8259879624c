"""Decide about unknown rows: `texbatch resolve`. Changes states only; the next run sends.

Asking the history (`reconcile`) costs nothing and is proof; resubmitting may pay a second time, abandoning may leave
something paid behind, attaching trusts a person about a request id.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio

from batch.client.client import Client
from batch.core.config import RETRIES
from batch.core.errors import FolderError, UsageError
from batch.core.units import named, steady_clock
from batch.execution import account_check
from batch.execution.progress import ProgressTracker
from batch.execution.reconcile import Reconciler, expired_jobs, recover_expired
from batch.execution.shutdown import StopController
from batch.execution.transitions import Budget, Recorder
from batch.ledger import runs
from batch.ledger.accounts import bind
from batch.ledger.async_ledger import open_async_ledger
from batch.ledger.ledger import Ledger
from batch.ledger.prices import job_price
from batch.ledger.states import Event
from batch.ledger.totals import unknown_jobs
from batch.output.folder import OutputFolder
from batch.output.images import check_images
from batch.output.reports import write_reports
from batch.output.sheet import THUMBS_S, THUMBS_STOPPED_S, write_sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batch.core.config import Service
    from batch.ledger.totals import UnknownJob


@dataclass(frozen=True, slots=True)
class Resolution:
    """An open folder whose unknown rows are being decided; made by `open_resolution`."""

    _ledger: Ledger

    @property
    def unknown(self) -> list[UnknownJob]:
        """What is unknown now."""
        return unknown_jobs(self._ledger)

    def chosen(self, ids: Sequence[str], *, every: bool) -> list[UnknownJob]:
        """Return the unknown jobs of these rows, or every one; raises UsageError for a row that is not unknown.

        A candidate has the id of its row too, where that is the row's only unknown one.
        """
        jobs = self.unknown
        found = {wanted: _called(wanted, jobs) for wanted in ids}
        not_unknown = [wanted for wanted, of in found.items() if not of]
        if not_unknown:
            there = [repr(name) for job in jobs for name in job.ids]
            known = f"Unknown are {named(there)}." if there else "None is unknown."
            raise UsageError(f"not unknown rows of this folder: {', '.join(not_unknown)}. {known}")
        for wanted, of in found.items():
            if len(of) > 1:
                names = named([repr(name) for job in of for name in job.ids])
                raise UsageError(f"{wanted!r} has several unknown candidates: {names}. Name them like this.")
        chosen = {job.job for of in found.values() for job in of}
        return [job for job in jobs if every or job.job in chosen]

    def decide(self, jobs: Sequence[UnknownJob], event: Event) -> None:
        """Resubmit or abandon these jobs: the next run sends them again, or never."""
        with self._ledger.atomic():
            for job in jobs:
                self._ledger.transition(job.job, event, detail="decided by a person")

    def attach(self, requests: Mapping[str, str]) -> None:
        """Give rows the request ids a person found for them; raises UsageError when one is taken."""
        unknown = self.unknown
        jobs = self.chosen(list(requests), every=False)
        with self._ledger.atomic():
            for row_id, request_id in requests.items():
                if self._ledger.holds(request_id):
                    raise UsageError(
                        f"--attach {row_id}={request_id}: another row of this folder holds that request."
                    )
                (job,) = _called(row_id, unknown)
                if job not in jobs:
                    raise UsageError(
                        f"--attach {row_id}={request_id}: another row of the same job has been given a request."
                    )
                jobs.remove(job)
                self._ledger.transition(
                    job.job, Event.ATTACH, request_id=request_id, detail="attached by a person"
                )

    def reconcile(
        self, service: Service, settle_s: float, warn: Callable[[str], None], *, same_account: bool = False
    ) -> str | None:
        """Ask the history about every unknown row, and about expired ones; return why some stayed unknown, if any did.

        For code without an event loop. `warn` gets what is awaited and how long, and why expired rows could not be looked
        up. Raises what `account_check.admit` does: another account's history would seem to prove that nothing ever arrived.
        """
        return anyio.run(partial(self._reconcile, service, settle_s, warn, same_account=same_account))

    async def _reconcile(
        self, service: Service, settle_s: float, warn: Callable[[str], None], *, same_account: bool
    ) -> str | None:
        if self._ledger.outstanding().unknown:
            account = await account_check.admit(self._ledger, service, same_account=same_account)
            with self._ledger.atomic():
                bind(self._ledger, account)
        elif not expired_jobs(self._ledger):
            return None
        async with (
            Client(service, clock=self._ledger.clock) as client,
            open_async_ledger(self._ledger) as ledger,
        ):
            budget = Budget(None, job_price(self._ledger).micro)
            recorder = Recorder(ledger, budget, ProgressTracker(lambda _: None))
            reconciler = Reconciler(
                recorder, client, StopController(), warn, settle_s, RETRIES, began=client.clock()
            )
            while await reconciler.reconcile_some():
                pass
            await recover_expired(client, ledger, warn)
        return reconciler.unsettled if self._ledger.outstanding().unknown else None


def _called(name: str, jobs: Sequence[UnknownJob]) -> list[UnknownJob]:
    """Return the job with this name, else the candidates of the row with this id."""
    return [job for job in jobs if name in job.ids] or [job for job in jobs if name in job.candidate_of]


@contextmanager
def open_resolution(folder: Path, service: Service | None) -> Iterator[Resolution]:
    """Hold the folder, let its unknown rows be decided, and write the reports again, even when a decision raises.

    `service` is the one whose history will be asked, None where none is. Raises FolderLocked while a run is going on,
    FolderError for other reasons, such as a folder of another service.
    """
    output = OutputFolder(folder)
    Ledger.read(output.ledger).close()  # raises when the folder does not exist
    with output.hold(), Ledger.create_or_open(output.ledger, clock=steady_clock()) as ledger:
        if service is not None:
            account_check.check_service(ledger, service)
        with ledger.atomic():
            ledger.recover()
            runs.suspect(ledger, job_price(ledger).micro)
        if ledger.loss is not None:
            ledger.checkpoint()
        try:
            yield Resolution(ledger)
        except BaseException:
            with suppress(FolderError):  # the first error says what is wrong
                _write(ledger, output, THUMBS_STOPPED_S)
            raise
        _write(ledger, output, THUMBS_S)


def _write(ledger: Ledger, output: OutputFolder, thumbs_s: float) -> None:
    check_images(ledger, output.path)
    write_reports(ledger, output, partial(write_sheet, ledger, output, thumbs_s=thumbs_s))
