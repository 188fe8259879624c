"""Bring back saved images that left the folder: `texbatch restore`. A run never does this unasked.

In this order, and only as far as it is needed: by hash from the folder itself and from a folder that a person names;
from the service while it has them; made again, which is paid for, when a person confirms it. The first two cost nothing, and
only the second needs a key. A service that is out of reach settles nothing: an image that it may still have is not
made again. A row that is remade and fails is saved as it was before (see ledger/states.py).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from batch.client.client import Client
from batch.core.config import GRACE_S, RunSettings
from batch.core.errors import FolderError, NoResponse, RunStopped, UsageError
from batch.core.units import format_usd, steady_clock
from batch.execution.account_check import admit
from batch.execution.dispatcher import RunContext, process_all
from batch.execution.fetch import ImageFetcher
from batch.execution.progress import ProgressTracker
from batch.execution.runner import begin, finish_run, new_run
from batch.execution.shutdown import StopController, handle_signals
from batch.ledger import image_index
from batch.ledger.async_ledger import open_async_ledger
from batch.ledger.ledger import Ledger
from batch.ledger.prices import job_price
from batch.ledger.states import Event, State
from batch.output import images, report
from batch.output.files import PREVIOUS, ImageListing, read_verified, sha256_of
from batch.output.folder import OutputFolder
from batch.output.images import ExistingImage, UnusableImage
from batch.output.other_formats import OtherFormats
from batch.output.previous import PreviousVersions
from batch.output.reports import shows_decisions
from batch.planning.validate import NO_SUCH_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batch.core.config import Account, Service
    from batch.core.models import Task
    from batch.execution.progress import Progress
    from batch.ledger.store import LedgerStore

FETCHES = 8
"""Images fetched from the service at a time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The request of a person: the rows (none named: every row whose image was moved away), and a folder to look in.

    `yes` pays for what must be made again without asking; `same_account` confirms a new key.
    """

    only: tuple[str, ...] = ()
    source: Path | None = None
    yes: bool = False
    same_account: bool = False


@dataclass(frozen=True, slots=True)
class MissingImage:
    """A saved job whose image nobody has any more: the ids of the rows that want it, and what making it again may cost.

    Micro-dollars.
    """

    job: int
    ids: tuple[str, ...]
    price: int


@dataclass(frozen=True, slots=True)
class RestoreHooks:
    """Callbacks of a restore: what it reports while it goes on, and its one question, whether to pay for images again."""

    confirm: Callable[[Sequence[MissingImage]], bool] = lambda gone: False  # noqa: ARG005
    progress: Callable[[Progress], None] = lambda progress: None  # noqa: ARG005
    warn: Callable[[str], None] = lambda message: None  # noqa: ARG005


@dataclass(slots=True)
class Restored:
    """How a restore ended: how many jobs got their image from a folder, from the service, or were made again.

    `left_out` are ids without their image, each with the reason; `changed` are ids whose edited image was left in place,
    `rejected` those whose rejected image was left where it is.
    `stopped` is why the run stopped early, `unsettled` why jobs are still unknown; None when there is no reason.
    """

    exit_code: int = 0
    from_folder: int = 0
    from_service: int = 0
    remade: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    stopped: str | None = None
    unsettled: str | None = None


def restore(
    folder: Path,
    wanted: Wanted,
    service: Callable[[], Service],
    listener: RestoreHooks | None = None,
    *,
    signals: bool = False,
) -> Restored:
    """Bring saved images back into a folder; `service` is called only when one must come from the hosted service.

    Raises UsageError, FolderLocked and FolderError. With `signals` SIGINT and SIGTERM end it as they end a run.
    """
    return anyio.run(partial(_restore, folder, wanted, service, listener or RestoreHooks(), signals=signals))


async def _restore(
    folder: Path, wanted: Wanted, service: Callable[[], Service], hooks: RestoreHooks, *, signals: bool
) -> Restored:
    if wanted.source is not None and not wanted.source.is_dir():
        raise UsageError(f"--from {wanted.source}: is not a folder. Give the folder that holds the images.")
    output = OutputFolder(folder)
    Ledger.read(output.ledger).close()  # raises when the folder does not exist
    stop = StopController()
    handled = partial(handle_signals, stop, GRACE_S, hooks.warn, enabled=signals)
    with (
        output.hold(),
        Ledger.create_or_open(output.ledger, clock=steady_clock()) as ledger,
        shows_decisions(ledger, output),
        ThreadPoolExecutor(1) as thread,
    ):
        new_run(ledger)
        run = RunContext(
            output, ledger, RunSettings(output.path), None, hooks.progress, hooks.warn, thread, stop
        )
        restoring = _Restoring(run, wanted, hooks)
        with handled():
            await run.in_thread(restoring.from_disk)
        try:
            if restoring.missing and not stop.reason:
                remote = None if ledger.is_local() else service()
                account, gone = None, list(restoring.missing)
                with handled():
                    with stop.cancel_on_stop():
                        account = await admit(ledger, remote, same_account=wanted.same_account)
                    if remote is not None and account is not None:
                        gone = await restoring.from_service(remote)
                if account is not None and gone and restoring.may_pay(gone):
                    with handled():
                        await restoring.make_again(gone, remote, account)
        except BaseException:  # no key, or another account's: what was restored is there nevertheless
            with suppress(FolderError):  # the first error says what is wrong
                await run.in_thread(restoring.end)
            raise
        return await run.in_thread(restoring.end)


class _Restoring:
    """A restore on its way: the jobs whose image is still `missing`, and what became of the others."""

    def __init__(self, run: RunContext, wanted: Wanted, hooks: RestoreHooks) -> None:
        self._run = run
        self._ledger = run.ledger
        self._folder = run.folder
        self._stop = run.stop
        self._wanted = wanted
        self._hooks = hooks
        self._tracker = ProgressTracker(hooks.progress)
        self._previous = PreviousVersions(run.folder.image_store)
        self._naming = OtherFormats(run.folder.image_store)
        self._reasons: dict[int, str] = {}
        self._paid_again: frozenset[int] = frozenset()
        self._not_saved: dict[str, str] = {}
        self._done = Restored()
        self.missing: list[int] = []

    def from_disk(self) -> None:
        """Choose the rows, and bring back what lies somewhere in the folder or in the one that was named."""
        ledger = self._ledger
        images.check_images(ledger, self._folder.path)
        unknown = image_index.not_in_manifest(ledger, self._wanted.only)
        if unknown:
            raise UsageError(f"--only: no row of {self._folder.path} has the id {unknown[0]!r}. {NO_SUCH_ID}")
        with ledger.atomic():
            missing = image_index.select_missing(ledger, self._wanted.only)
        self._done.changed, self._done.rejected = missing.changed, missing.rejected
        self._not_saved = missing.unsaved
        jobs = image_index.selected_jobs(ledger)
        self._tracker.update(total=len(jobs))
        if jobs:
            with suppress(RunStopped):  # a signal: what was brought until then stays
                self._search(jobs)

    def _search(self, jobs: Sequence[int]) -> None:
        ledger, check = self._ledger, self._stop.raise_if_stopped
        image_index.load_listing(
            ledger, ImageListing(self._folder.image_store.list(skip=PREVIOUS), check).pages()
        )
        outside = _OutsideFolder(self._wanted.source, image_index.hashes_of(ledger, jobs), check)
        for job in jobs:
            check()
            task = _wanted_again(ledger, job)
            found = images.find_existing(
                self._previous, task, partial(image_index.searchable_files, ledger), check
            ) or outside.find(task.sha256)
            if found is None:
                self.missing.append(job)
            else:
                self._put(task, found)
        for job in self.missing:  # nothing else lies under its names, whatever becomes of it
            (task,) = ledger.tasks([job])
            for target in task.targets:
                others = ledger.other_hashes_at(target.output, job)
                images.make_way(self._previous, target, others)
            with ledger.atomic():
                ledger.mark_nowhere(task)
        if outside.unread:
            self._hooks.warn(
                f"--from {self._wanted.source}: {len(outside.unread)} files or folders could not be read, such as "
                f"{outside.unread[0]}. Make them readable and restore again."
            )

    def _put(self, task: Task, found: ExistingImage) -> None:
        """Put an image that is in some file where its rows want it."""
        image = images.decode_image(found.data, str(task.parameters["image_format"]))
        task = self._naming.renamed(self._ledger, task, image)
        images.write_image(self._previous, task, image)
        outputs = [target.output for target in task.targets]
        stamps = {name: there for name in outputs if (there := self._folder.image_store.exists(name))}
        with self._ledger.atomic():
            self._ledger.place_image(task, stamps)
        if found.name.startswith(f"{PREVIOUS}/"):  # it is not an earlier version any longer
            self._previous.forget(found.name, image.sha256, lies_at=task.targets[0].output)
        self._done.from_folder += 1
        self._tracker.on_transition(task, Event.KEEP, State.SAVED, {})

    async def from_service(self, service: Service) -> list[int]:
        """Fetch missing images from the service; return the jobs of which it has none any more."""
        gone: list[int] = []
        troubles: list[FolderError] = []
        waiting = iter(self.missing)
        async with (
            Client(service, clock=self._ledger.clock) as client,
            open_async_ledger(self._ledger) as async_ledger,
        ):
            fetcher = ImageFetcher(client, async_ledger, self._previous, self._naming, self._tracker)

            async def fetch() -> None:
                for job in waiting:
                    task = await async_ledger.run(partial(_wanted_again, job=job))
                    try:
                        await fetcher.mark_saved(*await fetcher.refetch(task))
                    except RunStopped as exc:
                        self._stop.request_stop(exc)
                    except FolderError as exc:  # the disk is full: so it is for the others
                        troubles.append(exc)
                        tasks.cancel_scope.cancel()
                    except NoResponse as exc:
                        self._reasons[job] = f"it could not be fetched ({exc}); restore again later"
                    except UnusableImage:
                        gone.append(job)
                    else:
                        self._done.from_service += 1

            with self._stop.cancel_on_stop():
                async with anyio.create_task_group() as tasks:
                    for _ in range(FETCHES):
                        tasks.start_soon(fetch)
        if troubles:
            raise troubles[0]
        return sorted(gone)

    def may_pay(self, jobs: Sequence[int]) -> bool:
        """Return whether a person confirms to pay for these jobs again."""
        if self._stop.reason:
            return False
        price = job_price(self._ledger).micro
        gone = [MissingImage(job, tuple(image_index.selected_ids(self._ledger, job)), price) for job in jobs]
        if self._wanted.yes or self._hooks.confirm(gone):
            return True
        reason = (
            f"nobody has it any more; it would have to be made again for about {format_usd(price)} (--yes)"
        )
        self._reasons |= dict.fromkeys(jobs, reason)
        return False

    async def make_again(self, jobs: Sequence[int], service: Service | None, account: Account) -> None:
        """Send these jobs as a run would, and process them to their end; `service` None is the local one."""
        self._paid_again = frozenset(jobs)
        run = replace(self._run, service=service)
        work = await run.in_thread(partial(begin, run, lambda: None, account, len(jobs)))
        await process_all(run, replace(work, jobs=work.jobs + len(jobs), remake=self._paid_again))

    def end(self) -> Restored:
        """Write the reports, and say what came of every row that was wanted."""
        done, ledger = self._done, self._ledger
        images.check_images(ledger, self._folder.path)
        lost = image_index.still_missing(ledger)
        done.left_out = {
            row_id: f"it is {status}: there is no saved image to bring back"
            for row_id, status in self._not_saved.items()
        } | {row_id: self._why(job) for row_id, job in lost}
        done.remade = len(
            self._paid_again - set(image_index.selected_jobs(ledger, unsaved=True)) - {job for _, job in lost}
        )
        done.exit_code = finish_run(self._run, left_out=len(done.left_out))
        done.summary = report.summary(ledger, ledger.clock)
        done.stopped = str(self._stop.reason) if self._stop.reason else None
        done.unsettled = self._run.stats.unsettled
        return done

    def _why(self, job: int) -> str:
        if job in self._paid_again:
            said = image_index.last_word(self._ledger, job)
            return f"it was not made again ({said or 'the run ended before'})"
        return self._reasons.get(job, "the restore ended before its turn")


def _wanted_again(store: LedgerStore, job: int) -> Task:
    """Return a job whose selected rows want its image again."""
    (task,) = store.tasks([job], again=True)
    return task


class _OutsideFolder:
    """Finds images by their hash in a folder that a person named, if there is one; reads each file there once."""

    def __init__(self, source: Path | None, hashes: set[str], check: Callable[[], None]) -> None:
        self.unread: list[str] = []
        self._source = source
        self._wanted = hashes
        self._check = check
        self._paths: dict[str, Path] | None = None

    def find(self, sha256: str | None) -> ExistingImage | None:
        """Return the file that holds the image of this hash; None where there is none."""
        if self._source is None or sha256 is None:
            return None
        if self._paths is None:
            self._paths = dict(self._walk(self._source))
        path = self._paths.get(sha256)
        data = None if path is None else read_verified(path, sha256)
        return None if data is None else ExistingImage(str(path), data)

    def _walk(self, source: Path) -> Iterator[tuple[str, Path]]:
        """Yield the hash and path of every wanted image below a folder, whatever its name."""
        left = set(self._wanted)
        for parent, _, names in os.walk(
            source, onerror=lambda error: self.unread.append(str(error.filename))
        ):
            for name in names if left else ():
                self._check()
                path = Path(parent, name)
                found = sha256_of(path)
                if found is None and not os.access(path, os.R_OK):
                    self.unread.append(str(path))
                elif found in left:
                    left.remove(found)
                    yield found, path
