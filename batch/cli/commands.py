"""The commands: each reads its options, calls one function of the package, says how it went and sets the exit code."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batch.cli import console, options
from batch.config import LOCAL_SERVICE
from batch.errors import EXIT_INTERNAL, EXIT_OK, EXIT_USAGE, ManifestError, TexbatchError, UsageError

if TYPE_CHECKING:
    from batch.cli.options import Asked
    from batch.config import RunSettings, Service

EXIT_INTERRUPTED = 130

_PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="texbatch")
def texbatch() -> None:
    """Texture whole catalogs with Segmind's qwen-image-edit-plus-texture-apply.

    A manifest of product pictures, textures and prompts goes in; pictures, a report and an exact bill come out.
    Nothing is paid twice: the same command again continues where the last one ended.
    """


@texbatch.command()
@click.argument("manifest", type=_PATH)
@options.option("--out", type=_PATH, help="The output folder, made when there is none.")
@options.option("--retry-failed", is_flag=True, help="Send failed and expired rows again as well.")
@options.of_runs
@click.pass_context
def run(ctx: click.Context, /, manifest: Path, **_: Any) -> None:
    """Texture every row of MANIFEST (.csv, .tsv, .yaml) or of a job file; continue an earlier run."""
    asked = options.asked(ctx, manifest)
    out = asked.values["out"]
    if out is None:
        raise UsageError("--out is missing. Name the output folder, on the command line or in the job file.")
    settings = asked.settings(out, retry_failed=asked.values["retry_failed"])
    if asked.values["dry_run"]:
        _preview(asked, settings, merge=None)
    else:
        ctx.exit(_run(asked, settings, _service(asked, manifest.parent), merge=None))


@texbatch.command()
@click.argument("folder", type=_PATH)
@click.argument("file", type=_PATH, required=False)
@options.of_runs
@click.pass_context
def retry(ctx: click.Context, /, folder: Path, file: Path | None, **_: Any) -> None:
    """Send the rows of FILE (default FOLDER/failures.csv, with your edits) again and merge them into FOLDER."""
    from batch.folder import OutputFolder  # noqa: PLC0415  start-up time
    from batch.ledger.store import Ledger  # noqa: PLC0415

    place = OutputFolder(folder)
    with Ledger.read(place.ledger) as ledger:
        local = ledger.meta("service") == LOCAL_SERVICE  # such a folder can be retried with nothing else
    asked = options.asked(ctx, file or place.failures)
    settings = asked.settings(folder, retry_failed=True)
    if asked.values["dry_run"]:
        _preview(asked, settings, merge=True)
    else:
        ctx.exit(_run(asked, settings, None if local else _service(asked, folder), merge=True))


def _service(asked: Asked, beside: Path) -> Service | None:
    from batch.cli.edge import read_service  # noqa: PLC0415  start-up time

    return None if asked.values["local"] else read_service(beside, asked.values["api_key_file"])


def _run(asked: Asked, settings: RunSettings, service: Service | None, *, merge: bool | None) -> int:
    from batch.cli.progress import ProgressLine  # noqa: PLC0415  start-up time
    from batch.runner import Listener, run  # noqa: PLC0415

    quiet = asked.values["quiet"]
    style = "none" if quiet else asked.values["progress"]
    with ProgressLine(style, verbose=asked.values["verbose"] and not quiet) as line:
        listener = Listener(
            planned=lambda _plan, warnings: None if quiet else console.problems(warnings),
            confirm=console.confirm,
            progress=line.hear,
            warn=line.say,
        )
        end = run(asked.manifest, settings, service, merge=merge, listener=listener, signals=True)
    if end.stopped:
        console.say(f"Stopped: {end.stopped}")
    if end.unsettled:
        console.say(f"Unknown rows could not be settled: {end.unsettled}.")
    if not quiet:
        console.finished(end, Path(settings.out))
    return end.exit_code


@texbatch.command()
@click.argument("manifest", type=_PATH)
@options.option("--out", type=_PATH, help="The output folder to compare with.")
@options.option("--retry-failed", is_flag=True, help="Count failed and expired rows as to be sent.")
@options.of_choice
@click.pass_context
def plan(ctx: click.Context, /, manifest: Path, **_: Any) -> None:
    """Say what a run of MANIFEST would send, and for how much; sends nothing, changes nothing."""
    from batch.config import RunSettings  # noqa: PLC0415  start-up time

    asked = options.asked(ctx, manifest)
    values = asked.values
    nowhere = Path(os.devnull)  # no folder: every row is new
    settings = RunSettings(
        values["out"] or nowhere,
        asked.reading,
        only=asked.only,
        retry_failed=values["retry_failed"],
        price=values["price"],
    )
    _preview(asked, settings, merge=None)


def _preview(asked: Asked, settings: RunSettings, *, merge: bool | None) -> None:
    from batch.plan import preview  # noqa: PLC0415  start-up time

    told, found, simulated = preview(asked.manifest, settings, merge=merge)
    console.problems(found.warnings)
    console.plan(told, simulated=simulated)


@texbatch.command()
@click.argument("manifest", type=_PATH)
@options.option("--format", type=click.Choice(["text", "json"]), default="text", show_default=True,
                help="How problems are told.")  # fmt: skip
@options.of_reading
@click.pass_context
def validate(ctx: click.Context, /, manifest: Path, **_: Any) -> None:
    """Check MANIFEST and every picture it names; report all problems, send nothing."""
    from batch.plan import validate as check  # noqa: PLC0415  start-up time

    asked = options.asked(ctx, manifest)
    found = check(asked.manifest, asked.reading)
    console.validation(found, as_json=asked.values["format"] == "json")
    ctx.exit(EXIT_USAGE if found.errors else EXIT_OK)


@texbatch.command()
@click.argument("folder", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="For machines: the keys of summary.json.")
def status(folder: Path, *, as_json: bool) -> None:
    """Say how FOLDER stands, from its ledger, also while a run is going on."""
    from batch.folder import OutputFolder  # noqa: PLC0415  start-up time
    from batch.ledger.store import Ledger  # noqa: PLC0415
    from batch.results.report import summary  # noqa: PLC0415

    with Ledger.read(OutputFolder(folder).ledger) as ledger:
        console.status(summary(ledger, ledger.clock), as_json=as_json)


@texbatch.command()
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
    """List the rows of FOLDER that may have been accepted although no answer came, and decide them.

    Changes states only; the next run sends or fetches.
    """
    from batch.cli.edge import read_service  # noqa: PLC0415  start-up time
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
    service = read_service(folder, api_key_file) if reconcile else None
    with open_resolution(folder, service) as resolution:
        if service is not None:
            trouble = ask_history(resolution, service, settle)
            if trouble:
                console.say(f"Not all could be settled: {trouble}.")
        if named:
            resolution.attach(named)
        if resubmit or abandon:
            jobs = resolution.chosen(ids, every=every)
            if resubmit and jobs and not yes and not console.confirm_resubmit(jobs):
                raise UsageError(
                    f"--resubmit may pay for {len(jobs)} jobs a second time. Add --yes to do it."
                )
            resolution.decide(jobs, Event.RESUBMIT if resubmit else Event.ABANDON)
        console.unknown(resolution.unknown)


def _pair(text: str) -> tuple[str, str]:
    row_id, _, request_id = text.rpartition("=")
    if not row_id or not request_id.strip():
        raise UsageError(f"--attach {text!r}: write it as ID=REQUEST_ID.")
    return row_id, request_id.strip()


@texbatch.command()
@options.option(
    "--port", default=8787, show_default=True, type=click.IntRange(0, 65_535), help="0: a free one."
)
@click.option(
    "--api-key", envvar="SEGMIND_API_KEY", help="The key clients must send; one is made when there is none."
)
def serve(port: int, api_key: str | None) -> None:
    """Serve the API of the hosted model on 127.0.0.1, without the network and without cost."""
    from batch.local import LocalSettings  # noqa: PLC0415  start-up time
    from batch.local import serve as serve_here  # noqa: PLC0415

    def ready(url: str, key: str) -> None:
        click.echo(f"Serving on {url}", err=True)
        click.echo(f"export SEGMIND_BASE_URL={url}")
        if not api_key:  # a key we were given is not shown
            click.echo(f"export SEGMIND_API_KEY={key}")

    try:
        serve_here(LocalSettings(port=port, api_key=api_key or ""), ready)
    except OSError as exc:
        raise UsageError(f"--port {port}: cannot be used ({exc.strerror or exc}). Give another one.") from exc


def main() -> None:
    """Run the command line; end the process with the documented exit code."""
    if sys.platform == "win32":
        click.echo("texbatch does not run on Windows. Use Linux, macOS or WSL.", err=True)
        sys.exit(EXIT_USAGE)
    sys.exit(_guarded())


def _guarded() -> int:
    try:
        return texbatch.main(prog_name="texbatch", standalone_mode=False) or EXIT_OK
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        console.say("Interrupted. Run the same command to continue.")
        return EXIT_INTERRUPTED
    except ManifestError as exc:
        console.say(str(exc))
        console.say(f"{len(exc.problems)} problems; nothing was sent.")
        return exc.exit_code
    except TexbatchError as exc:
        console.say(f"texbatch: {exc}")
        return exc.exit_code
    except Exception:  # noqa: BLE001  the last border: told in full, with the documented exit code
        console.say(traceback.format_exc())
        console.say(
            f"texbatch {metadata.version('texbatch')}: internal error, please report it. The ledger is safe."
        )
        return EXIT_INTERNAL
