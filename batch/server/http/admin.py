"""What the vendor's service does not have: the description, and the controls under /_local, which need the key as well.

The controls are statistics, settings and faults: no limit counts them and no fault hits them.
"""

from typing import Any

from batch.server.http.request import Call, read_json, read_object
from batch.server.settings import SettingsError
from batch.server.simulation.responses import Answer, RequestRefused, as_json, refusal
from batch.server.state import ServerState


async def stats(server: ServerState, call: Call) -> Answer:
    """Answer with all counters; with `?jobs=0` without the lists of jobs and polls."""
    with_jobs = call.query.get("jobs") != "0"
    return as_json(server.stats.report(server.jobs, server.account, with_jobs=with_jobs))


async def show_settings(server: ServerState, call: Call) -> Answer:  # noqa: ARG001  all handlers have one signature
    """Answer with the settings in force, without the key."""
    return as_json(server.settings.public())


async def change_settings(server: ServerState, call: Call) -> Answer:
    """Change settings that may change at run time."""
    try:
        server.change(read_object("application/json", call.body))
    except SettingsError as exc:
        raise RequestRefused(refusal(400, str(exc))) from exc
    return as_json(server.settings.public())


async def show_faults(server: ServerState, call: Call) -> Answer:  # noqa: ARG001  all handlers have one signature
    """Answer with the faults in force, every field filled in."""
    return as_json([fault.model_dump() for fault in server.faults.faults])


async def set_faults(server: ServerState, call: Call) -> Answer:
    """Replace the faults by a JSON list; an empty list ends them."""
    try:
        items: Any = read_json(call.body)
        if not isinstance(items, list):
            raise SettingsError("faults: not a JSON list.")
        server.set_faults(items)
    except ValueError as exc:  # SettingsError and bad JSON both
        raise RequestRefused(refusal(400, str(exc))) from exc
    return as_json({"faults": len(items)})


async def openapi(server: ServerState, call: Call) -> Answer:  # noqa: ARG001  all handlers have one signature
    """Answer with the OpenAPI description of this server."""
    from batch.server.http.openapi import describe  # noqa: PLC0415  start-up time: pydantic

    return as_json(describe(server.url))
