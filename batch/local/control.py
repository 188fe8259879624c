"""The controls of the local server under /_local: statistics, settings, faults. They need the key as well.

They are no part of the vendor's service: no limit counts them and no fault hits them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from batch.local.answers import Answer, as_json, refusal
from batch.local.checks import Refused, read_json, read_object
from batch.local.faults import FaultError
from batch.local.settings import SettingsError

if TYPE_CHECKING:
    from batch.local.calls import Call
    from batch.local.service import Service


async def stats(service: Service, call: Call) -> Answer:
    """Tell everything that was counted; `?jobs=0` without the lists of jobs and polls."""
    with_jobs = call.queried().get("jobs") != "0"
    return as_json(service.stats.report(service.jobs, service.bank, with_jobs=with_jobs))


async def show_settings(service: Service, call: Call) -> Answer:  # noqa: ARG001  every handler has this face
    """Tell the settings in force, without the key."""
    return as_json(service.settings.public())


async def change_settings(service: Service, call: Call) -> Answer:
    """Change settings that may change at run time."""
    try:
        service.change(read_object("application/json", call.body))
    except SettingsError as exc:
        raise Refused(refusal(400, str(exc))) from exc
    return as_json(service.settings.public())


async def show_faults(service: Service, call: Call) -> Answer:  # noqa: ARG001  every handler has this face
    """Tell the faults in force, every field filled in."""
    return as_json([dataclasses.asdict(fault) for fault in service.faults.faults])


async def set_faults(service: Service, call: Call) -> Answer:
    """Replace the faults by a JSON list; an empty one ends them."""
    try:
        items: Any = read_json(call.body)
        if not isinstance(items, list):
            raise FaultError("faults: not a JSON list.")
        service.set_faults(items)
    except ValueError as exc:  # FaultError and bad JSON both
        raise Refused(refusal(400, str(exc))) from exc
    return as_json({"faults": len(items)})
