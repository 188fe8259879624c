"""What a folder remembers of the headings of its manifest, for the files that are read beside it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from batch.core.errors import FolderError
from batch.ledger import totals
from batch.ledger.ledger import Ledger
from batch.ledger.meta import Meta
from batch.manifest.columns import ID
from batch.manifest.headings import NOTHING_KNOWN, FolderHeadings
from batch.manifest.input_images import LEDGER

if TYPE_CHECKING:
    from pathlib import Path


def known_headings(ledger: Ledger) -> FolderHeadings:
    """Return which heading of the manifest that was adopted last is which parameter."""
    headings = totals.headings(ledger)
    if headings is not None:
        return FolderHeadings(dict(headings), sheet=ledger.meta(Meta.SHEET) or "")
    if ledger.meta(Meta.COLUMNS) is None:
        return NOTHING_KNOWN
    own = (name for name in totals.columns(ledger) if name != ID)
    return FolderHeadings(dict.fromkeys(own, ""), exact=True)


def headings_beside(file: Path) -> FolderHeadings:
    """Return what the output folder in which a file lies remembers; nothing where it is none, or cannot be read."""
    ledger_file = file.parent / LEDGER
    if ledger_file.is_file():
        with suppress(FolderError), Ledger.read(ledger_file) as ledger:
            return known_headings(ledger)
    return NOTHING_KNOWN
