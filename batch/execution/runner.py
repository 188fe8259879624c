"""A run: hold the folder, plan, ask, execute the plan, write the reports.

`arun` is the driver, and reads from top to bottom; `run` is the same for a caller without an event loop. Planning (`_plan`)
sends nothing; executing (`_execute`) gets a plan that was agreed to and asks nothing. This module prints nothing.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread
from anyio.from_thread import start_blocking_portal

from batch.client.client import Client
from batch.core import errors
from batch.core.config import INVALID_SKIP
from batch.core.errors import FolderError, FolderFailed, Interrupted, ManifestError, UsageError
from batch.core.units import counted, named, named_rows, steady_clock
from batch.execution import account_check, reconcile
from batch.execution.dispatcher import RunContext, Workload, process_all
from batch.execution.shutdown import StopController, handle_signals, isolated
from batch.execution.transitions import Budget
from batch.ledger import candidates, connection, runs, totals
from batch.ledger.accounts import bind
from batch.ledger.async_ledger import open_async_ledger
from batch.ledger.ledger import Ledger
from batch.ledger.meta import Meta
from batch.ledger.prices import job_price
from batch.manifest.manifest import check_reading
from batch.output import groups, report
from batch.output.chosen import apply_choices
from batch.output.decision_file import edited_notice
from batch.output.folder import OutputFolder
from batch.output.images import check_images
from batch.output.reports import shows_decisions, write_reports
from batch.output.sheet import THUMBS_S, THUMBS_STOPPED_S, write_sheet
from batch.planning.planner import StagedPlan, make_plan, preview

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batch.core.config import Account, RunSettings, Service
    from batch.core.models import Problem
    from batch.execution.progress import Progress
    from batch.ledger.staging import Plan


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended: its exit code, and the folder's figures as in summary.json.

    `stopped` is why it stopped early, if it did; `unsettled` why unknown rows could not be reconciled; `strays` are jobs
    that may be paid and that no row of the manifest wants any more; `in_flight` counts the jobs that are to be fetched;
    `pilot_ended` says that a pilot was sent and nothing stopped it.
    """

    exit_code: int
    summary: dict[str, Any]
    plan: Plan
    warnings: tuple[Problem, ...] = ()
    stopped: str | None = None
    unsettled: str | None = None
    strays: tuple[totals.Stray, ...] = ()
    in_flight: int = 0
    pilot_ended: bool = False


@dataclass(frozen=True, slots=True)
class RunHooks:
    """Callbacks of a run: what it reports while it goes on, and what it asks.

    `begun` gets the run's id; `planned` the plan and the problems before anything is sent. `confirm_invalid` is asked whether
    the other rows run where some are invalid, if the settings do not say so. Where a paid service is to get
    something, `priced` gets the plan and whether its price is news: before the folder's first jobs, before the rest of a
    manifest of which a pilot was sent, and before a manifest that shares no row with the one before. Then, where it is,
    `confirm_price` is asked, unless another question was answered with yes, whether to pay at all: a caller that gives no
    answer of its own wrote a program that sends, so the default is yes. `confirm` is asked whether
    changed rows may be paid for again, `confirm_again` whether the same work may be, `confirm_candidates` whether further
    images of rows may be paid for, unless the settings say yes.
    `progress` gets every step, `warn` what a person should know, `left_out` the rows that are left out without that yes.
    """

    begun: Callable[[str], None] = lambda run_id: None  # noqa: ARG005
    planned: Callable[[Plan, tuple[Problem, ...]], None] = lambda plan, problems: None  # noqa: ARG005
    confirm_invalid: Callable[[Plan], bool] = lambda plan: not plan.invalid
    priced: Callable[[Plan, bool], None] = lambda plan, first: None  # noqa: ARG005
    confirm_price: Callable[[Plan], bool] = lambda plan: True  # noqa: ARG005
    confirm: Callable[[Plan], bool] = lambda plan: not plan.changed
    confirm_again: Callable[[Plan], bool] = lambda plan: False  # noqa: ARG005
    confirm_candidates: Callable[[Plan], bool] = lambda plan: False  # noqa: ARG005
    progress: Callable[[Progress], None] = lambda progress: None  # noqa: ARG005
    warn: Callable[[str], None] = lambda message: None  # noqa: ARG005
    left_out: Callable[[str], None] = lambda message: None  # noqa: ARG005


@isolated
async def arun(
    manifest: Path | str,
    settings: RunSettings,
    service: Service | None = None,
    *,
    merge: bool | None = None,
    listener: RunHooks | None = None,
    signals: bool = False,
) -> RunResult:
    """Texture every row of a manifest; continue where an earlier run of the same folder ended.

    `service` None means the local one. `merge` None means: merge when the manifest is this folder's own report or
    failures. With `signals`, which only the main thread can receive, a first SIGINT, SIGTERM or SIGHUP lets jobs in flight
    finish and a second one ends the run at once. Raises UsageError (ManifestError with every problem), FolderError,
    FolderLocked; RunStopped when a new key is refused before the run begins. A run that was stopped by the service later,
    or has rows left, ends normally, with its exit code. However it is cancelled, it first ends in good order.
    """
    manifest, hooks = Path(manifest), listener or RunHooks()
    folder = OutputFolder(settings.out)
    check_reading(manifest, settings.reading)
    if service is not None and not service.api_key and not folder.ledger.is_file():
        await to_thread.run_sync(_refuse_without_key, manifest, settings)  # before a folder is made
    with ExitStack() as stack:
        stack.enter_context(folder.hold(patient=True))
        ledger = stack.enter_context(Ledger.create_or_open(folder.ledger, clock=steady_clock()))
        account_check.check_service(ledger, service)
        stack.enter_context(shows_decisions(ledger, folder))
        thread = stack.enter_context(ThreadPoolExecutor(1))  # ends its step before the ledger is closed
        run = RunContext(folder, ledger, settings, service, hooks.progress, hooks.warn, thread)
        with handle_signals(run.stop, enabled=signals):
            if service is not None and service.api_key and reconcile.expired_jobs(ledger):
                await _recover_expired(run, service)
            staged = await run.in_thread(partial(_plan, run, manifest, merge=merge))
        plan, pay_again = _ask(staged, run, hooks)
        with handle_signals(run.stop, enabled=signals):
            account = await _admit(run, plan)
        with handle_signals(run.stop, settings.grace_s, hooks.warn, enabled=signals):
            adopt = partial(staged.adopt, pay_again=pay_again)
            approved = ApprovedPlan(plan, adopt, account, pay_again, staged.whole)
            code = await _execute(run, approved)
        summary, strays = report.summary(ledger, ledger.clock, groups.grouped(ledger)), totals.strays(ledger)
        in_flight = ledger.outstanding().in_flight
    reason = run.stop.reason
    late = isinstance(reason, Interrupted) and code != reason.exit_code  # after the last job
    return RunResult(
        code,
        summary,
        plan,
        tuple(staged.found.problems),
        str(reason) if reason and not late else None,
        run.stats.unsettled,
        strays,
        in_flight,
        settings.pilot is not None and reason is None,
    )


def run(
    manifest: Path | str,
    settings: RunSettings,
    service: Service | None = None,
    *,
    merge: bool | None = None,
    listener: RunHooks | None = None,
    signals: bool = False,
) -> RunResult:
    """Do what `arun` does, from code without an event loop, or from a notebook, which has one already.

    In a notebook the run has a thread of its own. An interrupt there cancels the run, waits for its orderly end and is
    raised again.
    """
    coroutine = partial(arun, manifest, settings, service, merge=merge, listener=listener, signals=signals)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(coroutine)
    with start_blocking_portal() as portal:  # what leaves this block cancels the run, then waits for its end
        result: RunResult = portal.call(coroutine)
    return result


def _refuse_without_key(manifest: Path, settings: RunSettings) -> None:
    """Raise UsageError when a run into a new folder, for which there is no key, would send anything."""
    plan, _, _ = preview(manifest, replace(settings, invalid=settings.invalid or INVALID_SKIP))
    if plan.to_send:
        raise UsageError(account_check.NO_KEY)


async def _recover_expired(run: RunContext, service: Service) -> None:
    """Bring back expired rows that the history lists: before the plan, so that they are not paid for again."""
    with run.stop.cancel_on_stop():
        async with Client(service, clock=run.ledger.clock) as client, open_async_ledger(run.ledger) as ledger:
            await reconcile.recover_expired(client, ledger, run.warn)


def _plan(run: RunContext, manifest: Path, *, merge: bool | None) -> StagedPlan:
    """Settle what a dead run left behind, then read the manifest and compare it with the folder; blocking.

    Raises Interrupted when a signal came meanwhile.
    """
    ledger, settings = run.ledger, run.settings
    if runs.last_run(ledger) is None:
        run.folder.check_foreign()
    new_run(ledger)
    for note in apply_choices(ledger, run.folder.image_store):
        run.warn(note)
    staged = make_plan(manifest, settings, ledger, run.folder, merge=merge, check=run.stop.raise_if_stopped)
    run.stop.raise_if_stopped()
    return staged


def new_run(ledger: Ledger) -> None:
    """Name the run that begins now, and recover what a dead one left behind."""
    now = time.gmtime(ledger.clock())
    ledger.run_id = f"{time.strftime('%Y%m%dT%H%M%SZ', now)}-{secrets.token_hex(3)}"
    with ledger.atomic():
        ledger.recover()


def _ask(staged: StagedPlan, run: RunContext, hooks: RunHooks) -> tuple[Plan, bool]:
    """Show the plan and ask for each yes that it needs; return it, and whether the same work is paid for again.

    Raises UsageError when rows changed, or the price is news, and nobody agrees to pay; ManifestError when rows are invalid
    and nobody agrees to go on without them.
    """
    plan, settings = staged.plan, run.settings
    if run.ledger.loss is not None:  # what seems to be new may have been sent
        plan = replace(plan, new=0, unknown=plan.unknown + plan.new, to_send=0)  # it has no candidates then
    hooks.begun(str(run.ledger.run_id))
    hooks.planned(plan, tuple(staged.found.problems))
    # Without any good row there is nothing to ask.
    asks = plan.invalid and plan.rows and settings.invalid is None
    if asks and not hooks.confirm_invalid(plan):
        raise ManifestError(staged.found.problems, dropped=staged.found.dropped)
    pays = run.service is not None and plan.to_send > 0
    news = pays and _is_news(staged, run)
    if pays:
        hooks.priced(plan, news)
    if plan.changed and not settings.pays_for_edits and not hooks.confirm(plan):
        raise UsageError(_changed(plan))
    if plan.candidates and not settings.yes and not hooks.confirm_candidates(plan):
        raise UsageError(_candidates(plan))
    agreed = settings.yes or settings.yes_to_edits or plan.candidates  # a person was asked for these just now
    if news and not agreed and not hooks.confirm_price(plan):
        raise UsageError("The price was not agreed to. Nothing was sent.")
    if not plan.again or settings.yes:
        return plan, settings.yes
    if hooks.confirm_again(plan):
        return replace(plan, to_send=plan.to_send + plan.again_jobs), True
    hooks.left_out(left_out(plan))
    return plan, False


def _is_news(staged: StagedPlan, run: RunContext) -> bool:
    """Return whether nobody has seen the price of a run like this one (see RunHooks)."""
    rest = run.settings.pilot is None and runs.has_sent_pilot_only(run.ledger)
    return rest or staged.other or not runs.has_sent(run.ledger)


async def _admit(run: RunContext, plan: Plan) -> Account | None:
    """Check that images/ can be written and return the account that works for the folder; None if nothing is to do.

    Raises FolderError, UsageError, and RunStopped when the key is refused or a signal came.
    """
    ledger = run.ledger
    left = ledger.outstanding()
    waiting = left.in_flight or left.unknown or ledger.loss is not None
    if not (plan.to_send or waiting):
        return None
    await run.in_thread(run.folder.try_images)
    account = None
    with run.stop.cancel_on_stop():
        account = await account_check.admit(ledger, run.service, same_account=run.settings.same_account)
    run.stop.raise_if_stopped()
    return account


@dataclass(frozen=True, slots=True)
class ApprovedPlan:
    """A plan that was shown and agreed to. `adopt` makes its rows the folder's own, inside `atomic`.

    `account` is the one that works for the folder, None where there is nothing to send, fetch or reconcile; `pay_again`
    says that rows whose work was paid for before are sent too, `whole` that all rows of the manifest were chosen.
    """

    plan: Plan
    adopt: Callable[[], None]
    account: Account | None
    pay_again: bool
    whole: bool


async def _execute(run: RunContext, approved: ApprovedPlan) -> int:
    """Adopt the manifest, process its jobs, write the reports; return the exit code.

    Raises FolderFailed when the folder fails: rows may have been sent.
    """
    plan = approved.plan
    to_send, settings = plan.to_send, run.settings
    if settings.pilot is not None:
        to_send = plan.piloted(settings.pilot, settings.candidates)
    work = await run.in_thread(
        partial(begin, run, approved.adopt, approved.account, to_send, whole=approved.whole)
    )
    for message in work.warnings:
        run.warn(message)
    incomplete = bool(plan.invalid) or (bool(plan.again) and not approved.pay_again)
    finish = partial(finish_run, run, incomplete=incomplete)
    try:
        try:
            if work.jobs or work.unknown:
                await process_all(run, work)
        except BaseException:
            with suppress(Exception):  # the first error says what is wrong
                await run.in_thread(partial(finish, failed=True))
            raise
        return await run.in_thread(finish)
    except FolderError as exc:
        raise FolderFailed(str(exc)) from exc


def begin(
    run: RunContext,
    adopt: Callable[[], None],
    account: Account | None,
    to_send: int,
    *,
    whole: bool = True,
) -> Workload:
    """Adopt the manifest and open the run's row in the ledger; the cap of an interrupted run goes on; blocking.

    `to_send` jobs are to be paid for; `whole` says that all rows of the manifest were chosen.
    """
    ledger, settings = run.ledger, run.settings
    price = job_price(ledger, settings.price)
    with ledger.atomic():
        adopt()
        if account is not None:
            bind(ledger, account)
        if settings.group_by is not None:
            groups.remember(ledger, settings.group_by)
        suspected = runs.suspect(ledger, price.micro)
        if settings.pilot is not None and not runs.has_sent(ledger):
            ledger.set_meta(Meta.PILOT_ONLY, "1")
        ledger.choose_pilot(settings.pilot, rest=whole and to_send > 0)
        ledger.estimate_open(price.micro)
        committed, resumed = ledger.start_run(max_cost=settings.max_cost, price=price.micro)
        jobs, unknown = ledger.open_jobs(), ledger.outstanding().unknown
    if jobs or unknown or ledger.loss is not None:
        ledger.checkpoint()
    warnings: tuple[str, ...] = () if connection.can_spill() else (connection.NO_TEMPORARY,)
    warnings += _ungrouped(ledger)
    if suspected:
        warnings = (*warnings, _suspected(suspected))
    budget = Budget(settings.max_cost, price.micro, committed)
    return Workload(jobs, to_send, unknown, budget, price.source, resumed, warnings)


# -- the end of a run: its row in the ledger, its reports, its exit code ----------------------------------------------


def finish_run(
    run: RunContext, *, left_out: int | None = None, incomplete: bool = False, failed: bool = False
) -> int:
    """Close the run's row in the ledger; write report, summary and contact sheet; return the exit code; blocking.

    After a stop new thumbnails get less time, because somebody may be waiting, and no image is read to find out whether it
    has changed. `left_out` counts the images that a restore did not bring back; None for a run. `incomplete` says that rows
    are invalid, or wait for a yes to be paid for again. Only when all files are on disk does the row say that the run ended by itself:
    until then, or when it `failed`, the next run continues its cap.
    """
    ledger, stop = run.ledger, run.stop
    for note in apply_choices(ledger, run.folder.image_store):
        run.warn(note)
    check_images(ledger, run.folder.path, read=not stop.reason)
    statuses = Counter(totals.status_counts(ledger, selected_only=True))
    left = ledger.outstanding()
    statuses["pending"] -= left.waiting
    if left_out is not None:
        statuses["left out"] = left_out
    else:
        if left.denied:  # the run did all it could, and a person should look
            statuses["failed"] += 1
        if left.in_flight > left.denied:  # also of rows that were not selected, or have changed
            statuses["pending"] += 1
    if left.unknown:  # the same: they may be paid
        statuses["unknown"] += 1
    if incomplete:
        statuses["left out"] += 1
    if run.settings.candidates > 1:
        statuses.update(candidates.end_counts(ledger))
    code = exit_code(statuses, stop)
    with ledger.atomic():
        ledger.finish_run(
            rows_saved=run.stats.rows_saved,
            status_calls=run.stats.status_calls,
            http_429=run.stats.http_429,
            exit_code=code,
        )
    thumbs_s = THUMBS_STOPPED_S if failed or stop.reason else THUMBS_S
    if write_reports(ledger, run.folder, partial(write_sheet, ledger, run.folder, thumbs_s=thumbs_s)):
        run.warn(edited_notice(run.folder))
    if code in BY_ITSELF and not failed:
        with ledger.atomic():
            ledger.mark_ended_by_itself(restore=left_out is not None)
    return code


def exit_code(statuses: Mapping[str, int], stop: StopController) -> int:
    """Return the first exit code that applies to the selected rows, in the documented order."""
    applying = {code for status, code in _CODES.items() if statuses.get(status)}
    if stop.reason:
        applying.add(stop.reason.exit_code)
    return next((code for code in _ORDER if code in applying), errors.EXIT_OK)


BY_ITSELF = frozenset(
    {
        errors.EXIT_OK, errors.EXIT_SOME_FAILED, errors.EXIT_STOPPED, errors.EXIT_UNKNOWN, errors.EXIT_ROWS_LEFT,
        errors.EXIT_CAP,
    }
)  # fmt: skip
"""Exit codes of runs that ended by themselves; after any other code the next run continues the cap."""

_CODES = {"unknown": errors.EXIT_UNKNOWN, "pending": errors.EXIT_ROWS_LEFT} | dict.fromkeys(
    ("failed", "expired", "abandoned", "left out"), errors.EXIT_SOME_FAILED
)
_ORDER = (
    128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM, errors.EXIT_STOPPED, errors.EXIT_CAP,
    errors.EXIT_UNKNOWN, errors.EXIT_ROWS_LEFT, errors.EXIT_SOME_FAILED,
)  # fmt: skip


# -- messages ---------------------------------------------------------------------------------------------------------


def _suspected(jobs: int) -> str:
    return (
        f"The ledger lost what was written last: {counted(jobs, 'row')} may have been sent and paid for. None is sent before "
        "the account's history has shown that it never arrived."
    )


def _ungrouped(ledger: Ledger) -> tuple[str, ...]:
    """Return the warning that the folder's rows were counted by a column that its manifest has no more."""
    column = groups.missing_column(ledger)
    if column is None:
        return ()
    gone = (
        f"summary.json counts rows by {column!r}, which this manifest does not have: there are no groups now."
    )
    return (f"{gone} Give another column with --group-by.",)


def _changed(plan: Plan) -> str:
    one = len(plan.changed) == 1
    what = f"{'has' if one else 'have'} changed since"
    if plan.redo:
        what = "would be made again as other work"
    return (
        f"{counted(len(plan.changed), 'row')} {'was' if one else 'were'} paid for before and {what}: "
        f"{named_rows(plan.changed, plan.accepted)}. "
        f"Sending {'it' if one else 'them'} costs money again, for {plan.about(plan.cost_of('changed'))}. Add --yes to do it."
    )


def _candidates(plan: Plan) -> str:
    one = plan.candidates == 1
    return (
        f"--candidates: {counted(plan.candidates, 'further image')} {'costs' if one else 'cost'} money, "
        f"for {plan.about(plan.candidates_cost)}. Add --yes on the command line to pay for {'it' if one else 'them'}."
    )


def left_out(plan: Plan) -> str:
    """Return the message about rows that are left out, because nobody confirmed that their work is paid for again."""
    return (
        f"left out, would be paid again: {named([f'{row_id} ({why})' for row_id, why in plan.again])}, for {plan.about(plan.again_cost)}; "
        "add --yes on the command line to pay for them."
    )
