"""Whether a manifest is still what it was when it was adopted last: then its rows need not be read again.

Rule 1: the fingerprint of a manifest is a hash of its bytes, its folder, how it is read, and this version of texbatch; it
is in the ledger only while the rows there are those of a manifest that was adopted whole, without a warning.
Rule 2: the local images it named must be the same files: path, inode, size and modification time, as they were when
they were looked at. Rule 3: any doubt means no: the manifest is read again, which is always right and only slower.
So no YAML, whose globs see more than its bytes do, and no file that was written to while it was read.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from batch.core.models import KEY_PREFIX
from batch.ledger.connection import MIGRATIONS
from batch.ledger.input_cache import facts_of, input_files, remember_manifest
from batch.ledger.meta import Meta
from batch.manifest.manifest import READERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batch.core.config import Reading
    from batch.ledger.input_cache import FileFacts
    from batch.ledger.ledger import Ledger

_BLOCK = 1 << 20

_version = cache(metadata.version)  # it parses the installed package's metadata


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A manifest as it was read: its hash, and the file's facts before that."""

    value: str
    facts: FileFacts


def fingerprint(path: Path, reading: Reading, check: Callable[[], None]) -> Fingerprint | None:
    """Return the fingerprint of a manifest, None when it can have none; `check` may raise, to end it early."""
    reader = READERS.get(path.suffix.lower())
    if reader is None or reader.has_globs:
        return None
    how = [
        _version("texbatch"), len(MIGRATIONS), KEY_PREFIX, path.suffix.lower(), os.path.abspath(path.parent),  # noqa: PTH100  `..` only, links stay
        sorted(reading.parameters.items()), reading.name, reading.encoding, reading.ignore_url_query,
        sorted(reading.columns.items()), reading.sheet, reading.skip_hidden,
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(how).encode())
    try:
        facts = facts_of(path.stat())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                check()
    except OSError:
        return None  # reading it says what is wrong
    return Fingerprint(digest.hexdigest(), facts)


def is_unchanged(ledger: Ledger, found: Fingerprint, check: Callable[[], None]) -> bool:
    """Return whether nothing has changed since a manifest with this fingerprint was adopted: none of its images."""
    if ledger.meta(Meta.FINGERPRINT) != found.value:
        return False
    for path, facts in input_files(ledger):
        check()
        try:
            if facts != facts_of(os.stat(path)):  # noqa: PTH116  a million times perhaps
                return False
        except OSError:
            return False
    return True


def remember(ledger: Ledger, path: Path, found: Fingerprint | None) -> None:
    """Save the fingerprint of the manifest just adopted, None for one that has none; runs inside `atomic`."""
    try:
        same = found is not None and found.facts == facts_of(path.stat())
    except OSError:
        same = False
    remember_manifest(ledger, found.value if found is not None and same else None)
