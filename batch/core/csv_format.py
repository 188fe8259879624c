"""The format of a report, for reading and writing: its outcome columns, and which text comes back from it unchanged.

A spreadsheet runs a cell that starts with = + - @ TAB or CR as a formula (OWASP, "CSV Injection"). We put an
apostrophe before such text; numbers stay numbers. To come back unchanged, text that already looks escaped gets
one more: `unescape_formula(escape_formula(text)) == text` for every text. Braces are doubled because a manifest's
parameters are templates: `{{` comes back as `{`. Characters that no XML and no other program reads are refused on the
way in. pandas writes the lines; it is imported with the first one, since that takes half a second.
"""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from batch.core.models import Issue

if TYPE_CHECKING:
    from collections.abc import Sequence


class Outcome(NamedTuple):
    """An outcome column of the report: its name, its type in pandas, and whether it came after the first version.

    A manifest's own column keeps the name of one that was added later; ours is then prefixed.
    """

    name: str
    type: str = "string"
    added_later: bool = False


TIMESTAMP: Final = "datetime64[ms, UTC]"
OUTCOMES = (
    Outcome("status"),
    Outcome("error_class"),
    Outcome("error"),
    Outcome("http_status", "Int64"),
    Outcome("request_id"),
    Outcome("attempts", "Int64"),
    Outcome("submitted_at", TIMESTAMP),
    Outcome("completed_at", TIMESTAMP),
    Outcome("queue_s", "Float64"),
    Outcome("inference_s", "Float64"),
    Outcome("total_s", "Float64"),
    Outcome("cost", "Float64"),
    Outcome("output_path"),
    Outcome("output_sha256"),
    Outcome("width", "Int64"),
    Outcome("height", "Int64"),
    Outcome("payload_key"),
    Outcome("run_id"),
    Outcome("decision", added_later=True),
    Outcome("decision_reason", added_later=True),
    Outcome("decision_note", added_later=True),
    Outcome("decided_by", added_later=True),
    Outcome("decided_at", TIMESTAMP, added_later=True),
    Outcome("manifest_seed", "Int64", added_later=True),
    Outcome("output_state", added_later=True),
)
"""The outcome columns in the report's order. A new one is entered here alone: readers, report, sheet and `read_report` take it
from here, its values from the ledger's column of that name, or from `ReportColumns.cells` in `output/report.py`."""

OUTCOME_COLUMNS = tuple(outcome.name for outcome in OUTCOMES)
ADDED_LATER = frozenset(outcome.name for outcome in OUTCOMES if outcome.added_later)

OWN_PREFIX = "texbatch_"
"""The prefix of an outcome column whose name is taken."""

_BAD_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
_DANGEROUS = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def escape_formula(text: str) -> str:
    """Return a text that a spreadsheet shows and does not run."""
    if _DANGEROUS.match(text) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def unescape_formula(text: str) -> str:
    """Return the text that `escape_formula` was given."""
    return text[1:] if _ESCAPED.match(text) else text


def csv_lines(rows: Sequence[Sequence[Any]]) -> bytes:
    """Return rows as lines of CSV in UTF-8; None is an empty cell."""
    if not rows:
        return b""
    import pandas as pd  # noqa: PLC0415  start-up time

    # Before Python 3.13 csv does not quote a lone CR, and a reader would take it for the end of the row.
    lone_cr = any("\r" in cell for cells in rows for cell in cells if isinstance(cell, str))
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if lone_cr else csv.QUOTE_MINIMAL
    frame = pd.DataFrame(rows, dtype=object)
    text: str = frame.to_csv(index=False, header=False, lineterminator="\n", quoting=quoting)
    return text.encode()


def double_braces(text: str) -> str:
    """Return a template that expands to this very text."""
    return text.replace("{", "{{").replace("}", "}}")


def bad_character(text: str) -> Issue | None:
    """Return why a text cannot go into a report that every program reads, None when it can; tabs and line ends may."""
    if text.isprintable():  # nearly every text, and quickly
        return None
    found = _BAD_CHARACTER.search(text)
    if found is None:
        return None
    if found[0] == "\0" or found[0] >= "\ud800":
        return unsendable(text)
    return Issue(f"there is a control character in it (U+{ord(found[0]):04X}).", "Remove it.")


def unsendable(text: str) -> Issue | None:
    """Return why a text cannot even be sent: a NUL, or half of a surrogate pair; None when it can."""
    if "\0" in text:
        return Issue("there is a NUL character in it.", "Remove it.")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return Issue("there is half a character in it (a lone surrogate).", "Write the character again.")
    return None
