"""The options of `retry` that pay again on purpose, and where they make no sense.

`--seed random` and `--seed +1` are words of `retry` alone; a number there is what it is everywhere, the default for rows
without a seed. None of these options is taken from the environment: nobody should pay again because of a variable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from batch.config import ANEW, COUNT_UP, Redo
from batch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = "retry"
AFTERWARDS = (
    "The rows done anew differ from their manifest now: a later run of it brings the earlier pictures back, at no "
    "cost. To keep the new ones, take their seed and prompt from report.csv into the manifest."
)
"""What a person should know after a redo."""

_WORDS = {ANEW, COUNT_UP}


def of_redo(command: Any) -> Any:
    """Add the options of a redo."""
    command = click.option(
        "--prompt-append",
        metavar="TEXT",
        help="Add this to each row's prompt, and pay for saved rows again; takes columns like {texture}.",
    )(command)
    return click.option(
        "--status",
        metavar="STATUS,…",
        help="Take the rows with such an outcome: failed, expired, saved, pending, abandoned.",
    )(command)


def read_redo(ctx: click.Context, values: dict[str, Any], file: Path | None) -> Redo | None:
    """Return the redo that `retry` was asked for, None for a plain retry; takes its words out of `values`."""
    seed = values["seed"]
    if seed in _WORDS:
        values["seed"] = None
        if ctx.get_parameter_source("seed") is ParameterSource.ENVIRONMENT:
            raise UsageError(f"TEXBATCH_SEED={seed}: a redo is asked for on the command line: --seed {seed}.")
    elif (
        seed is not None and file is None and ctx.get_parameter_source("seed") is ParameterSource.COMMANDLINE
    ):
        raise UsageError(
            f"--seed {seed}: the rows of a folder have seeds. Give --seed {ANEW} or {COUNT_UP}, or edit a copy of "
            "report.csv and give that as FILE."
        )
    words, append = (seed if seed in _WORDS else None), values["prompt_append"]
    if append is not None and not append.strip():
        raise UsageError("--prompt-append: is empty. Give the text to add.")
    statuses = tuple(part.strip() for part in (values["status"] or "").split(",") if part.strip())
    if values["status"] is not None and file is not None:
        raise UsageError("--status chooses rows of the folder; with FILE the rows are those of FILE.")
    if values["status"] is not None and not statuses:
        raise UsageError("--status: is empty. Give failed, expired, saved, pending or abandoned.")
    redo = Redo(statuses, words, append or "", from_folder=file is None)
    return redo if redo.changes or (file is None and (statuses or values["only"])) else None


def refuse_elsewhere(ctx: click.Context, values: dict[str, Any]) -> None:
    """Raise UsageError where another command is given a word of `retry`."""
    seed = values.get("seed")
    if seed in _WORDS and ctx.command.name != COMMAND:
        instead = "-1 draws a seed for each row" if seed == ANEW else "write 1 for the seed one"
        raise UsageError(
            f"--seed {seed}: only `texbatch retry` does a row once more; in a {ctx.command.name} {instead}."
        )
