"""Options that commands share, and the settings made of them.

Precedence: row > command line > environment (TEXBATCH_<OPTION>) > job file > manifest defaults > the model's own
default. The defaults of the model's parameters stay text here: the intake types and checks them, once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from batch.cli import redoing
from batch.cli.kinds import Duration, Failures, InFlight, Money, Submits
from batch.cli.log import Log
from batch.config import (
    GRACE_S,
    JOB_TIMEOUT_S,
    NAME,
    RETRIES,
    SETTLE_S,
    Reading,
    RunSettings,
)
from batch.errors import UsageError
from batch.parameters import IMAGE_PARAMETERS, PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch.intake import JobFile

PREFIX = "TEXBATCH_"

UNITS = (
    "TIME is written 90s, 15m, 2h or 1h30m; USD like 12.50. Every option can also be set as TEXBATCH_<OPTION> in the "
    "environment, or stand in a job file; the command line wins, then the environment."
)

PARAMETER_OPTIONS = tuple(parameter for parameter in PARAMETERS if parameter.name not in IMAGE_PARAMETERS)


def option(name: str, *flags: str, **kwargs: Any) -> Callable[[Any], Any]:
    """Declare an option that can also be set as TEXBATCH_<OPTION>."""
    variable = PREFIX + name.removeprefix("--").upper().replace("-", "_")
    return click.option(*flags, name, envvar=variable, **kwargs)


def of_parameters(command: Any) -> Any:
    """Add a default for each of the model's parameters."""
    for parameter in reversed(PARAMETER_OPTIONS):
        flag = "--" + parameter.name.replace("_", "-")
        limits = "|".join(parameter.choices)
        if parameter.minimum is not None:
            limits = f"{parameter.minimum} … {parameter.maximum}"
        words = f"{parameter.help}{f' {limits}.' if limits else ''}"
        command = option(flag, help=f"Default for rows without one: {words}", metavar=parameter.kind.upper())(
            command
        )
    return command


def _together(*declared: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Declare options in the order they are to be listed."""

    def add(command: Any) -> Any:
        for declare in reversed(declared):
            command = declare(command)
        return command

    return add


settle = option(
    "--settle",
    default=f"{SETTLE_S:.0f}s",
    show_default=True,
    type=Duration(),
    help="How long the history may take to list a submit whose answer was lost.",
)
submits = option(
    "--rate",
    type=Submits(),
    help="Submit no more than this, like 50/1m; without it, 429s tell the account's limit.",
)
api_key_file = option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File that holds the API key; it wins over SEGMIND_API_KEY.",
)

of_reading = _together(
    option(
        "--ignore-url-query",
        is_flag=True,
        help="Keep the query strings of image URLs out of a row's identity: for links that are signed anew.",
    ),
    option(
        "--name",
        help=f"The pictures' names below images/.  [default: {NAME}, or what the folder was made with]",
    ),
    option("--encoding", metavar="NAME", help="Text encoding of a CSV manifest; UTF-8 unless given."),
    of_parameters,
)
"""How a manifest is read."""

of_choice = _together(
    option("--price", type=Money(), help="What a job costs, where the folder does not know yet."),
    option("--only", metavar="ID,…", help="Send only these rows."),
    of_reading,
)
"""Which of its rows are meant."""


def _log_format(ctx: click.Context, param: click.Parameter, value: str) -> str:  # noqa: ARG001  click's
    log = ctx.find_object(Log)
    if log is not None:  # at once: wrong usage of the other options is told in this format too
        log.as_json = value == "json"
    return value


of_runs = _together(
    option("--local", is_flag=True, help="Use the server on this machine: no key, nothing paid."),
    option("--concurrency", default="auto", show_default=True, type=InFlight(),
           help="Most jobs in flight; auto: as many as the account can use."),
    submits,
    option("--yes", is_flag=True, help="Pay for changed rows again without asking."),
    option("--retries", default=RETRIES, show_default=True, type=click.IntRange(0, 100),
           help="Times a submit is sent again after an error that was certainly not billed."),
    option("--job-timeout", default=f"{JOB_TIMEOUT_S / 60:.0f}m", show_default=True, type=Duration(),
           help="How long to wait for one job; the next run goes on waiting."),
    option("--max-cost", type=Money(), help="Spend no more than this, lost submits and running jobs of before included."),
    option("--max-failures", type=Failures(),
           help="Stop when so many rows have failed, or such a share of those that have ended."),
    option("--max-duration", type=Duration(), help="Submit nothing more after this time."),
    option("--pilot", type=click.IntRange(min=1), metavar="N", help="Send N rows, spread over the manifest, and stop."),
    settle,
    option("--grace", default=f"{GRACE_S:.0f}s", show_default=True, type=Duration(),
           help="How long what is in flight is awaited after a signal."),
    api_key_file,
    option("--progress", type=click.Choice(["auto", "bar", "log", "none"]), default="auto", show_default=True,
           help="A bar on a terminal, else a line a minute."),
    option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True,
           is_eager=True, callback=_log_format, help="json: one event a line on stderr, for machines."),
    option("--metrics-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
           help="Write the figures there each minute and at the end, for Prometheus' textfile collector: *.prom."),
    option("--quiet", "-q", is_flag=True, help="Say nothing unless something went wrong."),
    option("--verbose", "-v", is_flag=True, help="Say what happens to each job."),
    option("--dry-run", "-n", is_flag=True, help="Say what would be sent, and stop."),
    of_choice,
)  # fmt: skip
"""Everything that run and retry share."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command was asked for: its manifest, and every option by name, the job file's already among them."""

    manifest: Path
    values: dict[str, Any]
    log: Log

    @property
    def reading(self) -> Reading:
        """How the manifest is to be read."""
        named = ((parameter.name, self.values[parameter.name]) for parameter in PARAMETER_OPTIONS)
        parameters = {name: value for name, value in named if value is not None}
        return Reading(
            parameters, self.values["name"], self.values["encoding"], self.values["ignore_url_query"]
        )

    @property
    def only(self) -> tuple[str, ...]:
        """The ids to send; empty for all."""
        return tuple(part.strip() for part in (self.values["only"] or "").split(",") if part.strip())

    def settings(self, out: Path, *, retry_failed: bool) -> RunSettings:
        """Return the settings of a run; raises UsageError."""
        number, share = self.values["max_failures"] or (None, None)
        return RunSettings(
            out=out,
            reading=self.reading,
            only=self.only,
            concurrency=self.values["concurrency"] or None,
            rate=self.values["rate"],
            retries=self.values["retries"],
            job_timeout_s=self.values["job_timeout"],
            yes=self.values["yes"],
            retry_failed=retry_failed,
            max_cost=self.values["max_cost"],
            price=self.values["price"],
            max_failures=number,
            max_failure_share=share,
            max_duration_s=self.values["max_duration"],
            pilot=self.values["pilot"],
            settle_s=self.values["settle"],
            grace_s=self.values["grace"],
        )


def asked(ctx: click.Context, manifest: Path) -> Asked:
    """Return what was asked for; a job file's options stand where neither command line nor environment speaks."""
    from batch.intake import is_job_file, read_job_file  # noqa: PLC0415  start-up time

    if not is_job_file(manifest):
        redoing.refuse_elsewhere(ctx, ctx.params)
        return Asked(manifest, dict(ctx.params), _log(ctx, ctx.params))
    own = {param.name: param for param in _run_options(ctx) if param.name}
    job = read_job_file(manifest, [name.replace("_", "-") for name in own], os.environ)
    values = ctx.params | _from_job(ctx, job, own)
    redoing.refuse_elsewhere(ctx, values)
    return Asked(job.manifest, values, _log(ctx, values))


def _log(ctx: click.Context, values: dict[str, Any]) -> Log:
    log = ctx.find_object(Log) or Log()
    if "log_format" in values:
        log.configure(values["log_format"], quiet=values["quiet"], verbose=values["verbose"])
    return log


def _run_options(ctx: click.Context) -> list[click.Parameter]:
    """Return the options of `run`, which are what a job file may hold, whichever command reads it."""
    group = ctx.find_root().command
    command = group.get_command(ctx, "run") if isinstance(group, click.Group) else None
    return [param for param in (command.params if command else []) if isinstance(param, click.Option)]


def _from_job(ctx: click.Context, job: JobFile, own: dict[str, click.Parameter]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, given in job.options.items():
        name = key.replace("-", "_")
        if ctx.get_parameter_source(name) in {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}:
            continue
        text = ",".join(given) if isinstance(given, tuple) else given
        if isinstance(text, bool) and not getattr(own[name], "is_flag", False):
            text = str(text).lower()
        try:
            values[name] = own[name].type_cast_value(ctx, text)
        except click.BadParameter as exc:
            raise UsageError(f"{job.path}: {key}: {exc.message}") from exc
        if name in {"out", "api_key_file", "metrics_file"}:
            values[name] = job.path.parent / values[name]
    return values
