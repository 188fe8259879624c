"""JSON on its way out and in; a large one in a thread, since the loop has others to hear."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from anyio import to_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGE = 256 * 1024
"""Bytes from which JSON is read or written in a thread."""


async def to_json(body: Mapping[str, Any]) -> bytes:
    """Return the bytes of a body, UTF-8."""

    def write() -> bytes:
        return json.dumps(body, ensure_ascii=False).encode()

    texts = (text for value in body.values() for text in (value if isinstance(value, list) else [value]))
    if sum(len(text) for text in texts if isinstance(text, str)) > LARGE:
        return await to_thread.run_sync(write)
    return write()


def from_json(data: bytes) -> Any:
    """Return what an answer says, None when it is no JSON."""
    try:
        body = json.loads(data)
        # Half a surrogate pair can be neither stored nor sent on; most answers have no backslash to look behind.
        if b"\\" in data and b"\\ud" in data.lower():
            body = json.loads(json.dumps(body, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):  # also UnicodeDecodeError
        return None
    return body
