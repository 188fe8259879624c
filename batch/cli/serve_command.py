"""`texbatch serve`: its options, and the settings of the local server made from them.

A few options cover what most people rehearse; a settings file holds the rest. Precedence: option > TEXBATCH_<OPTION> >
settings file > the server's own default.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batch.cli.options import TIME, USD, Option
from batch.core.errors import UsageError
from batch.core.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.server import LocalSettings

PORT = 8787
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

OPTIONS = (
    Option("--port", type=click.IntRange(0, 65_535), help=f"0: a free one.  [default: {PORT}]"),
    click.Option(["--api-key"], envvar="SEGMIND_API_KEY",
                 help="The key that clients must send; one is made when none is given."),
    Option("--engine", metavar="NAME",
           help="cpu makes real images, placeholder tiny ones in no time.  [default: cpu]"),
    Option("--latency", type=TIME, help="How long each job takes at least.  [default: 0s]"),
    Option("--workers", type=click.IntRange(1, 10_000), help="Jobs processed at once.  [default: one per CPU core]"),
    Option("--rate", type=click.IntRange(min=1), metavar="N",
           help="Submits a minute; the next is answered 429.  [default: no limit]"),
    Option("--balance", type=USD, help="The account's credits.  [default: 1000]"),
    Option("--seed", type=int, metavar="N", help="Repeat request ids, drawn seeds, times and chances."),
    Option("--faults", type=_FILE, metavar="FILE", help="YAML list of faults: a scripted outage."),
    Option("--settings", type=_FILE, metavar="FILE",
           help="YAML of any settings of the server; batch/server/README.md lists them."),
)  # fmt: skip


@click.command(params=list(OPTIONS))
def serve(**values: Any) -> None:
    """Serve the hosted model's API on 127.0.0.1, without the network and without cost."""
    from batch.server import serve as serve_until_stopped  # noqa: PLC0415  start-up time

    settings = server_settings(values)

    def ready(url: str, key: str) -> None:
        click.echo(f"Serving on {url}", err=True)
        click.echo(f"export SEGMIND_BASE_URL={url}")
        if not settings.api_key:  # a key that was given is not shown
            click.echo(f"export SEGMIND_API_KEY={key}")

    try:
        serve_until_stopped(settings, ready)
    except OSError as exc:
        reason = exc.strerror or exc
        raise UsageError(f"--port {settings.port}: cannot be used ({reason}). Give another one.") from exc


def server_settings(values: Mapping[str, Any]) -> LocalSettings:
    """Return the settings asked for; raises UsageError with every problem."""
    from batch.server import LocalSettings, SettingsError, read_settings  # noqa: PLC0415  start-up time
    from batch.server.settings import read_fault_file  # noqa: PLC0415
    from batch.server.simulation.faults import read_faults  # noqa: PLC0415

    given = {name: values[name] for name in ("port", "api_key", "engine", "workers", "seed")}
    if values["latency"] is not None:
        given |= {"latency": "fixed", "latency_s": values["latency"]}
    if values["rate"] is not None:
        given |= {"rate_limit": values["rate"], "rate_window_s": 60.0, "rate_counts": "submits"}
    if values["balance"] is not None:
        given["balance_usd"] = values["balance"] / MICRO
    if values["faults"] is not None:
        given["faults_file"] = str(values["faults"])
    given = {name: value for name, value in given.items() if value is not None}
    defaults = {"port": PORT}
    try:
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always", DeprecationWarning)
            if values["settings"] is None:
                settings = LocalSettings.from_json(defaults | given)
            else:
                settings = read_settings(values["settings"], defaults, given)
        read_faults([*read_fault_file(settings.faults_file), *settings.faults])
    except SettingsError as exc:
        raise UsageError(str(exc)) from exc
    for note in notes:
        click.echo(f"Warning: {note.message}.", err=True)
    return settings
