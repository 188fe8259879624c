"""The commands on a manifest: run, retry, plan, validate.

Each parses its options, calls the package, reports the outcome and sets the exit code.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from batch.cli import admin_commands, console, mark_command, new_command, options, serve_command
from batch.cli.log import info, problems
from batch.cli.options import Location, Option, ParsedOptions, parse_options
from batch.core.config import INVALID_SKIP, INVALID_STOP, SEED_KEEP, SEED_NEXT, SEED_RANDOM, Redo
from batch.core.errors import EXIT_OK, EXIT_USAGE, UsageError
from batch.core.log_event import ERROR, WARNING

if TYPE_CHECKING:
    from batch.client.link_check import LinkFault
    from batch.core.config import RunSettings
    from batch.ledger.staging import Plan
    from batch.planning.links import ManifestLinks

AFTER_REDO = "What was made for these rows stays theirs in every later run of their manifest. Edit a row there to change it."


texbatch = click.Group(
    "texbatch",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="""Texture whole catalogs with Segmind's qwen-image-edit-plus-texture-apply.

    A manifest of product images, textures and prompts goes in; images, a report and an exact bill come out.
    Nothing is paid twice: the same command again continues where the last one ended.
    """,
)
click.version_option(package_name="texbatch")(texbatch)


@texbatch.command(
    epilog=options.UNITS,
    params=[
        options.MANIFEST, options.OUT,
        Option("--retry-failed", is_flag=True, help="Send failed and expired rows again as well."),
        *options.RUNNING,
    ],
)  # fmt: skip
@click.pass_context
def run(ctx: click.Context, /, manifest: Path, **_: Any) -> None:
    """Texture every row of MANIFEST; continue an earlier run.

    MANIFEST is .csv, .tsv, .yaml, .jsonl, .xlsx, .xlsm, .ods or .parquet, or a job file, which names one and holds these options.
    """
    parsed = parse_options(ctx, manifest)
    out = parsed.values["out"]
    if out is None:
        raise UsageError("--out is missing. Name the output folder, on the command line or in the job file.")
    settings = parsed.settings(out, retry_failed=parsed.values["retry_failed"])
    ctx.exit(_run(parsed, settings, manifest.parent, merge=None))


@texbatch.command(
    epilog=options.UNITS,
    params=[
        options.FOLDER, click.Argument(["file"], type=Location(), required=False),
        Option("--status", env=False, metavar="STATUS,…",
               help="Take the rows with such an outcome: failed, expired, saved, pending, abandoned."),
        Option("--rejected", env=False, is_flag=True, help="Take the rows whose image was rejected."),
        Option("--prompt-append", env=False, metavar="TEXT",
               help="Add this to each row's prompt, and pay for saved rows again; takes columns like {texture}."),
        *options.RUNNING,
    ],
)  # fmt: skip
@click.pass_context
def retry(ctx: click.Context, /, folder: Path, file: Path | None, **_: Any) -> None:
    """Send failed rows again and merge them into FOLDER; or make any rows again.

    The rows are those of FILE, with your edits; without one, those of FOLDER/failures.csv. With --only, --status or
    --rejected they are FOLDER's own. A saved row is made again with another seed, or with --seed +1, --seed keep and
    --prompt-append as these say: that is other work, which is paid for, and its image is kept in images/.previous/. An
    accepted row is made again only when --only or FILE names it. What is made stays the row's, until its row of the
    manifest is edited.
    """
    from batch.cli.environment import beside_output  # noqa: PLC0415  start-up time
    from batch.ledger.ledger import Ledger  # noqa: PLC0415
    from batch.output.folder import OutputFolder  # noqa: PLC0415

    output = OutputFolder(folder)
    with Ledger.read(output.ledger) as ledger:
        local = ledger.is_local()  # such a folder cannot be retried with anything else
    parsed = parse_options(ctx, file or output.failures)
    redo = _read_redo(ctx, parsed.values, file)
    settings = replace(parsed.settings(folder, retry_failed=True), redo=redo)
    ctx.exit(_run(parsed, settings, None if local else beside_output(folder), merge=True))


def _read_redo(ctx: click.Context, values: dict[str, Any], file: Path | None) -> Redo | None:
    """Return the redo that was asked for, None for a plain retry; raises UsageError.

    The environment cannot ask for one: nobody should pay again because of a variable.
    """
    seed, source = values["seed"], ctx.get_parameter_source("seed")
    word = seed if seed in options.SEED_WORDS else None
    if word and source is ParameterSource.ENVIRONMENT:
        raise UsageError(f"TEXBATCH_SEED={seed}: give this on the command line only: --seed {seed}.")
    if values["only"] and file is None and ctx.get_parameter_source("only") is ParameterSource.ENVIRONMENT:
        raise UsageError("TEXBATCH_ONLY: name the rows to be made again on the command line only: --only ID.")
    if seed is not None and not word and file is None and source is ParameterSource.COMMANDLINE:
        raise UsageError(
            f"--seed {seed}: the rows of a folder have seeds. Give --seed {SEED_RANDOM}, {SEED_NEXT} or {SEED_KEEP}, or edit a "
            "copy of report.csv and give that as FILE."
        )
    statuses = tuple(part.strip() for part in (values["status"] or "").split(",") if part.strip())
    if values["status"] is not None and file is not None:
        raise UsageError("--status chooses rows of the folder; with FILE the rows are those of FILE.")
    if values["status"] is not None and not statuses:
        raise UsageError("--status: is empty. Give failed, expired, saved, pending or abandoned.")
    rejected = values["rejected"]
    further = values["candidates"] is not None
    if further and file is None and not (word or values["prompt_append"] or rejected):
        word = SEED_KEEP  # more images of what the rows are
    redo = Redo(
        statuses, word, values["prompt_append"] or "", file is None, rejected=rejected, further=further
    )
    return redo if redo.changes or rejected or (file is None and (statuses or values["only"])) else None


def _run(parsed: ParsedOptions, settings: RunSettings, dotenv_in: Path | None, *, merge: bool | None) -> int:
    """Run, or preview a dry run; return the exit code. `dotenv_in` None: the folder belongs to the local server."""
    if settings.invalid is None and not console.has_terminal():
        settings = replace(settings, invalid=INVALID_STOP)
    if parsed.values["dry_run"]:
        _preview(parsed, replace(settings, invalid=settings.invalid or INVALID_STOP), merge=merge)
        return EXIT_OK
    from batch.execution.runner import RunHooks, run  # noqa: PLC0415  start-up time

    log, values, service = parsed.log, parsed.values, None
    if dotenv_in is not None and not values["local"]:
        from batch.cli.environment import read_service  # noqa: PLC0415  start-up time

        service = read_service(dotenv_in, values["api_key_file"], log.mask)
    with ExitStack() as stack:
        line = stack.enter_context(closing(console.ProgressLine(values["progress"], log)))
        metrics = None
        if values["metrics_file"] is not None:
            from batch.cli.metrics_file import MetricsFile  # noqa: PLC0415  start-up time

            metrics = stack.enter_context(MetricsFile(values["metrics_file"], Path(settings.out)))

        def begun(run_id: str) -> None:
            log.run_id = run_id
            if metrics is not None:
                metrics.begin()  # from here on the folder is ours

        hooks = RunHooks(
            begun=begun,
            planned=partial(console.planned, log, skips=settings.invalid == INVALID_SKIP),
            priced=partial(console.priced, settings),
            confirm_price=partial(console.confirm_price, settings),
            confirm_invalid=console.confirm_invalid,
            confirm=console.confirm,
            confirm_again=console.confirm_again,
            confirm_candidates=console.confirm_candidates,
            progress=line.on_progress,
            warn=partial(info, event="run.warning", level=WARNING),
            left_out=partial(info, event="run.left_out", level=ERROR),
        )
        end = run(parsed.manifest, settings, service, merge=merge, listener=hooks, signals=True)
    next_step = "run the same command again"
    if merge:
        next_step = f"texbatch retry {quote(str(settings.out))} --status pending"
    console.finished(log, end, Path(settings.out), next_step)
    if merge and _made_for_the_manifest(end.plan, settings):
        info(AFTER_REDO)
    return end.exit_code


def _made_for_the_manifest(plan: Plan, settings: RunSettings) -> bool:
    """Return whether a run made anything that later runs of the manifest leave to its rows."""
    from batch.ledger import redone  # noqa: PLC0415  start-up time
    from batch.ledger.ledger import Ledger  # noqa: PLC0415
    from batch.output.folder import OutputFolder  # noqa: PLC0415

    if not (plan.changed or (settings.redo is not None and settings.redo.changes)):
        return False
    with Ledger.read(OutputFolder(settings.out).ledger) as ledger:
        return redone.any_made(ledger)


@texbatch.command(
    params=[
        options.MANIFEST,
        Option("--out", type=Location(), help="The output folder to compare with."),
        Option("--retry-failed", is_flag=True, help="Include failed and expired rows in what would be sent."),
        options.RATE, options.ON_INVALID, *options.CHOICE,
    ],
)  # fmt: skip
@click.pass_context
def plan(ctx: click.Context, /, manifest: Path, **_: Any) -> None:
    """Show what a run of MANIFEST would send, for how much, and how long it takes.

    Sends nothing and changes nothing.
    """
    parsed = parse_options(ctx, manifest)
    _preview(parsed, parsed.preview(), merge=None)


def _preview(parsed: ParsedOptions, settings: RunSettings, *, merge: bool | None) -> None:
    from batch.manifest.manifest import check_reading  # noqa: PLC0415  start-up time
    from batch.planning.planner import learned, preview  # noqa: PLC0415

    check_reading(parsed.manifest, parsed.reading)
    planned, found, simulated = preview(parsed.manifest, settings, merge=merge)
    problems(found.problems)
    console.plan(planned, simulated=simulated, retry_failed=settings.retry_failed)
    if planned.to_send and not simulated:
        click.echo(learned(Path(settings.out)).takes(planned.to_send, settings, time.time()))


@texbatch.command(
    params=[
        options.MANIFEST,
        Option("--format", type=click.Choice(["text", "json"]), default="text", show_default=True,
               help="How problems are reported."),
        Option("--links", env=False, is_flag=True,
               help="Ask for each link once, over the network, and report those without an image."),
        *options.READING,
    ],
)  # fmt: skip
@click.pass_context
def validate(ctx: click.Context, /, manifest: Path, **_: Any) -> None:
    """Check MANIFEST and every image file it names; report all problems, send nothing.

    With --links each link is asked for as well, without the key, one request to a host at a time. What could not be asked
    is a warning.
    """
    from batch.manifest.manifest import check_reading  # noqa: PLC0415  start-up time
    from batch.planning.links import ManifestLinks  # noqa: PLC0415
    from batch.planning.validate import validate as check  # noqa: PLC0415

    parsed = parse_options(ctx, manifest)
    check_reading(parsed.manifest, parsed.reading)
    links = ManifestLinks() if parsed.values["links"] else None
    found = check(parsed.manifest, parsed.reading, links)
    if links is not None:
        for problem in links.problems(str(parsed.manifest), _check_links(links)):
            found.add(problem)
    console.validation(found, as_json=parsed.values["format"] == "json")
    ctx.exit(EXIT_USAGE if found.errors else EXIT_OK)


def _check_links(links: ManifestLinks) -> dict[str, LinkFault]:
    """Ask for each link; say how far it is a few times a minute."""
    import anyio  # noqa: PLC0415  start-up time

    from batch.cli.environment import read_network  # noqa: PLC0415  start-up time
    from batch.client.link_check import check_links  # noqa: PLC0415

    line = console.CheckedLinks(len(links.places))
    wanted = {url: place.is_image for url, place in links.places.items()}
    return anyio.run(partial(check_links, wanted, read_network(), on_checked=line.on_checked))


for elsewhere in (
    serve_command.serve, new_command.new, mark_command.mark, admin_commands.status, admin_commands.report, admin_commands.resolve, admin_commands.restore,
    admin_commands.doctor, admin_commands.completion,
):  # fmt: skip
    texbatch.add_command(elsewhere)
