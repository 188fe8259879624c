"""v1, the blocking call: what its answer means for the job and for the money. Pure; it keeps the rules of responses.py.

An image is known by its first bytes, since a gateway can answer 200 with a page of its own. Anything that may have come
from a gateway, and every 200 without an image, is MaybeBilled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from batch.client.responses import AccountRefused, NotAccepted, Refused, classify_submit, micro_dollars
from batch.core.errors import JobFailed, MaybeBilled, RunStopped, SubmitFailed
from batch.pacing.limiter import Throttled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.client.responses import Reply

REQUEST_ID = "x-request-id"


@dataclass(frozen=True, slots=True)
class SyncResult:
    """An image as it came, and the values of its headers; None where one is missing or unreadable."""

    data: bytes = field(repr=False)
    content_type: str
    request_id: str | None
    cost: int | None
    """In micro-dollars."""
    generation_s: float | None
    seed: int | None
    """The seed that was used; for -1 the one that was drawn."""


def read_image(reply: Reply, sent: Mapping[str, Any] | None = None) -> SyncResult:
    """Return the image in an answer; raises JobFailed, SubmitFailed, RunStopped or MaybeBilled. `sent` is the body posted."""
    if not 200 <= reply.status < 300:
        _refuse(reply, sent)
    request_id = id_in(reply.headers)
    if not is_image(reply.data):
        raise MaybeBilled(f"no image in the answer, {reply.reason}", request_id)
    return SyncResult(
        data=reply.data,
        content_type=reply.headers.get("content-type", ""),
        request_id=request_id,
        cost=micro_dollars(reply.headers.get("x-cost")),
        generation_s=_number(reply.headers, "x-generation-time"),
        seed=_whole(reply.headers, "x-seed-value"),
    )


def id_in(headers: Mapping[str, str]) -> str | None:
    """Return the request id that headers name, None where there is none that can be shown and asked for."""
    request_id = headers.get(REQUEST_ID)
    return request_id if request_id and request_id.isprintable() else None


def is_image(data: bytes) -> bool:
    """Return whether bytes begin as JPEG, PNG or WebP files do."""
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (
        data.startswith(b"RIFF") and data[8:12] == b"WEBP"
    )


def _refuse(reply: Reply, sent: Mapping[str, Any] | None) -> NoReturn:
    verdict = classify_submit(reply, sent)
    request_id = id_in(reply.headers)
    if isinstance(verdict, AccountRefused):
        raise RunStopped(verdict.reason)
    if isinstance(verdict, Refused) and request_id:  # an id is given to accepted jobs only: it ran and failed
        raise JobFailed(request_id, reply.envelope or verdict.reason)
    if isinstance(verdict, Refused):
        raise SubmitFailed(f"refused, not billed: {verdict.reason}")
    if isinstance(verdict, Throttled):
        raise SubmitFailed(f"not accepted, not billed; try again when the window ends: {reply.reason}")
    if isinstance(verdict, NotAccepted) and not request_id:
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
