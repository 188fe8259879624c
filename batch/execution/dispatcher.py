"""Process all jobs of a run: open what they need, own their task group, reconcile what is unknown.

`process_all` is the one function that knows how the parts of a run fit together; each part gets what it needs by its
constructor. `Dispatcher` then works in passes: process every job of the queue; reconcile unknown jobs; process what that
freed; until nothing is left to reconcile. A stop ends the submitting; a signal or --max-duration also bounds the rest by
--grace, and a second signal ends it at once, except for POSTs that have been sent.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import CancelScope, to_thread

from batch.client.client import Client
from batch.core.config import Service
from batch.core.errors import DurationExceeded, FolderError, NoResponse, RunStopped, ServiceError
from batch.core.units import format_usd
from batch.core.visible import visible
from batch.execution.fetch import ImageFetcher
from batch.execution.pipeline import JobPipeline
from batch.execution.progress import Progress, ProgressTracker
from batch.execution.reconcile import Reconciler
from batch.execution.shutdown import StopController
from batch.execution.submit import Submitter
from batch.execution.transitions import Recorder
from batch.execution.upload import Uploader
from batch.execution.upload_links import LinkUploader
from batch.ledger import totals
from batch.ledger.async_ledger import open_async_ledger
from batch.ledger.prices import PriceSource
from batch.ledger.states import IN_FLIGHT
from batch.ledger.store import JOBS_A_PAGE, Part, Position
from batch.output.other_formats import OtherFormats
from batch.output.previous import PreviousVersions
from batch.output.sheet import SheetRefresher
from batch.pacing.limiter import MOST, Concurrency, Limiter, RateGate
from batch.pacing.observations import Observations
from batch.pacing.poll_schedule import PollSchedules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    from batch.core.config import RunSettings
    from batch.core.models import Task
    from batch.execution.transitions import Budget
    from batch.ledger.ledger import Ledger
    from batch.ledger.store import LedgerStore
    from batch.output.folder import OutputFolder

T = TypeVar("T")

MOST_NEARBY = 16
"""In flight at the local server by itself: more would only wait in its queue."""

SAVE_OBSERVATIONS_S = 60
"""What was learned is written down this often, and at the end: a killed run loses a minute of it."""

FEWEST_FOR_SHARE = 20
"""Ended jobs before --max-failures P% is judged."""


@dataclass
class RunStats:
    """What a run counts for its row in the ledger; `unsettled` is why unknown rows could not be reconciled."""

    status_calls: int = 0
    http_429: int = 0
    rows_saved: int = 0
    unsettled: str | None = None


@dataclass
class JobQueue:
    """The jobs of one pass, each once, in the order in which they are processed.

    First `settled`, jobs that were unknown before the pass, as far as they are in flight now; then what the ledger has
    after `position`; last `remake`, saved jobs that a person pays for again.
    """

    position: Position = field(default_factory=Position)
    settled: Sequence[int] = ()
    remake: Sequence[int] = ()

    def page(self, store: LedgerStore) -> list[Task]:
        """Return the next jobs; an empty list when there are no more."""
        if self.settled:
            jobs, self.settled = self.settled, ()
            in_flight = [task for task in store.tasks(jobs) if task.state in IN_FLIGHT]
            if in_flight:
                return in_flight
        found, self.position = store.next_jobs(self.position)
        if not found:
            again, self.remake = self.remake[:JOBS_A_PAGE], self.remake[JOBS_A_PAGE:]
            found = store.tasks(again, again=True)
        return found


@dataclass(frozen=True, slots=True)
class RunContext:
    """What one run works with, from its plan to its reports.

    `service` None is the local one. `on_progress` gets every progress, `warn` what a person should know. `thread` has one
    worker, and ends its step before the ledger is closed, even where a closing event loop cancels every task.
    """

    folder: OutputFolder
    ledger: Ledger
    settings: RunSettings
    service: Service | None
    on_progress: Callable[[Progress], None]
    warn: Callable[[str], None]
    thread: Executor
    stop: StopController = field(default_factory=StopController)
    stats: RunStats = field(default_factory=RunStats)

    async def in_thread(self, step: Callable[[], T]) -> T:
        """Run a blocking step in the run's thread; a cancellation waits for its end."""
        with CancelScope(shield=True):
            ended = await asyncio.get_running_loop().run_in_executor(self.thread, step)
        return ended  # noqa: RET504  to mypy a scope may swallow what leaves it


@dataclass(frozen=True, slots=True)
class Workload:
    """The work of a run: jobs to process, `to_send` of them to be paid for, and unknown ones to reconcile.

    `price_source` is where the budget's price is known from, `resumed` the value of what was done before, in micro-dollars; `warnings` are what a person should know before
    anything is sent; `remake` are saved jobs that are paid for again.
    """

    jobs: int
    to_send: int
    unknown: int
    budget: Budget
    price_source: PriceSource
    resumed: int
    warnings: tuple[str, ...] = ()
    remake: Collection[int] = ()


async def process_all(run: RunContext, work: Workload) -> None:
    """Open what the jobs of a run need, process all of them, and close it again.

    Raises FolderError when the folder fails; it names what is paid and whose image is not in the folder yet.
    """
    settings, stop, clock = run.settings, run.stop, run.ledger.clock
    paid: dict[int, Task] = {}
    try:
        async with AsyncExitStack() as stack:
            service = await stack.enter_async_context(local_service()) if run.service is None else run.service
            before = Observations.from_json(run.ledger.observations())
            gate = RateGate(settings.rate, before.account_limits(clock()), service.timeouts)
            polls = PollSchedules(before.times, service.poll_limits)
            concurrency = Concurrency(
                settings.concurrency or (MOST_NEARBY if service.local else MOST),
                gate,
                polls,
                auto=settings.concurrency is None,
                start=before.in_flight,
            )
            client = await stack.enter_async_context(
                Client(service, pace=Limiter(concurrency, gate), polls=polls, clock=clock)
            )
            spent, accepted = totals.spent_and_accepted(run.ledger)
            tracker = ProgressTracker(
                run.on_progress,
                Progress(
                    total=work.jobs + work.unknown,
                    unknown=work.unknown,
                    price=work.budget.price,
                    resumed=work.resumed,
                    accepted=accepted,
                    spent_before=spent,
                    simulated=run.service is None,
                    expected=before.forecast(work.to_send, settings, clock()),
                ),
                partial(_stop_at_max_failures, settings, stop),
            )
            tracker.update()
            ledger = await stack.enter_async_context(open_async_ledger(run.ledger))
            recorder = Recorder(ledger, work.budget, tracker)
            image_store = run.folder.image_store
            fetcher = ImageFetcher(
                client,
                ledger,
                PreviousVersions(image_store),
                OtherFormats(image_store),
                tracker,
                run.warn,
                stop.request_stop,
            )
            uploader = Uploader(client, ledger)
            which = settings.reading.upload_links
            links = None if which is None else LinkUploader(uploader, which)
            submitter = Submitter(
                recorder, client, uploader, stop, settings.retries, fetcher.backpressure_s, links
            )
            pipeline = JobPipeline(
                recorder,
                client,
                submitter,
                fetcher,
                stop,
                settings.job_timeout_s,
                remake=work.remake,
                paid_in_flight=paid,
            )
            reconciler = Reconciler(
                recorder, client, stop, run.warn, settings.settle_s, settings.retries, clock()
            )
            await Dispatcher(run, pipeline, reconciler, before).process(work)
    except ExceptionGroup as group:
        folder, others = group.split(FolderError)
        if folder is None or others is not None:
            raise
        raise _as_one(folder, paid.values()) from group


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Processes the jobs of one run; `before` is what earlier runs of the folder learned about the service."""

    run: RunContext
    pipeline: JobPipeline
    reconciler: Reconciler
    before: Observations

    async def process(self, work: Workload) -> None:
        """Process every job and reconcile the unknown ones, in passes until nothing is left to reconcile."""
        run, stop, recorder, client = self.run, self.run.stop, self.pipeline.recorder, self.pipeline.client
        refresher = SheetRefresher(run.folder, run.warn)
        try:
            async with anyio.create_task_group() as tasks:
                if run.settings.max_duration_s is not None:
                    tasks.start_soon(self._stop_after, run.settings.max_duration_s)
                tasks.start_soon(self._tick)
                tasks.start_soon(refresher.refresh, recorder.tracker.first_saved)
                with CancelScope(deadline=stop.ends_at) as stop.work:
                    if work.to_send:
                        with stop.cancel_on_stop():
                            await self._check_balance(work)
                    jobs = JobQueue(remake=list(work.remake))
                    while True:
                        await _dispatch_pass(self.pipeline, jobs)
                        if not (await recorder.ledger.run(lambda store: store.outstanding())).unknown:
                            run.stats.unsettled = None
                            break
                        settled = await self.reconciler.reconcile_some()
                        run.stats.unsettled = self.reconciler.unsettled
                        if not settled:
                            break
                        jobs = JobQueue(Position(Part.PLANNED), settled=settled)
                tasks.cancel_scope.cancel()
            await self._save_observations()
            for note in recorder.tracker.notes():
                run.warn(note)
        finally:
            run.stats.status_calls = client.status_calls
            run.stats.http_429 = client.pace.gate.throttles
            run.stats.rows_saved = recorder.tracker.progress.saved

    async def _tick(self) -> None:
        """Report progress every second, and save what was learned every SAVE_OBSERVATIONS_S."""
        recorder = self.pipeline.recorder
        for second in itertools.count(1):
            await anyio.sleep(1)
            recorder.tracker.update()
            if second % SAVE_OBSERVATIONS_S == 0:
                await self._save_observations()

    async def _save_observations(self) -> None:
        """Write down what was learned about the service so far."""
        client, before = self.pipeline.client, self.before
        now = client.clock()
        gate = client.pace.gate
        met = gate.throttles > 0 and gate.limit is not None
        learned = Observations(
            times=client.polls.times,
            limit=gate.limit if met else before.limit,
            limit_at=now if met else before.limit_at,
            gets_at=now if gate.get_throttles else before.gets_at,
            in_flight=client.pace.concurrency.grown,
        )
        text = learned.to_json()  # here, not on the ledger's thread: the jobs go on learning
        await self.pipeline.recorder.ledger.run(lambda store: store.save_observations(text))

    async def _stop_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.run.stop.request_stop(
            DurationExceeded(f"--max-duration {seconds:.0f} s is over. Run the same command to continue.")
        )
        self.run.stop.drain_within(self.run.settings.grace_s)

    async def _check_balance(self, work: Workload) -> None:
        """Read the balance before the first submit: stop if it does not cover one job, warn if not the whole plan.

        The list price stops nothing: an account may pay less, or pay otherwise than from its balance.
        """
        price = self.pipeline.recorder.budget.price
        listed = work.price_source is PriceSource.LISTED
        try:
            balance = (await self.pipeline.client.credits()).total
        except (NoResponse, ServiceError, RunStopped) as exc:
            self.run.warn(f"The balance could not be read ({exc}); the run goes on.")
            return
        if balance < price:
            left = f"The account has {format_usd(balance)} left, one job costs {format_usd(price, 4)}"
            if listed:
                self.run.warn(f"{left} by {work.price_source}.")
            else:
                self.run.stop.request_stop(f"{left}. Add credits, then run the same command.")
        elif balance < price * work.to_send:
            self.run.warn(
                f"The account has {format_usd(balance)}, this run may cost {format_usd(price * work.to_send)}: "
                "it will stop when the credits run out, and continue with the same command."
            )


async def _dispatch_pass(pipeline: JobPipeline, jobs: JobQueue) -> None:
    """Process every job of the queue, each in a task of its own, started when it may be prepared."""
    pace, ledger = pipeline.client.pace, pipeline.recorder.ledger
    async with anyio.create_task_group() as tasks:
        while page := await ledger.run(jobs.page):
            pipeline.first.ahead.update(task.job for task in page if task.state in IN_FLIGHT)
            for task in page:
                await pace.admitted.acquire_on_behalf_of(task.job)
                if pipeline.stop.reason and task.request_id is None:
                    pace.admitted.release_on_behalf_of(task.job)
                    return
                tasks.start_soon(pipeline.process, task)


def _stop_at_max_failures(settings: RunSettings, stop: StopController, progress: Progress) -> None:
    """Stop the run when too many rows have failed."""
    limit, share = settings.max_failures, settings.max_failure_share
    if limit is not None and progress.failed >= limit:
        stop.request_stop(
            f"--max-failures {limit}: {progress.failed} rows have failed. Fix them, then continue."
        )
    if share is not None and progress.ended >= FEWEST_FOR_SHARE and progress.failed >= share * progress.ended:
        stop.request_stop(
            f"--max-failures {share:.0%}: {progress.failed} of {progress.ended} rows have failed. "
            "Fix them, then continue."
        )


@asynccontextmanager
async def local_service() -> AsyncIterator[Service]:
    """Start the local server in a process of its own and stop it afterwards."""
    from batch.server.embed import LocalError, LocalProcess  # noqa: PLC0415  only --local needs it

    try:
        process = await to_thread.run_sync(LocalProcess)
    except LocalError as exc:
        raise FolderError(f"--local: {exc}; it says why above. Nothing was sent.") from exc
    try:
        url = process.base_url
        yield Service(url, url, url, api_key=process.api_key, local=True)
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(process.close)


def _as_one(group: BaseExceptionGroup[FolderError], paid: Iterable[Task]) -> FolderError:
    """Return one error with the messages of all: each may name a request that was accepted and could not be recorded.

    It also names the jobs in flight: with the folder, their request ids may be gone.
    """
    # A line each, whatever an id contains.
    lines = dict.fromkeys(visible(str(error)) for error in _leaves(group))
    in_flight = [visible(f"{task.name}: {task.request_id}{_price(task)}") for task in paid]
    if in_flight:
        lines["Paid for and not in the folder yet, by request id:"] = None
        lines |= dict.fromkeys(in_flight)
    return FolderError("\n".join(lines))


def _price(task: Task) -> str:
    return "" if task.estimate is None else f", about {format_usd(task.estimate, 4)}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
