"""What each action of `faults` does to the answer of one call.

The order is always: wait `before_s`, handle or not, note it, wait `after_s`, act. So a handled submit is billed
before anything happens on the connection, and the note is there before the client sees anything.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import web

from batch.server.http.response import headers, respond
from batch.server.simulation.responses import VENDOR, Answer, rate_limited, reset_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batch.server.simulation.faults import Fault
    from batch.server.state import ServerState

CUTS = ("reset_before", "reset_after", "fin_after", "half_head", "no_answer")
HALF_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: applic"
CHUNK_BYTES = 65_536
# How often a call without an answer looks whether its client has gone.
LOOK_S = 0.05
# SO_LINGER with zero seconds: closing the socket sends RST, not FIN.
RESET = struct.pack("ii", 1, 0)


async def inject_fault(
    fault: Fault,
    kind: str,
    server: ServerState,
    request: web.Request,
    handle: Callable[[], Awaitable[Answer]],
) -> web.StreamResponse | None:
    """Handle the call as the fault says; return its response, or None when the connection was cut instead."""
    await server.pause(fault.before_s)
    answer = await handle() if fault.handled else None
    server.stats.faults.append(
        {
            "call": kind,
            "action": fault.action,
            "path": request.path,
            "handled": fault.handled,
            "true_status": None if answer is None else answer.status,
        }
    )
    await server.pause(fault.after_s)
    if fault.action in CUTS:
        await _cut(fault.action, server, request)
        return None
    if fault.action == "truncated" and answer is not None:
        return await _truncated(server, request, answer)
    if fault.action == "endless":
        return await _endless(fault, server, request)
    return respond(server, _replacement(fault, answer, server), fault.skew_s)


async def _cut(action: str, server: ServerState, request: web.Request) -> None:
    """End the connection without an answer, unless the client ends it first."""
    while action == "no_answer" and request.transport and not server.closing.is_set():
        await server.pause(LOOK_S)
    transport = request.transport
    if transport is None:
        return
    if action in ("reset_before", "reset_after"):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        transport.abort()
        return
    if action == "half_head":
        transport.write(HALF_HEAD)
    transport.close()


async def _truncated(server: ServerState, request: web.Request, answer: Answer) -> web.StreamResponse:
    """Announce the whole answer, send half of it, and close the connection."""
    response = web.StreamResponse(status=answer.status, headers=headers(server, answer))
    response.content_length = len(answer.body)
    with contextlib.suppress(ConnectionError):  # the client has gone
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
    await _cut("fin_after", server, request)
    return response


async def _endless(fault: Fault, server: ServerState, request: web.Request) -> web.StreamResponse:
    """Send blanks until there are enough, the client goes or the server closes."""
    start = Answer(fault.status, b"", headers=fault.headers)
    response = web.StreamResponse(status=fault.status, headers=headers(server, start))
    with contextlib.suppress(ConnectionError):  # the client has gone
        await response.prepare(request)
        for sent in range(0, fault.size_bytes, CHUNK_BYTES):
            if server.closing.is_set():
                break
            await response.write(b" " * min(CHUNK_BYTES, fault.size_bytes - sent))
            await server.pause(fault.pace_s)
    await _cut("fin_after", server, request)
    return response


def _replacement(fault: Fault, answer: Answer | None, server: ServerState) -> Answer:
    if fault.action == "delay" and answer is not None:
        return answer
    if fault.action == "status":
        return _stated(fault, server)
    content_type = "application/json" if answer is None else answer.content_type
    body = b""
    if fault.action == "garbage":
        body = b"\x00\xff this is neither JSON nor an image {"
    elif fault.action == "huge":
        body = _padded(answer, fault.size_bytes)
    return Answer(fault.status, body, content_type, fault.headers)


def _stated(fault: Fault, server: ServerState) -> Answer:
    if fault.text == "rate_limit":
        resets_at = server.reported_time() + fault.skew_s + fault.reset_in_s
        vendor = rate_limited(reset_text(resets_at, fault.reset_header))
    elif fault.text is not None:
        vendor = VENDOR[fault.text]
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
