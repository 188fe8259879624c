"""What reading and writing a report share: its outcome columns, and what keeps it safe and true in both directions.

A spreadsheet runs a cell that starts with = + - @ TAB or CR as a formula (OWASP, "CSV Injection"). We put an
apostrophe before such text; numbers stay numbers. To come back unchanged, text that already looks escaped gets
one more: `restore(neutralise(text)) == text` for every text. Braces are doubled because the intake reads
parameters as templates: `{{` comes back as `{`.
"""

from __future__ import annotations

import re

OUTCOME_COLUMNS: tuple[str, ...] = (
    "status",
    "error_class",
    "error",
    "http_status",
    "request_id",
    "attempts",
    "submitted_at",
    "completed_at",
    "queue_s",
    "inference_s",
    "total_s",
    "cost",
    "output_path",
    "output_sha256",
    "width",
    "height",
    "payload_key",
    "run_id",
)

_DANGEROUS = re.compile(r"'*[=+\-@\t\r]")
_NEUTRALISED = re.compile(r"'+[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def neutralise(text: str) -> str:
    """Return the text as a spreadsheet will show it and not run it."""
    if _DANGEROUS.match(text) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def restore(text: str) -> str:
    """Return what `neutralise` was given."""
    return text[1:] if _NEUTRALISED.match(text) else text


def double_braces(text: str) -> str:
    """Return a template that expands to this very text."""
    return text.replace("{", "{{").replace("}", "}}")
