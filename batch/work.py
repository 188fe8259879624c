"""The work of a run: opens what the journey needs, owns the task group, settles what is unknown.

Rounds: carry every job of the feed; then settle what is unknown; carry what that set free; until nothing is left to
settle. A halt ends the submitting; a signal or --max-duration also bounds the rest by --grace, and a second signal ends
it at once, but for POSTs that have left.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from anyio import CancelScope, to_thread

from batch.arrival import Arrival
from batch.book import Book
from batch.config import Service
from batch.control import Control
from batch.errors import FolderError, NoAnswer, RunStopped, ServiceError, TimeIsUp
from batch.intake import PictureError, load_picture
from batch.journey import Journey
from batch.ledger import feed
from batch.ledger.desk import open_desk
from batch.remote.client import Client
from batch.remote.upload import Uploads
from batch.sending import Sending
from batch.settle import Settling
from batch.tally import Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from pathlib import Path

    from batch.budget import Budget
    from batch.config import RunSettings
    from batch.halt import Halt
    from batch.ledger.desk import Desk
    from batch.ledger.store import Ledger
    from batch.model import Task
    from batch.refresh import Refresh
    from batch.tally import Progress

REMEMBER_S = 60.0
"""What was learned is written down this often, and at the end: a killed run loses a minute of it."""

FEWEST_FOR_SHARE = 20
"""Ended jobs before --max-failures P% is judged."""


@dataclass
class Figures:
    """What a run counts for its line in the ledger; `trouble` is why unknown rows could not be settled."""

    status_calls: int = 0
    http_429: int = 0
    rows_saved: int = 0
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """One run's work.

    `hear` gets every progress, `warn` what a person should know.
    """

    ledger: Ledger
    folder: Path
    settings: RunSettings
    budget: Budget
    resumed: int
    halt: Halt
    figures: Figures
    hear: Callable[[Progress], None]
    warn: Callable[[str], None]
    refresh: Refresh

    async def carry_all(self, service: Service | None, jobs: int, to_send: int, *, unknown: int) -> None:
        """Carry `jobs` jobs, `to_send` of them to be paid for, and settle `unknown` ones of before.

        Raises FolderError when the folder fails; it names what is paid and no longer noted anywhere.
        """
        paid: dict[int, Task] = {}
        try:
            await self._carry_all(service, jobs, to_send, unknown, paid)
        except ExceptionGroup as group:
            folder, others = group.split(FolderError)
            if folder is None or others is not None:
                raise
            raise _as_one(folder, paid.values()) from group

    async def _carry_all(
        self, service: Service | None, jobs: int, to_send: int, unknown: int, paid: dict[int, Task]
    ) -> None:
        tally = Tally(self._listen)
        async with AsyncExitStack() as stack:
            remote = await stack.enter_async_context(local_service()) if service is None else service
            control = Control(self.settings, remote, self.ledger)
            tally.begin(
                jobs,
                unknown=unknown,
                price=self.budget.price,
                resumed=self.resumed,
                simulated=service is None,
                expected=control.expected(to_send, self.ledger.clock()),
            )
            client = await stack.enter_async_context(
                Client(remote, pace=control.pace, polls=control.polls, clock=self.ledger.clock)
            )
            desk = await stack.enter_async_context(open_desk(self.ledger))
            book = Book(desk, self.budget, tally)
            arrival = Arrival(client, desk, self.folder, tally)
            sending = Sending(
                book=book,
                client=client,
                uploads=Uploads(client, desk, load_picture),
                halt=self.halt,
                drag_s=arrival.drag_s,
                retries=self.settings.retries,
                bad_input=PictureError,
            )
            journey = Journey(
                book=book,
                client=client,
                sending=sending,
                arrival=arrival,
                halt=self.halt,
                job_timeout_s=self.settings.job_timeout_s,
                paid=paid,
            )
            try:
                await self._within_bounds(journey, control, client, to_send)
                await desk.do(control.remember)
                for told in (tally.told_back, tally.told_away):
                    if told:
                        self.warn(told)
            finally:
                self.figures.status_calls, self.figures.http_429 = (
                    client.status_calls,
                    control.pace.gate.throttles,
                )
                self.figures.rows_saved = tally.progress.saved

    async def _within_bounds(self, journey: Journey, control: Control, client: Client, to_send: int) -> None:
        async with anyio.create_task_group() as beside:
            with self.halt.working():
                if self.settings.max_duration_s is not None:
                    beside.start_soon(self._time_out, self.settings.max_duration_s)
                beside.start_soon(_tick, journey.book.tally)
                beside.start_soon(_remember, control, journey.book.desk)
                beside.start_soon(self.refresh.go_on)
                if to_send:
                    with self.halt.until_asked():
                        await self._check_balance(client, to_send)
                await self._rounds(journey, client)
            beside.cancel_scope.cancel()

    async def _rounds(self, journey: Journey, client: Client) -> None:
        settling = Settling(
            journey.book,
            client,
            self.halt,
            say=self.warn,
            settle_s=self.settings.settle_s,
            retries=self.settings.retries,
        )
        pages = feed.Feed()
        while True:
            await _carry_round(journey, pages)
            settled = await settling.until_some()
            self.figures.trouble = settling.trouble
            if not settled:
                return
            pages = feed.Feed(settled)

    async def _check_balance(self, client: Client, to_send: int) -> None:
        """Read the balance before the first submit: stop when it cannot cover one job, warn when not the plan."""
        price = self.budget.price
        try:
            balance = (await client.credits()).total
        except (NoAnswer, ServiceError, RunStopped) as exc:
            self.warn(f"The balance could not be read ({exc}); going on.")
            return
        if price is not None and balance < price:
            self.halt.because(
                f"The account has ${balance / 1_000_000:.2f} left, one job costs ${price / 1_000_000:.4f}. "
                "Add credits, then run the same command."
            )
        elif price is not None and balance < price * to_send:
            self.warn(
                f"The account has ${balance / 1_000_000:.2f}, this run may cost ${price * to_send / 1_000_000:.2f}: "
                "it will stop when the credits run out, and continue with the same command."
            )

    async def _time_out(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.halt.because(
            TimeIsUp(f"--max-duration {seconds:.0f} s is over. Run the same command to continue.")
        )
        self.halt.end_within(self.settings.grace_s)

    def _listen(self, progress: Progress) -> None:
        limit, share = self.settings.max_failures, self.settings.max_failure_share
        if limit is not None and progress.failed >= limit:
            self.halt.because(
                f"--max-failures {limit}: {progress.failed} rows have failed. Mend them, then continue."
            )
        if (
            share is not None
            and progress.ended >= FEWEST_FOR_SHARE
            and progress.failed >= share * progress.ended
        ):
            self.halt.because(
                f"--max-failures {share:.0%}: {progress.failed} of {progress.ended} rows have failed. "
                "Mend them, then continue."
            )
        self.refresh.hear(progress)
        self.hear(progress)


async def _tick(tally: Tally) -> None:
    while True:
        await anyio.sleep(1)
        tally.tick()


async def _remember(control: Control, desk: Desk) -> None:
    while True:
        await anyio.sleep(REMEMBER_S)
        await desk.do(control.remember)


async def _carry_round(journey: Journey, pages: feed.Feed) -> None:
    """Carry every job of the feed, each in a task of its own, begun when it may be prepared."""
    pace = journey.client.pace
    async with anyio.create_task_group() as tasks:
        while page := await journey.book.desk.do(pages.page):
            for task in page:
                await pace.line_up(task.job)
                if journey.halt.reason and task.request_id is None:
                    pace.leave_line(task.job)
                    return
                tasks.start_soon(_carry, journey, task)


async def _carry(journey: Journey, task: Task) -> None:
    try:
        await journey.carry(task)
    finally:
        journey.client.pace.leave_line(task.job)


@asynccontextmanager
async def local_service() -> AsyncIterator[Service]:
    """Start the local server in a process of its own and stop it afterwards."""
    from batch.local import LocalProcess  # noqa: PLC0415  only --local needs it

    process = await to_thread.run_sync(LocalProcess)
    try:
        url = process.base_url
        yield Service(url, url, url, api_key=process.api_key, local=True)
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(process.close)


def _as_one(group: BaseExceptionGroup[FolderError], paid: Iterable[Task]) -> FolderError:
    """Return one error that says everything: each may name a request that was accepted and could not be noted.

    So does this one of jobs that were under way: with the folder their request ids may be gone.
    """
    said = dict.fromkeys(str(error) for error in _leaves(group))
    under_way = [f"{task.name}: {task.request_id}{_price(task)}" for task in paid]
    if under_way:
        said["Paid for and not in the folder yet, by request id:"] = None
        said |= dict.fromkeys(under_way)
    return FolderError("\n".join(said))


def _price(task: Task) -> str:
    return "" if task.estimate is None else f", about ${task.estimate / 1_000_000:.4f}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
