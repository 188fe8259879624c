"""Both directions of what keeps a report safe in a spreadsheet and true as a manifest.

A spreadsheet runs a cell that starts with = + - @ TAB or CR as a formula (OWASP, "CSV Injection"). We put an
apostrophe before such text; numbers stay numbers. To come back unchanged, text that already looks escaped gets
one more: `restore(neutralise(text)) == text` for every text. Braces are doubled because the intake reads
parameters as templates: `{{` comes back as `{`.
"""

from __future__ import annotations

import re

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
