"""The commands on a folder or an installation: status, report, resolve, restore, doctor, completion.

Only `restore` may send anything, and only after a person confirms the price.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batch.cli import console, options
from batch.cli.log import Log, info
from batch.cli.options import API_KEY_FILE, FOLDER, SAME_ACCOUNT, Location, Option, parse_options
from batch.core.errors import UsageError
from batch.core.log_event import WARNING
from batch.core.units import counted
from batch.core.visible import visible

if TYPE_CHECKING:
    from batch.core.config import Service

SHELLS = ("bash", "zsh", "fish")


@click.command(
    params=[
        FOLDER,
        Option("--json", "as_json", env=False, is_flag=True, help="For machines: the keys of summary.json."),
        Option("--watch", "keep_watching", env=False, is_flag=True,
               help="Update about every second until the run ends."),
        options.GROUP_BY,
    ],
)  # fmt: skip
def status(folder: Path, *, as_json: bool, keep_watching: bool, group_by: str | None) -> None:
    """Show the state of FOLDER from its ledger, even while a run is going on."""
    from batch.cli.status_screen import watch  # noqa: PLC0415  start-up time
    from batch.ledger.ledger import Ledger  # noqa: PLC0415
    from batch.output.decision_file import is_edited  # noqa: PLC0415
    from batch.output.folder import OutputFolder  # noqa: PLC0415
    from batch.output.groups import grouped  # noqa: PLC0415
    from batch.output.images import check_images  # noqa: PLC0415
    from batch.output.report import summary  # noqa: PLC0415

    if keep_watching and as_json:
        raise UsageError("--watch is for people, --json for machines: give one of them.")
    if keep_watching and group_by is not None:
        raise UsageError("--watch shows the run as a whole: give --group-by without it.")
    if keep_watching:
        watch(OutputFolder(folder))
        return
    output = OutputFolder(folder)
    with Ledger.read(output.ledger) as ledger:
        check_images(ledger, folder)
        console.status(summary(ledger, ledger.clock, grouped(ledger, group_by)), as_json=as_json)
        if is_edited(ledger, output):
            console.edited(folder)


@click.command(params=[FOLDER, options.GROUP_BY])
def report(folder: Path, *, group_by: str | None) -> None:
    """Write the contact sheet of FOLDER again, even while a run is going on.

    When no run is going on, report.csv, failures.csv, decisions.csv and summary.json are written too. What --group-by says
    is remembered for later reports of the folder.
    """
    from batch.output.reports import rebuild  # noqa: PLC0415  start-up time

    console.rebuilt(rebuild(folder, group_by), folder)


@click.command(
    params=[
        FOLDER,
        Option("--reconcile", env=False, is_flag=True, help="Ask the service's history, and accept what it proves."),
        Option("--resubmit", env=False, is_flag=True, help="Let the next run send them again: may pay a second time."),
        Option("--abandon", env=False, is_flag=True, help="Give them up: what may have been paid is lost."),
        Option("--all", "every", env=False, is_flag=True, help="Decide every unknown row."),
        Option("--id", "ids", env=False, multiple=True, metavar="ID", help="Decide this row; may be given again."),
        Option("--attach", env=False, multiple=True, metavar="ID=REQUEST_ID", help="The request that you found for a row."),
        Option("--yes", env=False, is_flag=True, help="Resubmit without asking."),
        options.SETTLE, API_KEY_FILE, SAME_ACCOUNT,
    ],
)  # fmt: skip
@click.pass_obj
def resolve(
    log: Log, /, folder: Path, *, reconcile: bool, resubmit: bool, abandon: bool, every: bool, ids: tuple[str, ...],
    attach: tuple[str, ...], yes: bool, settle: float, api_key_file: Path | None, same_account: bool,
) -> None:  # fmt: skip
    """List and decide rows whose submit got no clear answer.

    They may have been accepted nevertheless. Changes states only; the next run sends or fetches.
    """
    from batch.cli.environment import beside_output, read_service  # noqa: PLC0415  start-up time
    from batch.ledger.states import Event  # noqa: PLC0415
    from batch.maintenance.resolve import open_resolution  # noqa: PLC0415

    if resubmit and abandon:
        raise UsageError("--resubmit and --abandon: give one of them.")
    if (resubmit or abandon) and not (every or ids):
        raise UsageError(f"--{'resubmit' if resubmit else 'abandon'}: which rows? Give --all or --id ID.")
    if (every or ids) and not (resubmit or abandon):
        raise UsageError("--all and --id: what is to become of them? Give --resubmit or --abandon.")
    pairs = [_pair(text) for text in attach]
    attached = dict(pairs)
    for row_id in attached:
        if row_id in ids or [name for name, _ in pairs].count(row_id) > 1:
            raise UsageError(f"--attach: {row_id} is named more than once. Give each row one decision.")
    if same_account and not reconcile:
        raise UsageError("--same-account: only the history depends on the account. Give it with --reconcile.")
    service = read_service(beside_output(folder), api_key_file, log.mask) if reconcile else None
    with open_resolution(folder, service) as resolution:
        if service is not None:
            reason = resolution.reconcile(service, settle, console.note, same_account=same_account)
            if reason:
                console.note(f"Not all could be settled: {reason}.")
        jobs = resolution.chosen(ids, every=every) if resubmit or abandon else []
        given = resolution.chosen(list(attached), every=False)
        jobs = [job for job in jobs if job not in given]
        if resubmit and jobs and not yes and not console.confirm_resubmit(jobs):
            raise UsageError(
                f"--resubmit may pay for {counted(len(jobs), 'job')} a second time. Add --yes to do it."
            )
        resolution.attach(attached)
        resolution.decide(jobs, Event.RESUBMIT if resubmit else Event.ABANDON)
        console.unknown(resolution.unknown)


def _pair(text: str) -> tuple[str, str]:
    row_id, _, request_id = text.rpartition("=")
    if not row_id or not request_id.strip():
        raise UsageError(f"--attach {text!r}: write it as ID=REQUEST_ID.")
    return row_id, request_id.strip()


@click.command(
    params=[
        FOLDER,
        click.Option(["--from", "source"], type=Location(), metavar="FOLDER",
               help="Look in this folder too, whatever the files are called; they are copied from there."),
        Option("--only", env=False, metavar="ID,…", help="Bring back these rows only, and replace changed images too."),
        Option("--yes", env=False, is_flag=True, help="Pay without asking for what must be made again."),
        options.PROGRESS, options.QUIET, SAME_ACCOUNT, API_KEY_FILE,
    ],
)  # fmt: skip
@click.pass_context
def restore(
    ctx: click.Context, /, folder: Path, source: Path | None, only: str | None, *, yes: bool, same_account: bool,
    progress: str, quiet: bool, api_key_file: Path | None,
) -> None:  # fmt: skip
    """Bring back saved images that are no longer in FOLDER/images.

    Images are found by content in FOLDER and in the folder given with --from, then at the service while it has them:
    both cost nothing. What would have to be made again is listed with its price, and you are asked. An image that was
    changed or rejected is left as it is, unless its row is named.
    """
    from batch.cli.environment import beside_output, read_service  # noqa: PLC0415  start-up time
    from batch.maintenance.restore import RestoreHooks, Wanted  # noqa: PLC0415
    from batch.maintenance.restore import restore as bring_back  # noqa: PLC0415

    ids = tuple(part.strip() for part in (only or "").split(",") if part.strip())
    if only is not None and not ids:
        raise UsageError("--only: is empty. Give the ids of rows, or leave it out.")
    log = ctx.ensure_object(Log)
    log.configure(quiet=quiet)

    def service() -> Service:
        return read_service(beside_output(folder), api_key_file, log.mask)

    with closing(console.ProgressLine(progress, log)) as line:
        hooks = RestoreHooks(
            console.confirm_remake, line.on_progress, partial(info, event="run.warning", level=WARNING)
        )
        wanted = Wanted(ids, source, yes=yes, same_account=same_account)
        end = bring_back(folder, wanted, service, hooks, signals=True)
    console.restored(log, end, folder)
    ctx.exit(end.exit_code)


@click.command(
    params=[
        click.Argument(["manifest"], type=Location(), required=False),
        Option("--out", type=Location(), help="The output folder to check.  [default: here]"),
        Option("--local", is_flag=True, help="Check the server on this machine: no key, nothing paid."),
        API_KEY_FILE,
    ],
)  # fmt: skip
@click.pass_context
def doctor(ctx: click.Context, /, manifest: Path | None, **_: Any) -> None:
    """Check what a run needs: key, hosts, clock, disk, versions, proxies, balance. Submits nothing.

    For an output folder it shows which account the folder belongs to and what the present key would mean for it. Give a
    job file to check everything that it names, as its schedule will find it: its manifest too is compared with the folder,
    and what the next run would send and cost is shown. Exit code 0, or 3 when something would stop a run.
    """
    from batch.cli.environment import read_service  # noqa: PLC0415  start-up time
    from batch.maintenance.doctor import exit_code, run_checks  # noqa: PLC0415

    parsed = parse_options(ctx, manifest or Path())
    values = parsed.values
    service = None
    if not values["local"]:
        beside = manifest.parent if manifest else Path()
        service = read_service(beside, values["api_key_file"], parsed.log.mask)
    results = run_checks(
        values["out"] or Path(), service, parsed.manifest if manifest else None, parsed.preview()
    )
    for result in results:
        click.echo(visible(parsed.log.masked(str(result))))
    ctx.exit(exit_code(results))


@click.command(params=[click.Argument(["shell"], type=click.Choice(SHELLS))])
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash   eval "$(texbatch completion bash)"              in ~/.bashrc
    zsh    eval "$(texbatch completion zsh)"               in ~/.zshrc
    fish   texbatch completion fish | source               in ~/.config/fish/config.fish
    """  # noqa: D301  click's own mark is a real backspace
    from click.shell_completion import get_completion_class  # noqa: PLC0415  start-up time

    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"{shell}: no completion for this shell.")
    click.echo(script(ctx.find_root().command, {}, "texbatch", "_TEXBATCH_COMPLETE").source())
