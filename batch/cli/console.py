"""What a person sees: results on stdout, everything about them on stderr. Secrets are in neither.

`ProgressLine` is a bar on a terminal and one plain line a minute in a log; a file gets no control characters.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, NoReturn

import click

from batch.cli.log import info, problems, to_json
from batch.core.errors import EXIT_CAP, EXIT_OK, EXIT_ROWS_LEFT, UsageError
from batch.core.log_event import ERROR, INFO, WARNING, LogEvent
from batch.core.units import MICRO, counted, format_usd, iso, named, named_row
from batch.core.visible import shortened, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tqdm import tqdm

    from batch.cli.log import Log
    from batch.core.config import RunSettings
    from batch.core.models import Problem
    from batch.execution.progress import Progress
    from batch.execution.runner import RunResult
    from batch.ledger.groups import PlannedGroups
    from batch.ledger.staging import Plan
    from batch.ledger.totals import Stray, UnknownJob
    from batch.maintenance.restore import MissingImage, Restored
    from batch.output.reports import Rebuilt
    from batch.planning.validate import ValidationReport

MOST_LISTED = 20
MOST_OF_VALUE = 40
"""Characters of a value in a table."""

LOG_EVERY_S = 60.0
LINKS_EVERY_S = 15.0
ENOUGH_ENDED = 8
"""Finished jobs from which their own pace says more than the forecast."""

_AS_PLANNED = frozenset({EXIT_OK, EXIT_ROWS_LEFT, EXIT_CAP})
"""Ends that are not reported when quiet: all done, or the time, the pilot or the budget was used up."""


class ProgressLine:
    """Shows the progress of a run on stderr until it is closed; `on_progress` gets each moment of the run.

    `style` is "bar", "log" or "none"; "auto" is a bar when stderr is a terminal, else a log line a minute. A bar would
    tear a log of JSON lines, which gets the figures as events instead.
    """

    def __init__(self, style: str, log: Log) -> None:
        if style == "auto":
            style = "bar" if sys.stderr.isatty() else "log"
        if log.quiet:
            style = "none"
        if style == "bar" and log.as_json:
            style = "log"
        shown = {"bar": self._draw_bar, "log": self._write_line}
        self.on_progress: Callable[[Progress], None] = shown.get(style, lambda _: None)
        self._log = log
        self._plain = log.write
        self._bar: tqdm[NoReturn] | None = None
        self._began = self._logged = time.monotonic()

    def close(self) -> None:
        """Finish the bar's line; what is logged from now on is below it."""
        self._log.write = self._plain
        if self._bar is not None:
            self._bar.close()

    def _write_line(self, progress: Progress) -> None:
        if time.monotonic() - self._logged >= LOG_EVERY_S:
            self._logged = time.monotonic()
            names = ("total", "ended", "saved", "failed", "unknown", "in_flight", "throttled")
            fields = {name: getattr(progress, name) for name in names} | {"spent_usd": progress.spent / MICRO}
            if progress.accepted:
                fields["cost_per_accepted_usd"] = progress.usd_per_accepted
            LogEvent("run.progress", INFO, fields).log(self._line(progress))

    def _draw_bar(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm  # noqa: PLC0415  start-up time

            bar = self._bar = tqdm(
                total=progress.total, unit="image", file=sys.stderr, dynamic_ncols=True, smoothing=0.1
            )
            self._log.write = lambda line: bar.write(line, file=sys.stderr)
        forecast = _forecast(progress)
        self._bar.set_postfix_str(_counts(progress) + (forecast and f", {forecast}"), refresh=False)
        self._bar.update(progress.ended - self._bar.n)
        self._bar.refresh()

    def _line(self, progress: Progress) -> str:
        seconds = time.monotonic() - self._began
        rate = progress.ended * 60 / seconds
        left = f"{(progress.total - progress.ended) / rate:.0f} min left" if rate else "time left unknown"
        left = _forecast(progress) or left
        return f"{progress.ended}/{progress.total} done, {_counts(progress)}, {rate:.1f}/min, {left}"


def _forecast(progress: Progress) -> str:
    """Return how long the run takes in all while too few jobs have finished to estimate it from them; else ""."""
    if progress.ended >= ENOUGH_ENDED or progress.expected is None:
        return ""
    return f"{progress.expected} in all"


def _counts(progress: Progress) -> str:
    spent = money(progress.spent, simulated=progress.simulated)
    unknown = f", {progress.unknown} unknown" if progress.unknown else ""
    risk = f", at risk {format_usd(progress.at_risk)}" if progress.at_risk else ""
    saved = f", saved {format_usd(progress.resumed)}" if progress.resumed else ""
    accepted = f", {per_accepted(progress.usd_per_accepted)}" if progress.accepted else ""
    return f"{progress.failed} failed{unknown}, {progress.in_flight} in flight, spent {spent}{accepted}{risk}{saved}"


def money(micro_dollars: int, *, simulated: bool) -> str:
    """Return micro-dollars as dollars and cents, marked when they were not real."""
    return f"{format_usd(micro_dollars)}{' (simulated)' if simulated else ''}"


def per_accepted(usd: float) -> str:
    """Return what was spent for each accepted image, in US dollars."""
    return f"${usd:.2f} an accepted image"


def note(text: str) -> None:
    """Print a note about the work to stderr, on one line."""
    click.echo(visible(text), err=True)


error = partial(info, level=ERROR)
"""Log what went wrong with the work, on one line; it is shown when quiet, too."""


class CheckedLinks:
    """Says on stderr how many links of a manifest are checked, every LINKS_EVERY_S."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._checked = 0
        self._said_at = time.monotonic()

    def on_checked(self) -> None:
        """Count one more link."""
        self._checked += 1
        if time.monotonic() - self._said_at >= LINKS_EVERY_S:
            self._said_at = time.monotonic()
            info(f"{self._checked:,} of {self._total:,} links checked", event="manifest.links")


def validation(found: ValidationReport, *, as_json: bool) -> None:
    """Print what `validate` found."""
    errors, warnings = len(found.errors) + found.dropped, len(found.warnings)
    if as_json:
        listed = [
            {name: getattr(problem, name) for name in ("file", "row", "column", "reason", "remedy")}
            | {"severity": "warning" if problem.warning else "error"}
            for problem in found.problems
        ]
        report = {"rows": found.rows, "errors": errors, "warnings": warnings, "problems": listed}
        click.echo(json.dumps(report, indent=2))
        return
    problems(found.problems)
    if errors:
        click.echo(f"{counted(errors, 'problem')}; nothing would be sent.")
    else:
        besides = f", {counted(warnings, 'warning')}" if warnings else ""
        click.echo(f"{counted(found.rows, 'row')}, no problems{besides}.")


def plan(plan: Plan, *, simulated: bool, retry_failed: bool) -> None:
    """Print what a run would do, and what each kind of row would cost or has cost."""
    failed = "not sent again without --retry-failed"
    if retry_failed:
        failed = "sent again, except those paid for or abandoned"
    click.echo(f"{counted(plan.rows, 'row')}:")
    for name, rows, cost, meaning in (
        ("new", plan.new, plan.cost_of("new"), "to pay"),
        (_paid_otherwise(plan), len(plan.changed), plan.cost_of("changed"), "to pay again"),
        *((("candidates", plan.candidates, plan.candidates_cost, "more seeds a row"),) if plan.candidates else ()),
        ("paid before", len(plan.again), plan.again_cost, "the same work, paid again only with --yes on the command line"),
        ("done", plan.done, plan.cost_of("done"), "paid, not sent again"),
        ("in flight", plan.in_flight, plan.cost_of("in_flight"), "paid, to be fetched"),
        ("unknown", plan.unknown, plan.cost_of("unknown"), "perhaps paid, not sent again"),
        ("failed before", plan.failed, plan.cost_of("failed"), failed),
        *((("invalid", plan.invalid, 0, "left out, failed: see above"),) if plan.invalid else ()),
    ):  # fmt: skip
        click.echo(f"  {name:<14}{rows:>9}  ${cost / MICRO:>10.2f}  {meaning}")
    total = f"for about {money(plan.cost, simulated=simulated)}, {plan.each}"
    click.echo(f"{counted(plan.to_send, 'job')} to send, {total}")
    if plan.groups is not None:
        planned_groups(plan.groups, plan.price)
    changed(plan)
    again(plan)
    if plan.kept:
        kept(plan)
    if plan.kept_invalid:
        kept_invalid(plan, "See above.")


def planned_groups(groups: PlannedGroups, price: int) -> None:
    """Print what a plan sends for each value of a column, and what that costs at `price` micro-dollars a job."""
    lines = [
        (each.value, (f"{each.rows}", f"{each.to_send}"), each.to_send * price / MICRO)
        for each in groups.largest
    ]
    _table(groups.column, ("rows", "to send"), lines, groups.others)


def status_groups(groups: Mapping[str, Any]) -> None:
    """Print the `groups` of summary.json."""
    names = ("rows", "saved", "failed")
    lines = [
        (each["value"], tuple(f"{each[name]}" for name in names), each["spent_usd"])
        for each in groups["values"]
    ]
    _table(groups["column"], names, lines, 0)
    if other := groups.get("other"):
        counts = ", ".join(f"{other[name]} {name}" for name in names)
        click.echo(f"all smaller ones together: {counts}, ${other['spent_usd']:.2f}")


def _table(
    column: str, names: Sequence[str], lines: Sequence[tuple[str, Sequence[str], float]], others: int
) -> None:
    """Print the first groups of a column with their figures and US dollars, and how many more there are."""
    shown = [
        (shortened(visible(value), MOST_OF_VALUE) or "(empty)", figures, usd)
        for value, figures, usd in lines[:MOST_LISTED]
    ]
    title = shortened(visible(f"by {column}"), MOST_OF_VALUE)
    width = max([len(title), *(len(value) + 2 for value, _, _ in shown)])
    click.echo(f"{title:<{width}}{''.join(f'{name:>9}' for name in names)}  {'cost':>11}")
    for value, figures, usd in shown:
        click.echo(f"  {value:<{width - 2}}{''.join(f'{figure:>9}' for figure in figures)}  ${usd:>10.2f}")
    if more := len(lines) - len(shown) + others:
        click.echo(f"  … and {more} more")


def unknown(jobs: Sequence[UnknownJob]) -> None:
    """List jobs whose fate is unknown, with what they may have cost."""
    if not jobs:
        click.echo("No unknown rows.")
        return
    for job in jobs:
        risk = f"{format_usd(job.at_risk, 4)} at risk"
        name = ", ".join(job.ids) or f"job {job.job}"
        click.echo(visible(f"{name}: sent {iso(job.submitted_at)}, {risk}; {job.why}"))
    click.echo(f"{counted(len(jobs), 'unknown job')}, {format_usd(sum(job.at_risk for job in jobs))} at risk")


def changed(plan: Plan) -> None:
    """List rows that were paid for and have changed since, or would be made again."""
    listed(_paid_otherwise(plan), [named_row(row, plan.accepted) for row in plan.changed])


def _paid_otherwise(plan: Plan) -> str:
    """Return what is said of the rows of a plan that were paid for with other work."""
    return "made again" if plan.redo else "changed"


def again(plan: Plan) -> None:
    """List rows whose very work was paid for before."""
    listed("paid before", [f"{row_id}: {why}" for row_id, why in plan.again])


def kept(plan: Plan) -> None:
    """Name the rows that keep what a person had made for them, in one line."""
    one = len(plan.kept) == 1
    info(
        f"{counted(len(plan.kept), 'row')} {'keeps' if one else 'keep'} what was made for {'it' if one else 'them'} since the "
        f"manifest was written: {named(plan.kept)}. Edit a row there to change it.",
        event="run.kept",
        rows=len(plan.kept),
    )


def kept_invalid(plan: Plan, why: str) -> None:
    """Name the rows that keep what they have because the manifest's line is invalid now; shown when quiet, too.

    `why` says where the problems are.
    """
    one = len(plan.kept_invalid) == 1
    error(
        f"{counted(len(plan.kept_invalid), 'row')} of the manifest cannot be used as {'it is' if one else 'they are'} now, and "
        f"{'keeps its image' if one else 'keep their images'}: {named(plan.kept_invalid)}. {why}",
        event="run.kept_invalid",
        rows=len(plan.kept_invalid),
    )


def listed(heading: str, lines: Sequence[str], write: Callable[[str], None] = note) -> None:
    """Print the first lines to stderr, and how many more there are."""
    more = [f"… and {len(lines) - MOST_LISTED} more"] if len(lines) > MOST_LISTED else []
    for line in (*lines[:MOST_LISTED], *more):
        write(f"{heading}: {line}")


def confirm_resubmit(jobs: Sequence[UnknownJob]) -> bool:
    """Ask on a terminal whether jobs may be paid a second time; without one the answer is no."""
    return ask(f"{counted(len(jobs), 'job')} may be paid for a second time. Send again?")


def priced(settings: RunSettings, plan: Plan, news: bool) -> None:  # noqa: FBT001  a hook's
    """Log what a run may cost and how long it takes.

    Said where its price is news, and without a terminal and without --max-cost before the jobs of any run.
    """
    from batch.planning.planner import learned  # noqa: PLC0415  start-up time

    if not news and (settings.max_cost is not None or has_terminal()):
        return
    number, jobs, price, limit = _offer(settings, plan)
    if settings.max_cost is None:
        price = f"at most {price} at that price"
    sentences = [
        f"{counted(plan.rows, 'row')}, {jobs} to send, {plan.each}, {price} ({limit or 'no --max-cost'})."
    ]
    if news:
        sentences.append(learned(Path(settings.out)).takes(number, settings, time.time()))
    info(
        " ".join(sentences),
        event="run.price",
        rows=plan.rows,
        to_send=number,
        price_usd=plan.price / MICRO,
        price_source=plan.price_source,
        cost_usd=number * plan.price / MICRO,
        max_cost_usd=None if settings.max_cost is None else settings.max_cost / MICRO,
    )


def confirm_price(settings: RunSettings, plan: Plan) -> bool:
    """Ask on a terminal whether jobs whose price is news may be paid for; without one the answer is yes, as in any script.

    Raises UsageError when a person says no.
    """
    _, jobs, price, limit = _offer(settings, plan)
    because = f" ({limit})" if limit else ""
    if has_terminal() and not ask(f"Send {jobs} at {plan.each}, {price}{because}?"):
        raise UsageError("Nothing was sent.")
    return True


def _offer(settings: RunSettings, plan: Plan) -> tuple[int, str, str, str]:
    """Return how many jobs a run really sends; and in words these, what they cost, and what limits it ("" for nothing)."""
    number, jobs = plan.to_send, counted(plan.to_send, "job")
    if settings.pilot is not None:
        number = plan.piloted(settings.pilot, settings.candidates)
    if number < plan.to_send:
        jobs = f"{number} of {jobs} (--pilot {settings.pilot})"
    cost, cap = number * plan.price, settings.max_cost
    if cap is None:
        return number, jobs, f"{format_usd(cost)} in all", ""
    if cap < cost:
        return number, f"up to {jobs}", f"at most {format_usd(cap)}", "--max-cost"
    return number, jobs, f"{format_usd(cost)} in all", f"--max-cost {format_usd(cap)}"


def confirm_invalid(plan: Plan) -> bool:
    """Ask on a terminal whether the good rows run without the invalid ones; without one the answer is no.

    Raises UsageError when a person says no.
    """
    one = plan.invalid == 1
    rows = f"{plan.invalid} of {counted(plan.rows + plan.invalid, 'row')} {'is' if one else 'are'} invalid (listed above)"
    return _agreed(f"{rows}. Run the other {plan.rows}?")


def confirm(plan: Plan) -> bool:
    """Ask on a terminal whether changed rows may be paid for again; without one the answer is no.

    Raises UsageError when a person says no.
    """
    if has_terminal():
        changed(plan)
    price = f", {plan.about(plan.cost_of('changed'))}"
    what = "would be made again as other work" if plan.redo else "changed since they were paid for"
    return _agreed(f"{counted(len(plan.changed), 'row')} {what}. Pay for them again{price}?")


def confirm_again(plan: Plan) -> bool:
    """Ask on a terminal whether the same work may be paid for again; without one the answer is no."""
    if has_terminal():
        again(plan)
    price = f", {plan.about(plan.again_cost)}"
    rows = counted(len(plan.again), "row")
    return ask(f"{rows} would be paid for again, for the same work. Pay{price}? (no: they are left out)")


def confirm_candidates(plan: Plan) -> bool:
    """Ask on a terminal whether further images of rows may be paid for; without one the answer is no.

    Raises UsageError when a person says no.
    """
    price = f", {plan.about(plan.candidates_cost)}"
    return _agreed(f"{counted(plan.candidates, 'further image')}, more seeds a row. Pay for them{price}?")


def confirm_remake(gone: Sequence[MissingImage]) -> bool:
    """List images that no longer exist anywhere, and ask on a terminal whether to pay for them; else the answer is no."""
    listed(
        "to be made again",
        [f"{', '.join(image.ids)}, about {format_usd(image.price, 4)}" for image in gone],
    )
    total = format_usd(sum(image.price for image in gone))
    return ask(f"Pay for {counted(len(gone), 'image')} again for about {total}?")


def has_terminal() -> bool:
    """Return whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> bool:
    """Ask on a terminal; without one the answer is no."""
    return has_terminal() and click.confirm(question, default=False, err=True)


def _agreed(question: str) -> bool:
    """Ask what a run needs a yes for; a person who says no needs no advice how to say yes: raises UsageError then."""
    if has_terminal() and not ask(question):
        raise UsageError("Nothing was sent.")
    return has_terminal()


def planned(log: Log, plan: Plan, found: Sequence[Problem], *, skips: bool = True) -> None:
    """Log the manifest's problems, which rows keep what they have, and in JSON what a run is about to do.

    `skips`: invalid rows are left out without a question.
    """
    if found:
        problems(found)
    if plan.invalid and skips:
        is_one = plan.invalid == 1
        info(
            f"{counted(plan.invalid, 'row')} {'is' if is_one else 'are'} invalid and left out, as failed.",
            event="run.invalid",
            level=WARNING,
            rows=plan.invalid,
        )
    if plan.kept:
        kept(plan)
    if plan.kept_invalid:
        kept_invalid(plan, "Column `error` of report.csv says why.")
    if log.as_json:
        counts = {
            "changed": len(plan.changed),
            "invalid": plan.invalid,
            "kept_invalid": len(plan.kept_invalid),
            "again": len(plan.again),
            "candidates": plan.candidates,
            "cost_usd": plan.cost / MICRO,
        }
        for name in ("rows", "new", "done", "in_flight", "unknown", "failed", "to_send"):
            counts[name] = getattr(plan, name)
        LogEvent("run.planned", INFO, counts).log()


def finished(log: Log, end: RunResult, out: Path, next_step: str) -> None:
    """Report how a run ended and what to do about rows without an image; when quiet, only if something went wrong.

    `next_step` is how to go on with rows that are left.
    """
    figures = end.summary
    wrong = end.exit_code not in _AS_PLANNED or any(
        figures[name] for name in ("failed", "expired", "unknown")
    )
    if log.as_json:
        level = ERROR if wrong else WARNING if end.exit_code else INFO
        names = [stray.name for stray in end.strays]
        more = {"stopped": end.stopped, "unsettled": end.unsettled, "no_longer_wanted": names or None}
        LogEvent("run.ended", level, figures | more | {"exit_code": end.exit_code}).log()
        return
    if log.quiet and not wrong:
        return
    if end.stopped or end.unsettled:
        _say_why(end)
    counts = [f"{figures[name]} {name}" for name in ("saved", "failed", "expired", "unknown", "pending", "abandoned")
              if figures[name] or name in {"saved", "failed"}]  # fmt: skip
    if figures.get("moved"):
        counts[0] += f" ({figures['moved']} moved away)"
    extra = figures.get("candidates")  # the folder's
    if extra and end.plan.candidates:
        made = counted(extra["made"], "candidate")
        others = [f"{extra[what]} {what}" for what in ("failed", "unknown") if extra.get(what)]
        counts.append(", ".join((f"{made} made", *others)))
    click.echo(_nothing_to_do(end, out) or f"{', '.join(counts)}; {_money_of(figures)}; {out / 'report.csv'}")
    if extra and extra["made"]:
        note(
            f"{out / 'report.html'} shows them with their seeds. Choose: texbatch mark {quote(str(out))} --choose ID=SEED"
        )
    if end.exit_code or wrong or end.strays or figures["top_errors"]:
        from batch.output.advice import advice_on  # noqa: PLC0415  start-up time

        pending = _of_pending(end, next_step)
        for line in (*advice_on(figures, out, pending), *_of_strays(end.strays, out, next_step)):
            error(line)


def _money_of(figures: Mapping[str, Any]) -> str:
    """Return what this run spent, what the folder cost in all, and what became of it."""
    parts = [
        f"${figures['run_spent_usd']:.2f} this run",
        f"${figures['spent_usd']:.2f} in all{' (simulated)' if figures['simulated'] else ''}",
    ]
    if "cost_per_accepted_usd" in figures:
        parts.append(per_accepted(figures["cost_per_accepted_usd"]))
    if resumed := figures["saved_by_resume_usd"]:
        parts.append(f"${resumed:.2f} saved by not sending again")
    if risk := figures["at_risk_usd"]:
        parts.append(f"${risk:.2f} at risk")
    return ", ".join(parts)


def _nothing_to_do(end: RunResult, out: Path) -> str:
    """Return the last line of a run that found every selected row saved; "" for any other."""
    plan, figures = end.plan, end.summary
    if end.exit_code or end.strays or plan.done < plan.rows or plan.to_send or figures["run_spent_usd"]:
        return ""
    in_all = [f"${figures['spent_usd']:.2f} in all"]
    if "cost_per_accepted_usd" in figures:
        in_all.append(per_accepted(figures["cost_per_accepted_usd"]))
    if figures["simulated"]:
        in_all.append("simulated")
    if figures["at_risk_usd"]:
        in_all.append(f"${figures['at_risk_usd']:.2f} at risk")
    away = f" ({figures['moved']} moved away)" if figures.get("moved") else ""
    return (
        f"Nothing to do: {plan.done} of {plan.rows} saved already{away}, ${figures['run_spent_usd']:.2f} this run "
        f"({', '.join(in_all)}). Open {out / 'report.html'}"
    )


def _say_why(end: RunResult | Restored) -> None:
    """Log why a run stopped early, and why unknown rows could not be settled."""
    if end.stopped:
        error(f"Stopped: {end.stopped}")
    if end.unsettled:
        error(f"Unknown rows could not be settled: {end.unsettled}.")


def _of_pending(end: RunResult, next_step: str) -> str:
    """Say what keeps rows pending, and how to go on with them."""
    if end.in_flight:
        return f"Some rows are still waiting, running or to be fetched: {next_step}."
    rows = counted(end.summary["pending"], "row")
    if end.pilot_ended:
        return f"{rows} not sent yet: the pilot ended. To send the rest: {next_step}, without --pilot."
    return f"{rows} not sent yet: {next_step}."


def _of_strays(strays: Sequence[Stray], out: Path, next_step: str) -> Iterator[str]:
    """Name jobs that no row of the manifest wants any more, and say what becomes of them."""
    for is_unknown, what, then in (
        (True, "perhaps accepted although no answer came", f"See: texbatch resolve {quote(str(out))}"),
        (False, "paid and still to be fetched", f"To fetch their images: {next_step}."),
    ):
        names = [stray.name for stray in strays if stray.unknown is is_unknown]
        if names:
            yield (
                f"{counted(len(names), 'job')} that no row of this manifest wants any more, {what}: "
                f"{named(names, MOST_LISTED)}. {then}"
            )


def restored(log: Log, end: Restored, folder: Path) -> None:
    """Report what `restore` brought back, and what it did not, with the reason."""
    _say_why(end)
    if end.changed and not log.quiet:
        names = ", ".join(end.changed[:MOST_LISTED]) + (" …" if len(end.changed) > MOST_LISTED else "")
        info(
            f"Changed by hand and left as they are: {names}. Name them with --only to bring the saved image back."
        )
    if end.rejected and not log.quiet:
        info(
            f"{counted(len(end.rejected), 'rejected image')} left where it is: {named(end.rejected, MOST_LISTED)}. Name rows "
            "with --only to bring their image back."
        )
    listed("left out", [f"{row_id}: {reason}" for row_id, reason in end.left_out.items()], error)
    name = quote(str(folder))
    if end.summary["pending"]:
        error(f"Some rows are still running or to be fetched: texbatch retry {name} --status pending.")
    if end.summary["unknown"] or end.summary.get("candidates", {}).get("unknown"):
        error(
            f"Some rows or candidates may have been accepted although no answer came: see texbatch resolve {name}."
        )
    if log.quiet and not end.exit_code:
        return
    sources = {
        "from a folder": end.from_folder,
        "from the service": end.from_service,
        "made again": end.remade,
    }
    brought = sum(sources.values())
    if not brought and not end.left_out:
        click.echo("Nothing to bring back.")
        return
    parts = ", ".join(f"{number} {source}" for source, number in sources.items() if number)
    how = f" ({parts})" if parts else ""
    click.echo(f"{counted(brought, 'image')} brought back{how}, {len(end.left_out)} left out.")


def edited(folder: Path) -> None:
    """Say that decisions.csv has edits that were not taken in."""
    from batch.output.decision_file import edited_notice  # noqa: PLC0415  start-up time
    from batch.output.folder import OutputFolder  # noqa: PLC0415

    note(edited_notice(OutputFolder(folder)))


def rebuilt(made: Rebuilt, folder: Path) -> None:
    """Print what `report` wrote."""
    if not made.reports:
        note("A run holds this folder: it writes the CSV files and summary.json itself when it ends.")
    if made.edited:
        edited(folder)
    click.echo(str(made.sheet))


def status(figures: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the figures of a folder."""
    if as_json:
        click.echo(to_json(figures, indent=2))
        return
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        if name == "candidates":
            click.echo(f"{name:<{width}}  {', '.join(f'{number} {what}' for what, number in value.items())}")
        elif name not in {"top_errors", "groups"}:
            click.echo(f"{name:<{width}}  {'-' if value is None else value}")
    if "groups" in figures:
        status_groups(figures["groups"])
    for error in figures["top_errors"]:
        click.echo(visible(f"{error['count']} x {error['error_class']}: {error['example']}"))
