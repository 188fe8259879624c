"""The options that commands share, their types, and the settings made from them.

Precedence: row > command line > environment (TEXBATCH_<OPTION>) > job file > manifest defaults > the model's own
default. Defaults of the model's parameters stay text here: the manifest package parses and checks them, once. Every
rejected value is reported with the reason and an example of a valid one.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from batch.cli.log import Log, problems
from batch.core.config import (
    DEFAULT_NAME,
    GRACE_S,
    INVALID_SKIP,
    INVALID_STOP,
    JOB_TIMEOUT_S,
    MOST_CANDIDATES,
    MOST_IN_FLIGHT,
    RETRIES,
    SEED_KEEP,
    SEED_NEXT,
    SEED_RANDOM,
    SETTLE_S,
    UPLOAD_ALL,
    UPLOAD_PRIVATE,
    Rate,
    Reading,
    RunSettings,
    check_not_url,
)
from batch.core.errors import UsageError
from batch.core.models import Issue
from batch.core.parameters import IMAGE_PARAMETERS, PARAMETERS
from batch.core.units import MICRO, parse_duration, parse_rate
from batch.manifest.headings import column_option, parse_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batch.manifest.job_file import JobFile

SAME_ACCOUNT_VARIABLE = "TEXBATCH_SAME_ACCOUNT"
ONLY_A_PERSON = "only a person can confirm which account a new key belongs to, and only on the command line."
MOST_USD = 1_000_000_000
PREFIX = "TEXBATCH_"

NEVER_EMPTY = frozenset({"only", "max_cost", "price", "max_failures", "max_duration", "pilot"})
"""Options that limit what is sent or paid: an empty one would lift the limit, so it is an error from any source."""

UNITS = (
    "TIME is written 90s, 15m, 2h or 1h30m; USD like 12.50. Every option except --same-account and --column can also be set as "
    "TEXBATCH_<OPTION> in the environment, or in a job file; the command line wins, then the environment. A job file has "
    'columns: {image_1: "Bild 1"} for --column.'
)

SEED_WORDS = frozenset({SEED_RANDOM, SEED_NEXT, SEED_KEEP})
"""Values of --seed that only `retry` takes."""


class Location(click.Path):
    """A path, as a Path. It need not exist, but the system must be able to look it up: not too long, not forbidden."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            if path.is_dir():
                os.stat(os.path.join(path, "."))  # noqa: PTH116, PTH118  Path drops the dot: may the folder be entered?
        except OSError as error:
            self.fail(
                f"{str(path)!r} cannot be looked up ({error.strerror}). Check the path and the permissions of its folders.",
                param, ctx,
            )  # fmt: skip
        return path


class Option(click.Option):
    """An option that can also be set as TEXBATCH_<OPTION> in the environment, unless `env` is false.

    An empty value is an error on the command line, where "$NAME" may be empty, and in a job file. An empty environment
    variable counts as not set, except for NEVER_EMPTY. A value must be UTF-8, because it goes into rows; a path may
    hold any bytes.
    """

    def __init__(self, *names: str, env: bool = True, **kwargs: Any) -> None:
        if env:
            kwargs["envvar"] = PREFIX + names[0].removeprefix("--").upper().replace("-", "_")
        # The short name first, as help and messages show it.
        super().__init__((*names[1:], names[0]), **kwargs)

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the value in its own type."""
        if isinstance(value, str):
            if not value.strip():
                raise click.BadParameter("is empty. Give a value, or leave the option out.", ctx, self)
            if not isinstance(self.type, click.Path) and not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError:
                    raise click.BadParameter(f"{value!a} is not valid UTF-8.", ctx, self) from None
        return super().type_cast_value(ctx, value)

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the value of the environment variable, None when it is not set."""
        if self.name in NEVER_EMPTY and self.envvar and os.environ.get(str(self.envvar)) == "":
            raise click.BadParameter(f"{self.envvar} is empty. Give a value, or unset it.", ctx, self)
        return super().resolve_envvar_value(ctx)


@dataclass(frozen=True, eq=False)
class Value(click.ParamType[Any]):
    """The type of an option whose text `parse` reads; what it refuses it raises as UsageError."""

    name: str
    parse: Callable[[Any], Any]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value in its own type."""
        try:
            return self.parse(value)
        except UsageError as exc:
            self.fail(str(exc), param, ctx)


def _money(text: str) -> int:
    """Return US dollars as micro-dollars, 0 … 10**15."""
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and 0 <= amount <= MOST_USD):
        raise UsageError(f"{text!r} is not a valid amount. Write dollars like 12.50.")
    return int(amount * MICRO)


def _price(text: str) -> int:
    """Return what a job costs in micro-dollars, 1 … 10**15."""
    if micro := _money(text):
        return micro
    raise UsageError(
        f"{text!r} is not a valid price: with it --max-cost would limit nothing. Give more than 0.000001 dollars, "
        "or leave it out."
    )


def _ids(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return ids that are separated by commas or line ends; one with a comma is in double quotes, as in a CSV.

    The items of a list in a job file are taken as they are.
    """
    parts = list(given)
    if isinstance(given, str):
        try:
            lines = csv.reader(given.splitlines(), skipinitialspace=True, strict=True)
            parts = [part for line in lines for part in line]
        except csv.Error as exc:
            raise UsageError(
                f"{given!r} cannot be read ({exc}). Put an id with a comma in double quotes."
            ) from exc
    ids = tuple(part.strip() for part in parts if part.strip())
    if not ids:
        raise UsageError(f"{given!r} contains no id. Give ids, or leave the option out to take all rows.")
    return ids


def _in_flight(text: str) -> int:
    """Return a number of jobs, 0 for auto."""
    text = text.strip()
    if text == "auto":
        return 0
    if not text.isdecimal() or not 1 <= int(text) <= MOST_IN_FLIGHT:
        raise UsageError(f"{text!r} is neither auto nor a number 1 … {MOST_IN_FLIGHT}.")
    return int(text)


def _failures(text: str) -> tuple[int | None, float | None]:
    """Return a number of rows like 20 as (number, None), a share of the finished rows like 5% as (None, 0 … 1)."""
    number = text.removesuffix("%")
    if not number.isdecimal() or int(number) < 1 or (text.endswith("%") and int(number) > 100):
        raise UsageError(f"{text!r} is neither a number of rows like 20 nor a share like 5%.")
    return (None, int(number) / 100) if text.endswith("%") else (int(number), None)


TIME = Value("time", parse_duration)
"""A time like 90s, 15m or 2h, in seconds."""

USD = Value("usd", _money)
IDS = Value("id,…", _ids)


PARAMETER_OPTIONS: dict[str, Option] = {}
"""The options for the defaults of the model's parameters, by the parameter's name."""

for _parameter in PARAMETERS:
    _limits = "|".join(_parameter.choices)
    if _parameter.minimum is not None:
        _limits = f"{_parameter.minimum} … {_parameter.maximum}"
    PARAMETER_OPTIONS[_parameter.name] = Option(
        "--" + _parameter.name.replace("_", "-"),
        metavar=_parameter.kind.upper(),
        help=f"Default for rows without one: {_parameter.help}{f' {_limits}.' if _limits else ''}",
    )


def _refuse_variable(ctx: click.Context, param: click.Parameter, value: bool) -> bool:  # noqa: ARG001, FBT001  click's
    if os.environ.get(SAME_ACCOUNT_VARIABLE, "").strip():
        raise UsageError(f"{SAME_ACCOUNT_VARIABLE}: {ONLY_A_PERSON} Unset it, and give --same-account.")
    return value


def _log_format(ctx: click.Context, param: click.Parameter, value: str) -> str:  # noqa: ARG001  click's
    log = ctx.find_object(Log)
    if log is not None:  # at once: wrong usage of the other options is reported in this format too
        log.as_json = value == "json"
    return value


MANIFEST = click.Argument(["manifest"], type=Location())
FOLDER = click.Argument(["folder"], type=Location())
OUT = Option("--out", type=Location(), help="The output folder; created if it does not exist.")

SETTLE = Option("--settle", default=f"{SETTLE_S:.0f}s", show_default=True, type=TIME,
                help="How long the history may take to list a submit whose answer was lost.")  # fmt: skip
RATE = Option("--rate", type=Value("n/time", lambda text: Rate(*parse_rate(text))),
              help="Submit no more than this, like 50/1m; without it, 429s reveal the account's limit.")  # fmt: skip
API_KEY_FILE = Option("--api-key-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
                      help="File that holds the API key; it wins over SEGMIND_API_KEY.")  # fmt: skip
GROUP_BY = Option("--group-by", metavar="COLUMN",
                  help="Count images and cost by this column, a parameter or one of your own.")  # fmt: skip
PROGRESS = Option("--progress", type=click.Choice(["auto", "bar", "log", "none"]), default="auto", show_default=True,
                  help="A bar on a terminal, else a line a minute.")  # fmt: skip
QUIET = Option("--quiet", "-q", is_flag=True, help="Print nothing unless something went wrong.")
SAME_ACCOUNT = Option(
    "--same-account", env=False, is_flag=True, callback=_refuse_variable,
    help="Confirm that a new key belongs to the account that paid for this folder. Only on the command line.",
)  # fmt: skip

COLUMN = Option("--column", env=False, multiple=True, type=Value("parameter=heading", parse_column), metavar="PARAMETER=HEADING",
                help='Which column is a parameter or the id, like image_1="Bild 1"; without a heading, none is. May be given '
                "again. The folder remembers it.")  # fmt: skip

ON_INVALID = Option(
    "--invalid", type=click.Choice([INVALID_STOP, INVALID_SKIP]),
    help="What to do where rows of the manifest are invalid: send nothing, or leave them out as failed.  "
         "[default: ask on a terminal, else stop]",
)  # fmt: skip

READING = (
    COLUMN,
    Option("--ignore-url-query", is_flag=True,
           help="Keep the query strings of image URLs out of a row's identity: for links signed in an unusual way."),
    Option("--upload-links", type=click.Choice([UPLOAD_PRIVATE, UPLOAD_ALL]),
           help="Fetch the images of links from this machine and upload them: of links to private addresses, or of all."),
    Option("--name", help=f"File names of the images below images/.  [default: {DEFAULT_NAME}, or the folder's own]"),
    Option("--encoding", metavar="NAME", help="Text encoding of a CSV manifest; UTF-8 unless given."),
    Option("--sheet", metavar="NAME|N",
           help="The sheet of a workbook that holds the rows, by its name or its position from 1; else the only one that has the columns."),
    Option("--skip-hidden", is_flag=True, help="Leave out the rows that a workbook hides, by a filter or by hand."),
    *PARAMETER_OPTIONS.values(),
)  # fmt: skip
"""How a manifest is read."""

CHOICE = (
    Option("--price", type=Value("usd", _price), help="What a job costs until the account has paid for one; else the list price."),
    Option("--only", type=IDS, metavar="ID,…",
           help='Send only these rows; put an id with a comma in quotes: \'"Chair, oak",mug\'.'),
    Option("--candidates", type=click.IntRange(2, MOST_CANDIDATES), metavar="N",
           help="Make N images of each row, each of another seed, of which `mark --choose` chooses one."),
    GROUP_BY,
    *READING,
)  # fmt: skip
"""Which rows are meant, and by what they are counted."""

RUNNING = (
    Option("--local", is_flag=True, help="Use the server on this machine: no key, nothing paid."),
    Option("--concurrency", default="auto", show_default=True, type=Value("n|auto", _in_flight),
           help="Most jobs in flight; auto: as many as the account can use."),
    RATE,
    Option("--yes", is_flag=True,
           help="Pay again without asking: for changed rows; on the command line also for the same work."),
    Option("--retries", default=RETRIES, show_default=True, type=click.IntRange(0, 100),
           help="Times a submit is sent again after an error that was certainly not billed."),
    Option("--job-timeout", default=f"{JOB_TIMEOUT_S / 60:.0f}m", show_default=True, type=TIME,
           help="How long to wait for one job; the next run goes on waiting."),
    ON_INVALID,
    Option("--max-cost", type=USD, help="Spend no more than this, earlier lost submits and running jobs included."),
    Option("--max-failures", type=Value("n|p%", _failures),
           help="Stop when this many rows have failed, or this share of the finished ones."),
    Option("--max-duration", type=TIME, help="Submit nothing more after this time."),
    Option("--pilot", type=click.IntRange(min=1), metavar="N", help="Send N rows, spread over the manifest, and stop."),
    SETTLE,
    Option("--grace", default=f"{GRACE_S:.0f}s", show_default=True, type=TIME,
           help="How long to wait after a signal for what is in flight."),
    API_KEY_FILE,
    SAME_ACCOUNT,
    PROGRESS,
    Option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True,
           is_eager=True, callback=_log_format, help="json: one event a line on stderr, for machines."),
    Option("--metrics-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
           help="Write metrics there each minute and at the end, for Prometheus' textfile collector: *.prom."),
    QUIET,
    Option("--verbose", "-v", is_flag=True, help="Log what happens to each job."),
    Option("--dry-run", "-n", is_flag=True, help="Show what would be sent, and stop."),
    *CHOICE,
)  # fmt: skip
"""Everything that run and retry share."""


@dataclass(frozen=True, slots=True)
class ParsedOptions:
    """A command's manifest and options, those of a job file included.

    `yes_typed` is true when --yes was given on the command line: a yes that was written down once, in a job file or
    the environment, covers rows that a person edited, never the same work again.
    """

    manifest: Path
    reading: Reading
    values: dict[str, Any]
    log: Log
    yes_typed: bool = False

    def settings(self, out: Path, *, retry_failed: bool) -> RunSettings:
        """Return the settings of a run; raises UsageError."""
        values = self.values
        number, share = values["max_failures"] or (None, None)
        as_given = ("invalid", "rate", "retries", "max_cost", "price", "pilot", "same_account", "group_by")
        return RunSettings(
            out=out,
            reading=self.reading,
            only=values["only"] or (),
            concurrency=values["concurrency"] or None,
            yes=self.yes_typed,
            yes_to_edits=values["yes"],
            retry_failed=retry_failed,
            max_failures=number,
            max_failure_share=share,
            candidates=values["candidates"] or 1,
            **{name: values[name] for name in as_given},
            **{f"{name}_s": values[name] for name in ("job_timeout", "max_duration", "settle", "grace")},
        )

    def preview(self) -> RunSettings:
        """Return the settings that decide what a run would send and for how much; raises UsageError.

        Where no folder is named every row is new.
        """
        values = self.values
        return RunSettings(
            values["out"] or Path(os.devnull),
            self.reading,
            only=values.get("only") or (),
            concurrency=values.get("concurrency") or None,
            rate=values.get("rate"),
            yes_to_edits=bool(values.get("yes")),
            retry_failed=bool(values.get("retry_failed")),
            max_cost=values.get("max_cost"),
            price=values.get("price"),
            candidates=values.get("candidates") or 1,
            group_by=values.get("group_by"),
            invalid=values.get("invalid") or INVALID_STOP,
        )


def parse_options(ctx: click.Context, manifest: Path) -> ParsedOptions:
    """Return the options of a command; those of a job file apply where command line and environment give none.

    Raises UsageError.
    """
    from batch.manifest.manifest import is_job_file  # noqa: PLC0415  start-up time

    job = _read_job(ctx, manifest) if is_job_file(manifest) else None
    values = ctx.params | job[1] if job else dict(ctx.params)
    seed = values.get("seed")
    if seed in SEED_WORDS and ctx.command.name != "retry":
        instead = {SEED_RANDOM: "-1 draws a seed for each row", SEED_NEXT: "write 1 for the seed one"}.get(
            seed, "saved rows keep theirs"
        )
        raise UsageError(f"--seed {seed}: only `texbatch retry` takes it; in a {ctx.command.name} {instead}.")
    log = ctx.ensure_object(Log)
    if "log_format" in values:
        log.configure(
            values["log_format"], quiet=values.get("quiet", False), verbose=values.get("verbose", False)
        )
    if job:
        problems(job[0].warnings)
    defaults = {name: values.get(name) for name in PARAMETER_OPTIONS}
    for name in IMAGE_PARAMETERS:
        if (image := defaults[name]) is not None:
            defaults[name] = _from(job[0].path.parent if job and name in job[1] else Path(), image)
    if seed in SEED_WORDS:
        del defaults["seed"]
    reading = Reading(
        {name: value for name, value in defaults.items() if value is not None},
        values.get("name"),
        values.get("encoding"),
        bool(values.get("ignore_url_query")),
        sheet=values.get("sheet"),
        skip_hidden=bool(values.get("skip_hidden")),
        columns=(dict(job[0].columns) if job else {}) | _columns(values.get("column") or ()),
        upload_links=values.get("upload_links"),
    )
    typed = ctx.get_parameter_source("yes") is ParameterSource.COMMANDLINE and bool(ctx.params.get("yes"))
    return ParsedOptions(job[0].manifest if job else manifest, reading, values, log, typed)


def _from(folder: Path, image: str) -> str:
    """Return an image given for all rows: a URL as it is, a path as it is meant in `folder`; it may be a template."""
    from batch.core.csv_format import double_braces  # noqa: PLC0415  start-up time
    from batch.manifest.naming import is_url  # noqa: PLC0415

    if is_url(image) or Path(image).is_absolute():
        return image
    return f"{double_braces(str(folder.absolute()))}/{image}"


def _columns(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headings of --column by parameter; raises UsageError for a parameter that has two."""
    columns: dict[str, str] = {}
    for parameter, heading in given:
        if columns.setdefault(parameter, heading) != heading:
            both = f"{column_option(parameter, columns[parameter])} and {column_option(parameter, heading)}"
            raise UsageError(f"{both}: a parameter is one column. Leave one of them out.")
    return columns


def _read_job(ctx: click.Context, path: Path) -> tuple[JobFile, dict[str, Any]]:
    """Return a job file, and its options where neither command line nor environment gives them; raises UsageError.

    A job file may hold the options of `run`, whichever command reads it.
    """
    from batch.manifest.job_file import read_job_file  # noqa: PLC0415  start-up time

    run = ctx.find_root().command
    run = run.commands["run"] if isinstance(run, click.Group) else run
    own = {param.name: param for param in run.params if isinstance(param, click.Option) and param.name}
    allowed = [name.replace("_", "-") for name in own if name not in {"same_account", "column"}]
    refused = {
        "same-account": Issue(
            f"is not an option of a job file: {ONLY_A_PERSON}",
            "Take it out, and give --same-account to the command.",
        ),
        "column": Issue("is written as a mapping here.", 'Write `columns: {image_1: "Bild 1"}`.'),
    }
    job = read_job_file(path, allowed, os.environ, refused=refused, never_empty=NEVER_EMPTY)
    values: dict[str, Any] = {}
    for key, given in job.options.items():
        name = key.replace("-", "_")
        if ctx.get_parameter_source(name) in {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}:
            continue
        text: Any = given
        if isinstance(given, tuple) and own[name].type is not IDS:
            text = ",".join(given)
        if isinstance(text, bool) and not own[name].is_flag:
            text = str(text).lower()
        try:
            values[name] = own[name].type_cast_value(ctx, text)
        except click.BadParameter as exc:
            raise UsageError(f"{job.path}: {key}: {exc.message}") from exc
        if name in {"out", "api_key_file", "metrics_file"}:
            if name == "out":
                check_not_url(values[name])
            values[name] = job.path.parent / values[name]
    return job, values
