"""`texbatch mark`: its options, and what it says of the decisions it wrote down."""

from __future__ import annotations

import getpass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from batch.cli import console
from batch.cli.options import FOLDER, IDS, Location, Option, Value
from batch.core.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
from batch.core.units import counted
from batch.ledger.decisions import REASONS, Decision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch.maintenance.mark import Marked

_BY_OPTION = {
    "accept": Decision.ACCEPTED,
    "reject": Decision.REJECTED,
    "clear": Decision.CLEARED,
}


def _ids(text: str) -> tuple[str, ...]:
    """Return ids as --only takes them, or those of @FILE, one a line."""
    if not text.strip(" ,"):
        raise UsageError("is empty. Give the ids of rows.")
    if not text.startswith("@"):
        ids: tuple[str, ...] = IDS.parse(text)
        return ids
    path = Path(text[1:])
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path}: is not UTF-8 text. Save it as UTF-8, one id a line.") from exc
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise UsageError(
            f"{path}: cannot be read ({reason}). After @ give a file with one id a line; put an id that starts "
            "with @ in double quotes."
        ) from exc
    found = tuple(_unquoted(line) for line in lines if line.strip())
    if not found:
        raise UsageError(f"{path}: contains no id. Write one a line.")
    return found


def _unquoted(text: str) -> str:
    """Return an id without the quotes that --only needs around one with a comma; any other text but for its blanks."""
    text = text.strip()
    if text.startswith('"') and text.endswith('"'):
        try:
            ids: tuple[str, ...] = IDS.parse(text)
        except UsageError:
            return text  # a quote of the id itself
        return ids[0] if len(ids) == 1 else text
    return text


_MARKED = Value("id,…", _ids)


def _choice(text: str) -> tuple[str, int]:
    """Return an id and a seed; the id may have a = too."""
    row_id, _, seed = (part.strip() for part in text.rpartition("="))
    if not row_id or not seed.isdecimal():
        raise UsageError(f"{text!r}: write it as ID=SEED, like chair-oak=7.")
    return _unquoted(row_id), int(seed)


_CHOICE = Value("id=seed", _choice)


def _name(text: str) -> str:
    """Return a name without the blanks around it; the option has refused an empty one."""
    return text.strip()


@click.command(
    params=[
        FOLDER, click.Argument(["file"], type=Location(), required=False),
        Option("--accept", env=False, multiple=True, type=_MARKED, metavar="ID,…",
               help="These images are good. May be given again, as --reject and --clear; @FILE has one id a line."),
        Option("--reject", env=False, multiple=True, type=_MARKED, metavar="ID,…", help="These are not."),
        Option("--clear", env=False, multiple=True, type=_MARKED, metavar="ID,…", help="Nothing is decided of these any more."),
        Option("--accept-unflagged", env=False, is_flag=True,
               help="Accept every saved image that is neither accepted nor rejected, nor named here."),
        Option("--choose", "pairs", env=False, multiple=True, type=_CHOICE, metavar="ID=SEED",
               help="Let this row have its image of this seed, of its candidates or its earlier work. May be given again."),
        Option("--reason", env=False, type=click.Choice(REASONS, case_sensitive=False), help="Why, with --reject."),
        Option("--note", env=False, type=Value("text", _name), metavar="TEXT", help="A note to each of these decisions."),
        Option("--as", "by", env=False, type=Value("name", _name), metavar="NAME",
               help="Who decides.  [default: the user of this machine]"),
        Option("--encoding", env=False, metavar="NAME", help="Text encoding of FILE; UTF-8 or UTF-16 unless given."),
    ],
)  # fmt: skip
@click.pass_context
def mark(
    ctx: click.Context, /, folder: Path, file: Path | None, *, accept: Sequence[tuple[str, ...]],
    reject: Sequence[tuple[str, ...]], clear: Sequence[tuple[str, ...]], accept_unflagged: bool, reason: str | None,
    note: str | None, by: str | None, encoding: str | None, pairs: Sequence[tuple[str, int]],
) -> None:  # fmt: skip
    """Write down which images of FOLDER are good, even while a run is going on.

    A decision is about the image that a row has now, and stays in the ledger. FILE is decisions.csv of the folder, or a
    report.csv, with your edits; without FILE and ids it is FOLDER/decisions.csv. Put an id with a comma in quotes, as for
    --only. Nothing is sent.
    """
    from batch.maintenance.mark import AskedDecisions, Named  # noqa: PLC0415  start-up time
    from batch.maintenance.mark import mark as write_down  # noqa: PLC0415

    given = {"accept": accept, "reject": reject, "clear": clear}
    named = [
        Named(row_id, _BY_OPTION[option], f"--{option}")
        for option, values in given.items()
        for ids in values
        for row_id in ids
    ]
    if pairs:
        if file is not None or named or accept_unflagged or reason or note or encoding:
            raise UsageError(
                "--choose goes alone, or with --as: first choose, then decide about what was chosen."
            )
        _choose(folder, pairs, by)
        return
    if file is not None and (named or accept_unflagged):
        raise UsageError(f"{file}: a file has its own decisions. Give it alone, or leave it out.")
    if encoding is not None and (named or accept_unflagged):
        raise UsageError("--encoding: is for a file of decisions. Leave it out.")
    asked = AskedDecisions(named, accept_unflagged, reason, note, by, _user(), file, encoding)
    marked = write_down(folder, asked)
    _say(marked, folder)
    ctx.exit(EXIT_SOME_FAILED if marked.not_applied else EXIT_OK)


def _choose(folder: Path, pairs: Sequence[tuple[str, int]], by: str | None) -> None:
    """Let rows have their image of a seed, and say what came of it."""
    from batch.maintenance.choose import choose  # noqa: PLC0415  start-up time

    who = by or _user()
    if who is None:
        raise UsageError("--choose: this machine does not say who you are. Give your name: --as NAME.")
    end = choose(folder, pairs, who)
    click.echo(f"{end.changed} chosen" + (f", {end.unchanged} unchanged" if end.unchanged else ""))
    for text in end.notes:
        console.note(text)
    if not end.applied:
        console.note("A run holds this folder: it takes the choice over when it ends.")


def _user() -> str | None:
    """Return who works at this machine, None where nobody knows."""
    try:
        return getpass.getuser().strip() or None
    except (OSError, KeyError, ImportError):  # before Python 3.13 a missing entry is a KeyError
        return None


def _say(marked: Marked, folder: Path) -> None:
    lines = [f"{left.line.id} (line {left.line.number}): {left.why}" for left in marked.not_applied]
    console.listed("not applied", lines)
    counts = [
        f"{marked.counts[decision]} {decision}"
        for decision in Decision
        if marked.counts[decision] or decision is not Decision.CLEARED
    ]
    if marked.unchanged:
        counts.append(f"{marked.unchanged} unchanged")
    if marked.not_applied:
        counts.append(f"{counted(len(marked.not_applied), 'line')} not applied")
    click.echo(", ".join(counts))
    if not marked.reports:
        console.note(
            "A run holds this folder: it writes report.csv and decisions.csv when it ends. If it is killed: "
            f"texbatch report {quote(str(folder))}"
        )
    if marked.edited:
        console.edited(folder)
