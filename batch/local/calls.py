"""One call as the handlers see it: a frozen value, and the reading of its query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose key was checked; `fault` names the action that will spoil its answer, or is empty."""

    kind: str
    params: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    query: bytes
    body: bytes
    fault: str = ""

    @property
    def content_type(self) -> str:
        """The Content-Type header."""
        return self.headers.get(b"content-type", b"").decode("latin-1")

    def queried(self) -> dict[str, str]:
        """Return the query's parameters; of a repeated one the last."""
        return dict(parse_qsl(self.query.decode("latin-1"), keep_blank_values=True))
