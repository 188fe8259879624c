"""The routes, and the one way of every call: host → route → verb → key → limit → body → fault → handler → answer.

Rule 1: a Host other than this machine's own names is refused before anything else (DNS rebinding). Rule 2: the
files and the description need no key, everything else does. Rule 3: no middleware; a handler returns an Answer or raises
RequestRefused with one, and `respond` makes the response of it.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

from aiohttp import web

from batch.server.http import admin, history, inference, uploads
from batch.server.http.fault_injection import inject_fault
from batch.server.http.request import Call
from batch.server.http.response import respond
from batch.server.job_runner import JobRunner
from batch.server.simulation.responses import Answer, RequestRefused, page, refusal
from batch.server.simulation.stats import CALLS
from batch.server.state import ServerState

OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?", re.IGNORECASE | re.ASCII)
HISTORY = "/inference-request/request-history"

Handler = Callable[[ServerState, Call], Awaitable[Answer]]


def routes(runner: JobRunner) -> tuple[tuple[str, str, dict[str, Handler]], ...]:
    """Return path, kind of call and verbs of every route, the busiest first."""
    submit = partial(inference.submit, runner=runner)
    run_blocking = partial(inference.run_blocking, runner=runner)
    return (
        ("/v2/requests/{request_id}/status", "status", {"GET": inference.status}),
        ("/v2/requests/{request_id}", "result", {"GET": inference.result}),
        ("/v2/{model}", "submit", {"POST": submit}),
        ("/files/{folder}/{name}", "image", {"GET": uploads.download}),
        ("/upload-asset", "upload", {"POST": uploads.upload}),
        ("/v1/get-user-credits", "credits", {"GET": inference.credit}),
        ("/v1/requests/{request_id}", "result", {"GET": inference.result}),
        ("/v1/{model}", "submit", {"POST": run_blocking}),
        (HISTORY, "history", {"GET": history.listing}),
        (HISTORY + "/{request_id}", "history", {"GET": history.single}),
        ("/openapi.json", "about", {"GET": admin.openapi}),
        ("/_local/stats", "control", {"GET": admin.stats}),
        ("/_local/settings", "control", {"GET": admin.show_settings, "POST": admin.change_settings}),
        ("/_local/faults", "control", {"GET": admin.show_faults, "POST": admin.set_faults}),
    )


class LocalApp:
    """What one server answers; `handle` takes every call, whatever its path."""

    def __init__(self, server: ServerState, runner: JobRunner) -> None:
        self._server = server
        self._routes = [
            (re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path)), kind, verbs)
            for path, kind, verbs in routes(runner)
        ]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Find the route of one call, if the call is meant for this machine."""
        if not OWN_HOST.fullmatch(request.headers.get("host", "")):
            return respond(self._server, refusal(421, "This server answers to 127.0.0.1 and localhost only"))
        for pattern, kind, verbs in self._routes:
            if found := pattern.fullmatch(request.path):
                response = await self._take(request, kind, verbs, found.groupdict())
                if response is None:
                    return web.Response()  # never sent: the client or a fault has ended the connection
                self._server.stats.answered(kind, response.status)
                return response
        return respond(self._server, refusal(404, "Not found"))

    async def _take(
        self, request: web.Request, kind: str, verbs: Mapping[str, Handler], params: Mapping[str, str]
    ) -> web.StreamResponse | None:
        """Bring a call to its response; None when its connection has ended."""
        server = self._server
        handler = verbs.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            return respond(server, page(405, "Method Not Allowed", {"allow": ", ".join(verbs)}))
        try:
            server.check_key(kind, request.headers)
            if kind in CALLS:
                server.stats.calls[kind] += 1
            remaining = server.count_against_limit(kind)
            body = await request.read()
        except RequestRefused as refused:
            return respond(server, refused.answer)
        except web.HTTPRequestEntityTooLarge:
            response = respond(server, refusal(413, "Request body too large"))
            response.force_close()
            return response
        except ConnectionError:  # the client went within the body
            return None
        # Of a parameter that is given twice the last one counts.
        call = Call(kind, params, request.headers, dict(request.query.items()), body)
        fault = server.faults.select(kind, lambda: inference.prompt_of(server, call))
        if fault is None:
            return respond(server, await self._handle(handler, call, remaining))
        call = replace(call, fault=fault.action)
        return await inject_fault(
            fault, kind, server, request, lambda: self._handle(handler, call, remaining)
        )

    async def _handle(self, handler: Handler, call: Call, remaining: int | None) -> Answer:
        try:
            answer = await handler(self._server, call)
        except RequestRefused as refused:
            answer = refused.answer
        if remaining is None:
            return answer
        return replace(answer, headers=(*answer.headers, ("x-rate-limit-remaining", str(remaining))))
