"""What is said, and where: results on stdout, everything about them on stderr. The key is never among it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from batch.cli.progress import money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batch.ledger.stage import Plan
    from batch.model import Problem
    from batch.plan import Survey
    from batch.runner import Finished

MOST_CHANGED = 20


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
    """Say what a run would do."""
    known = (
        f"{told.done} done, {told.in_flight} in flight, {told.unknown} unknown, {told.failed} failed before"
    )
    click.echo(f"{_count(told.rows, 'row')}: {told.new} new, {len(told.changed)} changed, {known}")
    if told.cost is None:
        price = "at a price this folder does not know yet"
    else:
        price = f"for about {money(told.cost, simulated=simulated)}"
    click.echo(f"{_count(told.to_send, 'job')} to send, {price}")
    changed(told)


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


def finished(end: Finished, out: Path) -> None:
    """Say how a run ended, in one line."""
    figures = end.summary
    counts = [f"{figures[name]} {name}" for name in ("saved", "failed", "expired", "unknown", "pending", "abandoned")
              if figures[name] or name in {"saved", "failed"}]  # fmt: skip
    spent = f"${figures['spent_usd']:.2f} spent{' (simulated)' if figures['simulated'] else ''}"
    resumed = figures["saved_by_resume_usd"]
    again = f", ${resumed:.2f} of it before and not again" if resumed else ""
    click.echo(f"{', '.join(counts)}; {spent}{again}; {out / 'report.csv'}")
    advice(figures, out)


def advice(figures: Mapping[str, Any], out: Path) -> None:
    """Say what to do about rows that have no picture."""
    for error in figures["top_errors"]:
        say(f"{error['count']} x {error['error_class']}: {error['example']}")
    if figures["failed"] or figures["expired"]:
        say(f"Mend {out / 'failures.csv'}, then: texbatch retry {out}")
    if figures["unknown"]:
        say(
            f"{_count(figures['unknown'], 'row')} may have been accepted although no answer came: "
            "they are not sent again, so that nothing is paid twice."
        )
    if figures["pending"]:
        say("Some rows are still waiting or running: run the same command again.")


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
