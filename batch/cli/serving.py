"""The options of `texbatch serve`, and the settings of the local server made of them.

Few options, for what everybody rehearses; a settings file holds the rest. Precedence: option > TEXBATCH_<OPTION> >
settings file > the server's own default.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batch.cli.kinds import MICRO, Duration, Money
from batch.cli.options import option
from batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.local import LocalSettings

PORT = 8787
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

DECLARED = (
    option("--port", type=click.IntRange(0, 65_535), help=f"0: a free one.  [default: {PORT}]"),
    click.option("--api-key", envvar="SEGMIND_API_KEY",
                 help="The key clients must send; one is made when there is none."),
    option("--engine", type=click.Choice(["drape", "card"]),
           help="drape makes real pictures, card tiny ones in no time.  [default: drape]"),
    option("--latency", type=Duration(), help="How long each job takes at least.  [default: 0s]"),
    option("--workers", type=click.IntRange(1, 10_000), help="Jobs at work at once.  [default: one a CPU core]"),
    option("--rate", type=click.IntRange(min=1), metavar="N",
           help="Submits a minute; the next is answered 429.  [default: no limit]"),
    option("--balance", type=Money(), help="The account's credits.  [default: 1000]"),
    option("--seed", type=int, metavar="N", help="Repeat request ids, drawn seeds, times and chances."),
    option("--faults", type=_FILE, metavar="FILE", help="YAML list of faults: an outage, scripted."),
    option("--settings", type=_FILE, metavar="FILE",
           help="YAML of any settings of the server; batch/local/README.md lists them."),
)  # fmt: skip


def of_serve(command: Any) -> Any:
    """Declare the options of `serve`, in the order they are listed."""
    for declare in reversed(DECLARED):
        command = declare(command)
    return command


def server_settings(values: Mapping[str, Any]) -> LocalSettings:
    """Return the settings asked for; raises UsageError with every problem."""
    from batch.local import LocalSettings, SettingsError, read_settings  # noqa: PLC0415  start-up time
    from batch.local.documents import read_fault_file  # noqa: PLC0415
    from batch.local.faults import read_faults  # noqa: PLC0415

    asked = _asked(values)
    defaults = {"port": PORT}
    try:
        if values["settings"] is None:
            settings = LocalSettings.from_json(defaults | asked)
        else:
            settings = read_settings(values["settings"], defaults, asked)
        read_faults([*read_fault_file(settings.faults_file), *settings.faults])
    except SettingsError as exc:
        raise UsageError(str(exc)) from exc
    return settings


def _asked(values: Mapping[str, Any]) -> dict[str, Any]:
    asked = {name: values[name] for name in ("port", "api_key", "engine", "workers", "seed")}
    if values["latency"] is not None:
        asked |= {"latency": "fixed", "latency_s": values["latency"]}
    if values["rate"] is not None:
        asked |= {"rate_limit": values["rate"], "rate_window_s": 60.0, "rate_counts": "submits"}
    if values["balance"] is not None:
        asked["balance_usd"] = values["balance"] / MICRO
    if values["faults"] is not None:
        asked["faults_file"] = str(values["faults"])
    return {name: value for name, value in asked.items() if value is not None}
