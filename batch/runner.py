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
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import CancelScope, create_memory_object_stream, to_thread

from batch import errors
from batch.config import LOCAL_SERVICE, NAME, Service
from batch.errors import FolderError, RunStopped, UsageError
from batch.folder import OutputFolder
from batch.intake import PictureError, load_picture
from batch.journey import Halt, Journey
from batch.ledger import bill, feed
from batch.ledger.desk import open_desk
from batch.ledger.store import Ledger
from batch.model import Task
from batch.plan import SeenPictures, stage_manifest
from batch.remote.client import Client
from batch.remote.pace import Pace
from batch.remote.upload import Uploads
from batch.results import report
from batch.tally import Progress, Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from batch.config import RunSettings
    from batch.ledger.desk import Desk
    from batch.ledger.stage import Plan
    from batch.model import Problem

AHEAD = 8
"""Jobs whose pictures are decoded and uploaded while every slot is taken."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended: its exit code, the folder in figures (as summary.json), and why it stopped early, if it did."""

    exit_code: int
    summary: dict[str, Any]
    plan: Plan
    warnings: tuple[Problem, ...] = ()
    stopped: str | None = None


def _refuse(plan: Plan) -> bool:
    """Answer for a caller who was not asked: changed rows are not paid for again."""
    return not plan.changed


@dataclass(frozen=True, slots=True)
class Listener:
    """What a run tells while it goes on, and the one thing it asks.

    `planned` hears the plan and the warnings before anything is sent; `confirm` is asked whether changed rows may be
    paid for again, unless the settings say yes; `progress` hears every step.
    """

    planned: Callable[[Plan, tuple[Problem, ...]], None] = lambda plan, warnings: None  # noqa: ARG005
    confirm: Callable[[Plan], bool] = _refuse
    progress: Callable[[Progress], None] = lambda progress: None  # noqa: ARG005


async def arun(
    manifest: Path | str,
    settings: RunSettings,
    service: Service | None = None,
    *,
    merge: bool | None = None,
    listener: Listener | None = None,
) -> Finished:
    """Texture every row of a manifest; continue where an earlier run of the same folder ended.

    `service` None means the local one. `merge` None means: merge when the manifest is this folder's own report or
    failures. Raises UsageError (ManifestError with every problem), FolderError, FolderBusy; a run that was stopped
    by the service or has rows left ends normally, with its exit code.
    """
    listener = listener or Listener()
    manifest, folder = Path(manifest), OutputFolder(Path(settings.out))
    with ExitStack() as stack:
        stack.enter_context(folder.hold())
        identity = service.identity if service else LOCAL_SERVICE
        ledger = stack.enter_context(closing(Ledger.create_or_open(folder.ledger, service=identity)))
        prepare = partial(_prepare, manifest, settings, ledger, folder, merge=merge)
        plan, adopt, warnings = await to_thread.run_sync(prepare)
        listener.planned(plan, warnings)
        if plan.changed and not settings.yes and not listener.confirm(plan):
            raise UsageError(_changed(plan))
        begun = await to_thread.run_sync(_begin, ledger, adopt)
        scene = _Scene(ledger, folder, settings, listener, Halt(), _Figures())
        try:
            if begun.total:
                await _carry_all(scene, service, begun.total)
        finally:
            with CancelScope(shield=True):
                code = await to_thread.run_sync(_end, scene)
        summary = report.summary(ledger, ledger.clock)
    return Finished(code, summary, plan, warnings, scene.stopped)


def run(
    manifest: Path | str,
    settings: RunSettings,
    service: Service | None = None,
    *,
    merge: bool | None = None,
    listener: Listener | None = None,
) -> Finished:
    """Do what `arun` does, from code without an event loop, or from a notebook, which has one already."""
    story = partial(arun, manifest, settings, service, merge=merge, listener=listener)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(story)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(anyio.run, story).result()


def _prepare(
    manifest: Path, settings: RunSettings, ledger: Ledger, folder: OutputFolder, *, merge: bool | None
) -> tuple[Plan, Callable[[], None], tuple[Problem, ...]]:
    """Read, check and compare; changes nothing but what a dead run left behind. Return the plan and how to adopt it."""
    ledger.run_id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(ledger.clock()))}-{secrets.token_hex(3)}"
    with ledger.atomic():
        feed.recover(ledger)
        feed.forget_missing(ledger, lambda output: (folder.images / output).is_file())
    stage, found, merging = stage_manifest(
        manifest, settings, ledger, folder, merge=merge, seen=SeenPictures(ledger)
    )
    plan = stage.compare(retry_failed=settings.retry_failed, price=bill.price(ledger))
    adopt = partial(
        stage.adopt,
        ledger,
        found.columns,
        merge=merging,
        retry_failed=settings.retry_failed,
        name=settings.reading.name or NAME,
    )
    return plan, adopt, tuple(found.warnings)


@dataclass(frozen=True, slots=True)
class _Begun:
    total: int
    already_done: int


def _begin(ledger: Ledger, adopt: Callable[[], None]) -> _Begun:
    with ledger.atomic() as connection:
        adopt()
        begun = _Begun(feed.open_jobs(ledger), bill.already_done(ledger))
        connection.execute(
            "INSERT INTO runs (run_id, pid, started_at, already_done) VALUES (?,?,?,?)",
            (ledger.run_id, os.getpid(), ledger.clock(), begun.already_done),
        )
    return begun


@dataclass
class _Figures:
    """What a run counts for its line in the ledger."""

    status_calls: int = 0
    http_429: int = 0
    rows_saved: int = 0


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the parts of one run share."""

    ledger: Ledger
    folder: OutputFolder
    settings: RunSettings
    listener: Listener
    halt: Halt
    figures: _Figures

    @property
    def stopped(self) -> str | None:
        """Why the run submitted no more, if it stopped early."""
        return str(self.halt.reason) if self.halt.reason else None


async def _carry_all(scene: _Scene, service: Service | None, total: int) -> None:
    """Open what the journey needs, and carry every job of the feed."""
    settings, halt = scene.settings, scene.halt
    tally = Tally(scene.listener.progress)
    tally.begin(total, simulated=service is None)
    pace = Pace(settings.concurrency)
    async with AsyncExitStack() as stack:
        remote = await stack.enter_async_context(local_service()) if service is None else service
        client = await stack.enter_async_context(Client(remote, pace=pace))
        desk = await stack.enter_async_context(open_desk(scene.ledger))
        journey = Journey(
            desk=desk,
            client=client,
            uploads=Uploads(client, desk, load_picture),
            folder=scene.folder.path,
            tally=tally,
            halt=halt,
            retries=settings.retries,
            job_timeout_s=settings.job_timeout_s,
            bad_input=PictureError,
        )
        try:
            await _work(journey, desk, min(settings.concurrency + AHEAD, total))
        except* FolderError as group:
            raise _first(group) from group
        except* RunStopped as group:
            halt.because(str(_first(group)))
        finally:
            figures = scene.figures
            figures.status_calls, figures.http_429 = client.status_calls, pace.gate.throttles
            figures.rows_saved = tally.progress.saved


async def _work(journey: Journey, desk: Desk, workers: int) -> None:
    send, receive = create_memory_object_stream[Task](0)
    async with anyio.create_task_group() as background:
        background.start_soon(journey.client.pace.serve)
        async with anyio.create_task_group() as tasks:
            for _ in range(workers):
                tasks.start_soon(_carry, journey, receive.clone())
            receive.close()
            tasks.start_soon(_feed, journey, desk, send)
        background.cancel_scope.cancel()


async def _carry(journey: Journey, tasks: MemoryObjectReceiveStream[Task]) -> None:
    with tasks:
        async for task in tasks:
            await journey.carry(task)


async def _feed(journey: Journey, desk: Desk, tasks: MemoryObjectSendStream[Task]) -> None:
    pages = feed.Feed()
    with tasks:
        while page := await desk.do(pages.page):
            for task in page:
                if journey.halt.reason and task.request_id is None:
                    return
                await tasks.send(task)


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


def _end(scene: _Scene) -> int:
    """Close the run's line in the ledger and write report and summary; return the exit code."""
    ledger, figures = scene.ledger, scene.figures
    code = exit_code(bill.statuses(ledger, selected_only=True), scene.halt)
    with ledger.atomic() as connection:
        connection.execute(
            "UPDATE runs SET ended_at=?, rows_saved=?, status_calls=?, http_429=?, exit_code=? WHERE run_id=?",
            (ledger.clock(), figures.rows_saved, figures.status_calls, figures.http_429, code, ledger.run_id),
        )
    report.write_report(ledger, scene.folder)
    report.write_summary(report.summary(ledger, ledger.clock), scene.folder)
    return code


def exit_code(statuses: dict[str, int], halt: Halt) -> int:
    """Return the first exit code that applies to the selected rows, in the documented order."""
    if halt.reason:
        return halt.reason.exit_code
    for status, code in (
        ("unknown", errors.EXIT_UNKNOWN),
        ("pending", errors.EXIT_ROWS_LEFT),
        ("failed", errors.EXIT_SOME_FAILED),
        ("expired", errors.EXIT_SOME_FAILED),
        ("abandoned", errors.EXIT_SOME_FAILED),
    ):
        if statuses.get(status):
            return code
    return errors.EXIT_OK


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


def _first(group: BaseExceptionGroup[Any]) -> Any:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
