"""The routes, and the one way every call takes: host → verb → key → limit → body → fault → handler → answer.

Rule 1: a Host other than this machine's own names is refused before anything else (DNS rebinding). Rule 2: the
files and the description need no key, everything else does. Rule 3: no middleware and no exception machinery on the way; a handler
returns an Answer or raises Refused with one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.routing import Route, Router

from batch.local import control, history, inference, openapi, uploads
from batch.local.answers import Answer, page, refusal
from batch.local.calls import Call
from batch.local.checks import Refused
from batch.local.faults import CALLS
from batch.local.service import Service
from batch.local.spoil import spoil
from batch.local.wire import Exchange

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

HOSTS = (b"127.0.0.1", b"localhost", b"[::1]")
KEYLESS = ("image", "about")
MAX_BODY_BYTES = 256 * 1024 * 1024
HISTORY = "/inference-request/request-history"

Handler = Callable[[Service, Call], Awaitable[Answer]]


# path, kind of call, verbs; the busiest first
TABLE: tuple[tuple[str, str, dict[str, Handler]], ...] = (
    ("/v2/requests/{request_id}/status", "status", {"GET": inference.status}),
    ("/v2/requests/{request_id}", "result", {"GET": inference.result}),
    ("/v2/{model}", "submit", {"POST": inference.submit}),
    ("/files/{folder}/{name}", "image", {"GET": uploads.download}),
    ("/upload-asset", "upload", {"POST": uploads.upload}),
    ("/v1/get-user-credits", "credits", {"GET": inference.credit}),
    ("/v1/requests/{request_id}", "result", {"GET": inference.result}),
    ("/v1/{model}", "submit", {"POST": inference.run_blocking}),
    (HISTORY, "history", {"GET": history.listing}),
    (HISTORY + "/{request_id}", "history", {"GET": history.single}),
    ("/openapi.json", "about", {"GET": openapi.openapi}),
    ("/_local/stats", "control", {"GET": control.stats}),
    ("/_local/settings", "control", {"GET": control.show_settings, "POST": control.change_settings}),
    ("/_local/faults", "control", {"GET": control.show_faults, "POST": control.set_faults}),
)


class LocalApp:
    """The ASGI application of one server."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._router = Router(
            [Route(path, Endpoint(service, kind, verbs)) for path, kind, verbs in TABLE],
            redirect_slashes=False,
            default=self._nowhere,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one call, if it is meant for this machine."""
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        if not is_own_host(host):
            answer = refusal(421, "This server answers to 127.0.0.1 and localhost only")
            await Exchange(self._service, scope, receive, send).answer(answer)
            return
        await self._router(scope, receive, send)

    async def _nowhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Exchange(self._service, scope, receive, send).answer(refusal(404, "Not found"))


class Endpoint:
    """One route: the kind of call it is, and a handler for each verb."""

    def __init__(self, service: Service, kind: str, verbs: Mapping[str, Handler]) -> None:
        self._service = service
        self._kind = kind
        self._verbs = verbs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one call and count its answer."""
        exchange = Exchange(self._service, scope, receive, send)
        status = await self._take(exchange)
        if status is not None:
            self._service.stats.answered(self._kind, status)

    async def _take(self, exchange: Exchange) -> int | None:
        """Carry the call to its end; return the status that was sent, None for no answer at all."""
        service, kind, scope = self._service, self._kind, exchange.scope
        handler = self._verbs.get("GET" if scope["method"] == "HEAD" else scope["method"])
        if handler is None:
            return await _send(exchange, page(405, "Method Not Allowed", {"allow": ", ".join(self._verbs)}))
        headers = dict(scope["headers"])
        refused = None if kind in KEYLESS else service.key_refusal(headers)
        if refused is not None:
            return await _send(exchange, refused)
        if kind in CALLS:
            service.stats.calls[kind] += 1
        refused, remaining = service.count_against_limit(kind)
        if refused is not None:
            return await _send(exchange, refused)
        body = await exchange.body(MAX_BODY_BYTES)
        if body is None:
            return await _send(exchange, refusal(413, "Request body too large", {"connection": "close"}))
        call = Call(kind, scope["path_params"], headers, scope["query_string"], body)
        fault = service.faults.select(kind, lambda: inference.prompt_of(service, call))
        if fault is None:
            return await _send(exchange, await _handle(service, handler, call, remaining))
        spoilt = replace(call, fault=fault.action)
        return await spoil(fault, kind, exchange, lambda: _handle(service, handler, spoilt, remaining))


async def _handle(service: Service, handler: Handler, call: Call, remaining: int | None) -> Answer:
    try:
        answer = await handler(service, call)
    except Refused as refused:
        answer = refused.answer
    if remaining is None:
        return answer
    return replace(answer, headers=(*answer.headers, ("x-rate-limit-remaining", str(remaining))))


async def _send(exchange: Exchange, answer: Answer) -> int:
    await exchange.answer(answer)
    return answer.status


def is_own_host(host: bytes) -> bool:
    """Return whether a Host header, with or without a port, names this machine."""
    name, colon, port = host.rpartition(b":")
    if not colon or b"]" in port:
        name, port = host, b"0"
    return name.lower() in HOSTS and port.isdigit()
