"""What is said, and where: results on stdout, everything about them on stderr. The key is never among it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from batch.cli.progress import money, takes
from batch.config import Rate
from batch.errors import EXIT_CAP, EXIT_OK, EXIT_ROWS_LEFT
from batch.log import ERROR, INFO, WARNING, LogEvent
from batch.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from batch.cli.log import Log
    from batch.config import RunSettings
    from batch.ledger.compare import Plan
    from batch.model import Problem
    from batch.rebuild import Rebuilt
    from batch.remote.learned import Learned
    from batch.resolve import UnknownJob
    from batch.runner import Finished
    from batch.survey import Survey

MICRO = 1_000_000
MOST_CHANGED = 20

_AS_PLANNED = frozenset({EXIT_OK, EXIT_ROWS_LEFT, EXIT_CAP})
"""Ends that nobody need hear of: all done, or the time, the pilot or the money was over."""


def say(text: str) -> None:
    """Say something about the work, beside its results."""
    click.echo(text, err=True)


def problems(found: Sequence[Problem]) -> None:
    """Say what is wrong with a manifest, a line each."""
    for problem in found:
        say(str(problem))


def validation(found: Survey, *, as_json: bool) -> None:
    """Say what `validate` found."""
    errors, warnings = len(found.errors) + found.dropped, len(found.warnings)
    if as_json:
        listed = [
            {
                "file": problem.file,
                "row": problem.row,
                "column": problem.column,
                "reason": problem.reason,
                "remedy": problem.remedy,
                "severity": "warning" if problem.warning else "error",
            }
            for problem in found.problems
        ]
        click.echo(
            json.dumps(
                {"rows": found.rows, "errors": errors, "warnings": warnings, "problems": listed}, indent=2
            )
        )
        return
    problems(found.problems)
    if errors:
        click.echo(f"{_count(errors, 'problem')}; nothing would be sent.")
    else:
        besides = f", {_count(warnings, 'warning')}" if warnings else ""
        click.echo(f"{_count(found.rows, 'row')}, no problems{besides}.")


def plan(told: Plan, *, simulated: bool) -> None:
    """Say what a run would do, and what each kind of row would cost or has cost."""
    click.echo(f"{_count(told.rows, 'row')}:")
    price = None if told.price is None else told.price / MICRO
    for name, rows, costs in (
        ("new", told.new, "to pay"),
        ("changed", len(told.changed), "to pay again"),
        ("done", told.done, "paid, not sent again"),
        ("in flight", told.in_flight, "paid, to be fetched"),
        ("unknown", told.unknown, "perhaps paid, not sent again"),
        ("failed before", told.failed, "not sent again without --retry-failed"),
    ):
        amount = "" if price is None else f"${rows * price:>10.2f}  "
        click.echo(f"  {name:<14}{rows:>9}  {amount}{costs}")
    if told.cost is None:
        total = "at a price this folder does not know yet (--price tells it)"
    else:
        total = f"for about {money(told.cost, simulated=simulated)}"
    click.echo(f"{_count(told.to_send, 'job')} to send, {total}")
    changed(told)


def time_it_takes(jobs: int, settings: RunSettings, learned: Learned, now: float) -> None:
    """Say how long a run takes at the limit that is known; at the published ones where none is."""
    from batch.forecast import PUBLISHED, expected  # noqa: PLC0415  start-up time

    if not jobs:
        return
    found = expected(jobs, settings, learned, now)
    if found is not None:
        click.echo(f"Takes {takes(found)}.")
        return
    guesses = [
        (name, expected(jobs, replace(settings, rate=Rate(number, 60.0)), learned, now))
        for name, number in PUBLISHED.items()
    ]
    told = ", ".join(f"{takes(guess)} ({name})" for name, guess in guesses if guess is not None)
    click.echo(f"Takes {told}; --rate tells your account's limit.")


def unknown(jobs: Sequence[UnknownJob]) -> None:
    """List jobs that nobody knows about, with what they may have cost."""
    if not jobs:
        click.echo("No unknown rows.")
        return
    for job in jobs:
        risk = "price unknown" if job.at_risk is None else f"${job.at_risk / MICRO:.4f} at risk"
        name = ", ".join(job.ids) or f"job {job.job}"
        click.echo(f"{name}: sent {iso(job.submitted_at)}, {risk}; {job.why}")
    known = [job.at_risk for job in jobs if job.at_risk is not None]
    click.echo(f"{_count(len(jobs), 'unknown job')}, ${sum(known) / MICRO:.2f} at risk")


def confirm_resubmit(jobs: Sequence[UnknownJob]) -> bool:
    """Ask on a terminal whether jobs may be paid a second time; without one the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return click.confirm(
        f"{_count(len(jobs), 'job')} may be paid for a second time. Send again?", default=False, err=True
    )


def changed(told: Plan) -> None:
    """List rows that were paid for and have changed since."""
    for number, row_id in told.changed[:MOST_CHANGED]:
        say(f"changed: {row_id} (row {number})")
    if len(told.changed) > MOST_CHANGED:
        say(f"changed: … and {len(told.changed) - MOST_CHANGED} more")


def confirm(told: Plan) -> bool:
    """Ask on a terminal whether changed rows may be paid for again; without one the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    changed(told)
    price = "" if told.price is None else f", about {money(len(told.changed) * told.price, simulated=False)}"
    return click.confirm(
        f"{_count(len(told.changed), 'row')} changed since they were paid for. Pay for them again{price}?",
        default=False,
        err=True,
    )


def planned(log: Log, told: Plan, warnings: Sequence[Problem]) -> None:
    """Tell what a run is about to do: the manifest's warnings, and the plan to a log that machines read."""
    log.problems(warnings)
    if log.as_json:
        counts = {"changed": len(told.changed), "cost_usd": None if told.cost is None else told.cost / MICRO}
        for name in ("rows", "new", "done", "in_flight", "unknown", "failed", "to_send"):
            counts[name] = getattr(told, name)
        log.tell(LogEvent("run.planned", INFO, counts))


def finished(log: Log, end: Finished, out: Path, *, onward: str) -> None:
    """Say how a run ended, and what to do about rows that have no picture; when quiet, only if something went wrong.

    `onward` is how to go on with rows that are left.
    """
    figures = end.summary
    wrong = end.exit_code not in _AS_PLANNED or any(
        figures[name] for name in ("failed", "expired", "unknown")
    )
    if log.as_json:
        level = ERROR if wrong else WARNING if end.exit_code else INFO
        told = {"stopped": end.stopped, "unsettled": end.unsettled}
        log.tell(LogEvent("run.ended", level, figures | told | {"exit_code": end.exit_code}))
        return
    if log.quiet and not wrong:
        return
    if end.stopped:
        log.say(f"Stopped: {end.stopped}", level=ERROR)
    if end.unsettled:
        log.say(f"Unknown rows could not be settled: {end.unsettled}.", level=ERROR)
    counts = [f"{figures[name]} {name}" for name in ("saved", "failed", "expired", "unknown", "pending", "abandoned")
              if figures[name] or name in {"saved", "failed"}]  # fmt: skip
    spent = f"${figures['spent_usd']:.2f} spent{' (simulated)' if figures['simulated'] else ''}"
    risk, resumed = figures["at_risk_usd"], figures["saved_by_resume_usd"]
    again = f", ${resumed:.2f} saved by not sending again" if resumed else ""
    again += ", an unknown amount at risk" if risk is None else f", ${risk:.2f} at risk" if risk else ""
    click.echo(f"{', '.join(counts)}; {spent}{again}; {out / 'report.csv'}")
    for line in advice(figures, out, onward):
        log.say(line, level=ERROR)


def advice(figures: Mapping[str, Any], out: Path, onward: str) -> Iterator[str]:
    """Say what to do about rows that have no picture."""
    for error in figures["top_errors"]:
        yield f"{error['count']} x {error['error_class']}: {error['example']}"
    if figures["failed"] or figures["expired"]:
        yield f"Mend {out / 'failures.csv'}, then: texbatch retry {out}"
    if figures["unknown"]:
        yield (
            f"{_count(figures['unknown'], 'row')} may have been accepted although no answer came: "
            f"they are not sent again, so that nothing is paid twice. See: texbatch resolve {out}"
        )
    if figures["pending"]:
        yield f"Some rows are still waiting, running or to be fetched: {onward}."


def rebuilt(made: Rebuilt) -> None:
    """Say what `report` wrote."""
    if not made.reports:
        say(
            "A run holds this folder: it writes report.csv, failures.csv and summary.json itself when it ends."
        )
    click.echo(str(made.sheet))


def status(figures: Mapping[str, Any], *, as_json: bool) -> None:
    """Say how a folder stands."""
    if as_json:
        click.echo(json.dumps(figures, indent=2, ensure_ascii=False))
        return
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        if name != "top_errors":
            click.echo(f"{name:<{width}}  {'-' if value is None else value}")
    for error in figures["top_errors"]:
        click.echo(f"{error['count']} x {error['error_class']}: {error['example']}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
