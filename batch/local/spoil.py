"""Carries a fault out: what each action of `faults` does to the answer of one call.

The order is always: wait `before_s`, handle or not, note it, wait `after_s`, act. So a handled submit is billed
before anything happens on the wire, and the note is there before the client sees anything.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from batch.local.answers import VENDOR, Answer, rate_limited, reset_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batch.local.faults import Fault
    from batch.local.wire import Exchange

HALF_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: applic"
CHUNK_BYTES = 65_536


async def spoil(
    fault: Fault, kind: str, exchange: Exchange, handle: Callable[[], Awaitable[Answer]]
) -> int | None:
    """Handle the call as the fault says and spoil its answer; return the status sent, None for none."""
    await exchange.pause(fault.before_s)
    answer = await handle() if fault.handled else None
    exchange.service.stats.faults.append(
        {
            "call": kind,
            "action": fault.action,
            "path": exchange.scope["path"],
            "handled": fault.handled,
            "true_status": None if answer is None else answer.status,
        }
    )
    await exchange.pause(fault.after_s)
    if fault.action in ("reset_before", "reset_after"):
        await exchange.reset()
    elif fault.action == "fin_after":
        await exchange.hang_up()
    elif fault.action == "half_head":
        await exchange.hang_up(HALF_HEAD)
    elif fault.action == "no_answer":
        await exchange.abandoned()
    else:
        return await _answer(fault, answer, exchange)
    return None


async def _answer(fault: Fault, answer: Answer | None, exchange: Exchange) -> int:
    if fault.action == "truncated" and answer is not None:
        await exchange.head(answer, len(answer.body))
        await exchange.part(answer.body[: len(answer.body) // 2], last=False)
        await exchange.hang_up()
        return answer.status
    if fault.action == "endless":
        await _endless(fault, exchange)
        return fault.status
    sent = _replacement(fault, answer, exchange)
    await exchange.answer(sent, fault.skew_s)
    return sent.status


def _replacement(fault: Fault, answer: Answer | None, exchange: Exchange) -> Answer:
    if fault.action == "delay" and answer is not None:
        return answer
    if fault.action == "status":
        return _stated(fault, exchange)
    content_type = "application/json" if answer is None else answer.content_type
    body = b""
    if fault.action == "garbage":
        body = b"\x00\xff this is neither JSON nor a picture {"
    elif fault.action == "huge":
        body = _padded(answer, fault.size_bytes)
    return Answer(fault.status, body, content_type, fault.headers)


def _stated(fault: Fault, exchange: Exchange) -> Answer:
    if fault.text == "rate_limit":
        resets_at = exchange.service.told_time() + fault.skew_s + fault.reset_in_s
        vendor = rate_limited(reset_text(resets_at, fault.reset_header))
    elif fault.text is not None:
        vendor = VENDOR[fault.text]()
    elif isinstance(fault.body, str):
        kind = "text/html; charset=utf-8" if fault.body.lstrip().startswith("<") else "text/plain"
        vendor = Answer(fault.status, fault.body.encode(), kind)
    else:
        vendor = Answer(fault.status, json.dumps(fault.body).encode())
    return replace(vendor, headers=vendor.headers + fault.headers)


def _padded(answer: Answer | None, size_bytes: int) -> bytes:
    """Return the true JSON answer with a member of padding, `size_bytes` long in all (or as long as it was)."""
    body = b"{}" if answer is None or not answer.body.startswith(b"{") else answer.body
    comma = b"" if body == b"{}" else b","
    padding = b"x" * max(0, size_bytes - len(body) - len(comma) - len(b'"padding":""'))
    return body[:-1] + comma + b'"padding":"' + padding + b'"}'


async def _endless(fault: Fault, exchange: Exchange) -> None:
    await exchange.head(Answer(fault.status, b"", headers=fault.headers), None)
    sent = 0
    while sent < fault.size_bytes and exchange.open and not exchange.service.closing.is_set():
        size = min(CHUNK_BYTES, fault.size_bytes - sent)
        await exchange.part(b" " * size, last=False)
        sent += size
        await exchange.pause(fault.pace_s)
    await exchange.hang_up()
