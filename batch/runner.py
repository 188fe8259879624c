"""A run: hold the folder, read the manifest, plan against the ledger, carry every job, write the report.

`arun` is the whole story; `run` is the same for a caller without an event loop. `plan` stops before anything is sent,
`retry` merges rows of a file into the folder they came from. This module owns the task group; it prints nothing.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import CancelScope
from anyio.from_thread import start_blocking_portal

from batch import ending
from batch.apart import apart
from batch.budget import Budget
from batch.config import LOCAL_SERVICE
from batch.errors import UsageError
from batch.folder import OutputFolder
from batch.halt import Halt, hearing_signals
from batch.ledger import bill, feed
from batch.ledger.store import Ledger
from batch.plan import Draft, draft
from batch.refresh import Refresh
from batch.results import report
from batch.results.sheet import THUMBS_S, THUMBS_STOPPED_S
from batch.times import steady_clock
from batch.work import Figures, Work

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from batch.config import RunSettings, Service
    from batch.ledger.compare import Plan
    from batch.model import Problem
    from batch.tally import Progress

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended: its exit code and the folder in figures, as in summary.json.

    `stopped` is why it stopped early, if it did; `unsettled` why unknown rows could not be settled.
    """

    exit_code: int
    summary: dict[str, Any]
    plan: Plan
    warnings: tuple[Problem, ...] = ()
    stopped: str | None = None
    unsettled: str | None = None


def _refuse(plan: Plan) -> bool:
    """Answer for a caller who was not asked: changed rows are not paid for again."""
    return not plan.changed


@dataclass(frozen=True, slots=True)
class Listener:
    """What a run tells while it goes on, and the one thing it asks.

    `begun` hears the run's id; `planned` the plan and the warnings before anything is sent; `confirm` is asked whether
    changed rows may be paid for again, unless the settings say yes; `progress` hears every step, `warn` what a person
    should know.
    """

    begun: Callable[[str], None] = lambda run_id: None  # noqa: ARG005
    planned: Callable[[Plan, tuple[Problem, ...]], None] = lambda plan, warnings: None  # noqa: ARG005
    confirm: Callable[[Plan], bool] = _refuse
    progress: Callable[[Progress], None] = lambda progress: None  # noqa: ARG005
    warn: Callable[[str], None] = lambda message: None  # noqa: ARG005


async def arun(
    manifest: Path | str,
    settings: RunSettings,
    service: Service | None = None,
    *,
    merge: bool | None = None,
    listener: Listener | None = None,
    signals: bool = False,
) -> Finished:
    """Texture every row of a manifest; continue where an earlier run of the same folder ended.

    `service` None means the local one. `merge` None means: merge when the manifest is this folder's own report or
    failures. With `signals`, which only the main thread can hear, SIGINT and SIGTERM end the run in two breaths. Raises
    UsageError (ManifestError with every problem), FolderError, FolderBusy; a run that was stopped by the service or has
    rows left ends normally, with its exit code. However it is cancelled, it first comes to an orderly end.
    """
    listener = listener or Listener()
    return await apart(
        partial(_arun, Path(manifest), settings, service, merge=merge, listener=listener, signals=signals)
    )


async def _in(thread: Executor, step: Callable[[], T]) -> T:
    """Take a step in the run's thread; a cancellation waits for its end."""
    with CancelScope(shield=True):
        ended = await asyncio.get_running_loop().run_in_executor(thread, step)
    return ended  # noqa: RET504  to mypy a scope may swallow what leaves it


async def _arun(
    manifest: Path,
    settings: RunSettings,
    service: Service | None,
    *,
    merge: bool | None,
    listener: Listener,
    signals: bool,
) -> Finished:
    """Tell the whole story of a run; only anyio's own cancellation reaches it."""
    folder = OutputFolder(Path(settings.out))
    settings.reading.check_encoding(manifest)
    with ExitStack() as stack:
        stack.enter_context(folder.hold())
        identity = service.identity if service else LOCAL_SERVICE
        ledger = stack.enter_context(
            Ledger.create_or_open(folder.ledger, service=identity, clock=steady_clock())
        )
        thread = stack.enter_context(ThreadPoolExecutor(1))  # ends its step before the ledger is closed
        halt, figures = Halt(), Figures()
        prepare = partial(_prepare, manifest, settings, ledger, folder, halt, merge=merge)
        async with hearing_signals(halt, 0, lambda _: None) if signals else nullcontext():
            drafted = await _in(thread, prepare)
        plan, warnings = drafted.plan, tuple(drafted.found.warnings)
        listener.begun(str(ledger.run_id))
        listener.planned(plan, warnings)
        if plan.changed and not settings.yes and not listener.confirm(plan):
            raise UsageError(_changed(plan))
        async with hearing_signals(halt, settings.grace_s, listener.warn) if signals else nullcontext():
            begun = await _in(thread, partial(_begin, ledger, drafted.adopt, settings))
            work = Work(
                ledger,
                folder.path,
                settings,
                begun.budget,
                begun.resumed,
                halt,
                figures,
                listener.progress,
                listener.warn,
                Refresh(folder, listener.warn),
            )
            end = partial(ending.end, ledger, folder, halt, figures)
            try:
                if begun.jobs or begun.unknown:
                    await work.carry_all(service, begun.jobs, plan.to_send, unknown=begun.unknown)
            except BaseException:
                with suppress(Exception):  # the first error says what is wrong
                    await _in(thread, partial(end, thumbs_s=THUMBS_STOPPED_S))
                raise
            thumbs_s = THUMBS_STOPPED_S if halt.reason else THUMBS_S
            code = await _in(thread, partial(end, thumbs_s=thumbs_s))
        summary = report.summary(ledger, ledger.clock)
    stopped = str(halt.reason) if halt.reason else None
    return Finished(code, summary, plan, warnings, stopped, figures.trouble)


def run(
    manifest: Path | str,
    settings: RunSettings,
    service: Service | None = None,
    *,
    merge: bool | None = None,
    listener: Listener | None = None,
    signals: bool = False,
) -> Finished:
    """Do what `arun` does, from code without an event loop, or from a notebook, which has one already.

    In a notebook the run has a thread of its own. An interrupt there cancels the run, waits for its orderly end and is
    raised again.
    """
    story = partial(arun, manifest, settings, service, merge=merge, listener=listener, signals=signals)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(story)
    with start_blocking_portal() as portal:  # what leaves this block cancels the run, then waits for its end
        return portal.call(story)


def _prepare(
    manifest: Path,
    settings: RunSettings,
    ledger: Ledger,
    folder: OutputFolder,
    halt: Halt,
    *,
    merge: bool | None,
) -> Draft:
    """Read, check and compare; settle what a dead run left behind. Return the plan and how to adopt it.

    Raises Interrupted when a signal came meanwhile.
    """
    if settings.max_cost is not None and settings.price is None and bill.price(ledger) is None:
        raise UsageError(
            "--max-cost: this folder does not know the price of a job yet. Give it with --price USD."
        )
    ledger.run_id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(ledger.clock()))}-{secrets.token_hex(3)}"
    with ledger.atomic():
        feed.recover(ledger)
    drafted = draft(manifest, settings, ledger, folder, merge=merge, check=halt.raise_if_asked)
    halt.raise_if_asked()
    return drafted


@dataclass(frozen=True, slots=True)
class _Begun:
    """What there is to do: jobs to carry, unknown ones to settle, and the money for it."""

    jobs: int
    unknown: int
    budget: Budget
    resumed: int


def _begin(ledger: Ledger, adopt: Callable[[], None], settings: RunSettings) -> _Begun:
    """Adopt the manifest and open the run's line in the ledger; the cap of a killed run goes on."""
    price = settings.price if settings.price is not None else bill.price(ledger)
    with ledger.atomic() as connection:
        adopt()
        feed.choose_pilot(ledger, settings.pilot)
        if price is not None:
            feed.estimate_open(ledger, price)
        cap_from = bill.cap_from(ledger)
        budget = Budget(settings.max_cost, price, bill.committed(ledger, cap_from, price or 0))
        already_done = bill.already_done(ledger)
        connection.execute(
            "INSERT INTO runs (run_id, pid, started_at, max_cost, cap_from, already_done) VALUES (?,?,?,?,?,?)",
            (
                ledger.run_id,
                os.getpid(),
                ledger.clock(),
                settings.max_cost,
                cap_from,
                already_done,
            ),
        )
        return _Begun(feed.open_jobs(ledger), feed.unknown_jobs(ledger), budget, already_done)


def _changed(plan: Plan) -> str:
    rows = ", ".join(f"{row_id} (row {number})" for number, row_id in plan.changed[:10])
    more = f" and {len(plan.changed) - 10} more" if len(plan.changed) > 10 else ""
    price = (
        "at an unknown price"
        if plan.price is None
        else f"for about ${len(plan.changed) * plan.price / bill.MICRO:.2f}"
    )
    return (
        f"{len(plan.changed)} rows were paid for before and have changed since: {rows}{more}. "
        f"Sending them costs money again, {price}. Add --yes to do it."
    )
