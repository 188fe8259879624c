"""The commands that look after a folder and send nothing: how it stands, its sheet, what becomes of unknown rows."""

from __future__ import annotations

from pathlib import Path

import click

from batch.cli import console, options
from batch.errors import UsageError

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="For machines: the keys of summary.json.")
@click.option(
    "--watch", "keep_watching", is_flag=True, help="Show it anew about every second until the run ends."
)
def status(folder: Path, *, as_json: bool, keep_watching: bool) -> None:
    """Say how FOLDER stands, from its ledger, also while a run is going on."""
    from batch.cli.watch import watch  # noqa: PLC0415  start-up time
    from batch.folder import OutputFolder  # noqa: PLC0415
    from batch.ledger.store import Ledger  # noqa: PLC0415
    from batch.results.report import summary  # noqa: PLC0415

    if keep_watching and as_json:
        raise UsageError("--watch is for people, --json for machines: give one of them.")
    if keep_watching:
        watch(OutputFolder(folder))
        return
    with Ledger.read(OutputFolder(folder).ledger) as ledger:
        console.status(summary(ledger, ledger.clock), as_json=as_json)


@click.command()
@click.argument("folder", type=_PATH)
def report(folder: Path) -> None:
    """Write the contact sheet of FOLDER anew.

    Also while a run is going on; when none is, report.csv, failures.csv and summary.json as well.
    """
    from batch.rebuild import rebuild  # noqa: PLC0415  start-up time

    console.rebuilt(rebuild(folder))


@click.command()
@click.argument("folder", type=_PATH)
@click.option("--reconcile", is_flag=True, help="Ask the service's history, and believe what it proves.")
@click.option("--resubmit", is_flag=True, help="Let the next run send them again: may pay a second time.")
@click.option("--abandon", is_flag=True, help="Let them go: what may have been paid is left behind.")
@click.option("--all", "every", is_flag=True, help="Decide every unknown row.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Decide this row; may be given again.")
@click.option(
    "--attach", multiple=True, metavar="ID=REQUEST_ID", help="The request a person found for a row."
)
@click.option("--yes", is_flag=True, help="Resubmit without asking.")
@options.settle
@options.api_key_file
def resolve(
    folder: Path,
    *,
    reconcile: bool,
    resubmit: bool,
    abandon: bool,
    every: bool,
    ids: tuple[str, ...],
    attach: tuple[str, ...],
    yes: bool,
    settle: float,
    api_key_file: Path | None,
) -> None:
    """List and decide rows that nobody knows about.

    They may have been accepted although no answer came. Changes states only; the next run sends or fetches.
    """
    from batch.cli.edge import beside_output, read_service  # noqa: PLC0415  start-up time
    from batch.ledger.states import Event  # noqa: PLC0415
    from batch.resolve import open_resolution  # noqa: PLC0415
    from batch.resolve import reconcile as ask_history  # noqa: PLC0415

    if resubmit and abandon:
        raise UsageError("--resubmit and --abandon: give one of them.")
    if (resubmit or abandon) and not (every or ids):
        raise UsageError(f"--{'resubmit' if resubmit else 'abandon'}: which rows? Give --all or --id ID.")
    if (every or ids) and not (resubmit or abandon):
        raise UsageError("--all and --id: what is to become of them? Give --resubmit or --abandon.")
    named = dict(_pair(text) for text in attach)
    for row_id in named:
        if row_id in ids or len([text for text in attach if _pair(text)[0] == row_id]) > 1:
            raise UsageError(f"--attach: {row_id} is named more than once. Give each row one decision.")
    service = read_service(beside_output(folder), api_key_file) if reconcile else None
    with open_resolution(folder, service) as resolution:
        if service is not None:
            trouble = ask_history(resolution, service, settle, console.say)
            if trouble:
                console.say(f"Not all could be settled: {trouble}.")
        jobs = resolution.chosen(ids, every=every) if resubmit or abandon else []
        jobs = [job for job in jobs if not named.keys() & set(job.ids)]
        if resubmit and jobs and not yes and not console.confirm_resubmit(jobs):
            raise UsageError(f"--resubmit may pay for {len(jobs)} jobs a second time. Add --yes to do it.")
        resolution.attach(named)
        resolution.decide(jobs, Event.RESUBMIT if resubmit else Event.ABANDON)
        console.unknown(resolution.unknown)


def _pair(text: str) -> tuple[str, str]:
    row_id, _, request_id = text.rpartition("=")
    if not row_id or not request_id.strip():
        raise UsageError(f"--attach {text!r}: write it as ID=REQUEST_ID.")
    return row_id, request_id.strip()
