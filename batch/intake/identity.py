"""Who a row is: the id it gives, or one made from its content.

Rule 1: a derived id depends on the row's own cells and on nothing else, not on their order, the row's position,
the defaults or the command line: a manifest may be sorted or given another seed and its rows stay who they are.
Rule 2: an id is what people see, so it is checked, never changed.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from batch.intake.names import picture_stem, portable_stem

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ID_BYTES = 200
_HASH_DIGITS = 10
_REMEMBERED = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def id_fault(name: str) -> str | None:
    """Return why a text cannot be an id, None when it can."""
    if not name.isprintable() and _CONTROL.search(name):
        return "holds a line break or another control character"
    if len(name if name.isascii() else name.encode()) > MAX_ID_BYTES:
        return f"is longer than {MAX_ID_BYTES} bytes"
    return None


def derive_id(cells: Mapping[str, str], image_1: str, image_2: str) -> str:
    """Return `<stem of image_1>-<stem of image_2>-<10 hex digits of the cells' hash>`; empty cells do not count."""
    content = {name: stripped for name, cell in cells.items() if (stripped := cell.strip())}
    digest = hashlib.sha256(_canonical(content).encode()).hexdigest()[:_HASH_DIGITS]
    return f"{_stem(image_1)}-{_stem(image_2)}-{digest}"


@lru_cache(maxsize=_REMEMBERED)
def _stem(picture: str) -> str:
    return portable_stem(picture_stem(picture))
