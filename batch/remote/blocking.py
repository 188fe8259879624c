"""v1, the blocking call: what its answer means for the job and for the money. Pure, as judge.py, whose rules it keeps.

A picture is told by its first bytes, since a gateway can answer 200 with a page of its own. Anything that may have come
from a gateway, and every 200 without a picture, is MaybeBilled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from batch.errors import JobFailed, MaybeBilled, RunStopped, SubmitFailed
from batch.remote.judge import judge_submit
from batch.remote.values import micro_dollars
from batch.remote.verdicts import Bounced, Refused, Stop, Throttled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.remote.verdicts import Reply

REQUEST_ID = "x-request-id"


@dataclass(frozen=True, slots=True)
class SyncResult:
    """A picture as it came, and what its headers tell; None where one is missing or unreadable."""

    data: bytes = field(repr=False)
    content_type: str
    request_id: str | None
    cost: int | None
    """In micro-dollars."""
    generation_s: float | None
    seed: int | None
    """The seed that was used; for -1 the one that was drawn."""


def read_picture(reply: Reply, data: bytes) -> SyncResult:
    """Return the picture in an answer; raises JobFailed, SubmitFailed, RunStopped or MaybeBilled, as it stands."""
    if not 200 <= reply.status < 300:
        _refuse(reply)
    request_id = reply.headers.get(REQUEST_ID)
    if not is_picture(data):
        raise MaybeBilled(f"no picture in the answer, {reply.reason}", request_id)
    return SyncResult(
        data=data,
        content_type=reply.headers.get("content-type", ""),
        request_id=request_id,
        cost=micro_dollars(reply.headers.get("x-cost")),
        generation_s=_number(reply.headers, "x-generation-time"),
        seed=_whole(reply.headers, "x-seed-value"),
    )


def is_picture(data: bytes) -> bool:
    """Tell whether bytes begin as JPEG, PNG or WebP files do."""
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (
        data.startswith(b"RIFF") and data[8:12] == b"WEBP"
    )


def _refuse(reply: Reply) -> NoReturn:
    verdict = judge_submit(reply)
    request_id = reply.headers.get(REQUEST_ID)
    if isinstance(verdict, Stop):
        raise RunStopped(verdict.reason)
    if isinstance(verdict, Refused) and request_id:  # an id is given to accepted jobs only: it ran and failed
        raise JobFailed(request_id, reply.envelope or verdict.reason)
    if isinstance(verdict, Refused):
        raise SubmitFailed(f"refused, not billed: {verdict.reason}")
    if isinstance(verdict, Throttled):
        raise SubmitFailed(f"not accepted, not billed; try again when the window ends: {reply.reason}")
    if isinstance(verdict, Bounced):
        raise SubmitFailed(f"not accepted, not billed; may be tried again: {verdict.reason}")
    raise MaybeBilled(reply.reason, request_id)


def _number(headers: Mapping[str, str], name: str) -> float | None:
    try:
        value = float(headers.get(name, ""))
    except ValueError:
        return None
    return value if 0 <= value < 1e7 else None


def _whole(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
