"""The commands: each reads its options, calls one function of the package, says how it went and sets the exit code."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batch.cli import console, folders, operators, options, redoing, serving
from batch.config import LOCAL_SERVICE
from batch.errors import EXIT_OK, EXIT_USAGE, UsageError
from batch.log import WARNING

if TYPE_CHECKING:
    from batch.cli.options import Asked
    from batch.config import RunSettings, Service
    from batch.ledger.compare import Plan
    from batch.model import Problem

_PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="texbatch")
def texbatch() -> None:
    """Texture whole catalogs with Segmind's qwen-image-edit-plus-texture-apply.

    A manifest of product pictures, textures and prompts goes in; pictures, a report and an exact bill come out.
    Nothing is paid twice: the same command again continues where the last one ended.
    """


@texbatch.command(epilog=options.UNITS)
@click.argument("manifest", type=_PATH)
@options.option("--out", type=_PATH, help="The output folder, made when there is none.")
@options.option("--retry-failed", is_flag=True, help="Send failed and expired rows again as well.")
@options.of_runs
@click.pass_context
def run(ctx: click.Context, /, manifest: Path, **_: Any) -> None:
    """Texture every row of MANIFEST; continue an earlier run.

    MANIFEST is .csv, .tsv, .yaml, .jsonl, .xlsx or .parquet, or a job file, which names one and holds any of these options.
    """
    asked = options.asked(ctx, manifest)
    out = asked.values["out"]
    if out is None:
        raise UsageError("--out is missing. Name the output folder, on the command line or in the job file.")
    settings = asked.settings(out, retry_failed=asked.values["retry_failed"])
    if asked.values["dry_run"]:
        _preview(asked, settings, merge=None)
    else:
        ctx.exit(_run(asked, settings, _service(asked, manifest.parent), merge=None))


@texbatch.command(epilog=options.UNITS)
@click.argument("folder", type=_PATH)
@click.argument("file", type=_PATH, required=False)
@redoing.of_redo
@options.of_runs
@click.pass_context
def retry(ctx: click.Context, /, folder: Path, file: Path | None, **_: Any) -> None:
    """Send failed rows again and merge them into FOLDER; or do any rows once more.

    The rows are those of FILE, with your edits; without one, of FOLDER/failures.csv. With --only or --status they are
    FOLDER's own. --seed random, --seed +1 and --prompt-append make them other work, which is paid for also where a row
    is saved: its picture is kept in images/.previous/.
    """
    from batch.cli.edge import beside_output  # noqa: PLC0415  start-up time
    from batch.folder import OutputFolder  # noqa: PLC0415  start-up time
    from batch.ledger.store import Ledger  # noqa: PLC0415

    place = OutputFolder(folder)
    with Ledger.read(place.ledger) as ledger:
        local = ledger.meta("service") == LOCAL_SERVICE  # such a folder can be retried with nothing else
    asked = options.asked(ctx, file or place.failures)
    redo = redoing.read_redo(ctx, asked.values, file)
    settings = replace(asked.settings(folder, retry_failed=True), redo=redo)
    if asked.values["dry_run"]:
        _preview(asked, settings, merge=True)
        return
    ctx.exit(_run(asked, settings, None if local else _service(asked, beside_output(folder)), merge=True))


def _service(asked: Asked, beside: Path) -> Service | None:
    from batch.cli.edge import read_service  # noqa: PLC0415  start-up time

    return None if asked.values["local"] else read_service(beside, asked.values["api_key_file"])


def _run(asked: Asked, settings: RunSettings, service: Service | None, *, merge: bool | None) -> int:
    from batch.cli.metrics import MetricsFile  # noqa: PLC0415  start-up time
    from batch.cli.progress import ProgressLine  # noqa: PLC0415
    from batch.runner import Listener, run  # noqa: PLC0415

    log = asked.log
    if service is not None:
        log.hide(service.api_key, *service.network.proxies.values())
    metrics = MetricsFile(asked.values["metrics_file"], Path(settings.out), log)

    def planned(told: Plan, warnings: tuple[Problem, ...]) -> None:
        gc.freeze()  # what has read the manifest stays to the end: the collector need not look through it again
        console.planned(log, told, warnings)
        metrics.begin()  # from here on the folder is ours

    with ProgressLine(asked.values["progress"], log) as line, metrics:
        listener = Listener(
            begun=log.named,
            planned=planned,
            confirm=console.confirm,
            progress=line.hear,
            warn=lambda text: log.say(text, "run.warning", WARNING),
        )
        end = run(asked.manifest, settings, service, merge=merge, listener=listener, signals=True)
    onward = f"texbatch retry {settings.out} --status pending" if merge else "run the same command again"
    console.finished(log, end, Path(settings.out), onward=onward)
    if (merge and end.plan.changed) or (settings.redo is not None and settings.redo.changes):
        log.say(redoing.AFTERWARDS)
    return end.exit_code


@texbatch.command()
@click.argument("manifest", type=_PATH)
@options.option("--out", type=_PATH, help="The output folder to compare with.")
@options.option("--retry-failed", is_flag=True, help="Count failed and expired rows as to be sent.")
@options.submits
@options.of_choice
@click.pass_context
def plan(ctx: click.Context, /, manifest: Path, **_: Any) -> None:
    """Say what a run of MANIFEST would send, for how much, and how long it takes.

    Sends nothing and changes nothing.
    """
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
        rate=values["rate"],
        concurrency=values.get("concurrency") or None,
    )
    _preview(asked, settings, merge=None)


def _preview(asked: Asked, settings: RunSettings, *, merge: bool | None) -> None:
    from batch.plan import preview  # noqa: PLC0415  start-up time

    asked.reading.check_encoding(asked.manifest)
    told, found, simulated = preview(asked.manifest, settings, merge=merge)
    asked.log.problems(found.warnings)
    console.plan(told, simulated=simulated)
    if not simulated:
        _say_time(told, settings)


def _say_time(told: Plan, settings: RunSettings) -> None:
    from batch.control import learned_in  # noqa: PLC0415  start-up time
    from batch.folder import OutputFolder  # noqa: PLC0415

    learned, now = learned_in(OutputFolder(Path(settings.out)).ledger), time.time()
    console.time_it_takes(told.to_send, settings, learned, now)


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
    asked.reading.check_encoding(asked.manifest)
    found = check(asked.manifest, asked.reading)
    console.validation(found, as_json=asked.values["format"] == "json")
    ctx.exit(EXIT_USAGE if found.errors else EXIT_OK)


@texbatch.command()
@serving.of_serve
def serve(**values: Any) -> None:
    """Serve the hosted model's API on 127.0.0.1, without the network and without cost."""
    from batch.local import serve as serve_here  # noqa: PLC0415  start-up time

    settings = serving.server_settings(values)

    def ready(url: str, key: str) -> None:
        click.echo(f"Serving on {url}", err=True)
        click.echo(f"export SEGMIND_BASE_URL={url}")
        if not settings.api_key:  # a key we were given is not shown
            click.echo(f"export SEGMIND_API_KEY={key}")

    try:
        serve_here(settings, ready)
    except OSError as exc:
        reason = exc.strerror or exc
        raise UsageError(f"--port {settings.port}: cannot be used ({reason}). Give another one.") from exc


for elsewhere in (folders.status, folders.report, folders.resolve, operators.doctor, operators.completion):
    texbatch.add_command(elsewhere)
