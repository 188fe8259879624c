"""The local server that simulates Segmind's API on this machine: for `--local`, acceptance tests, and as a test tool.

    embed        hold a server: LocalApi (a thread), LocalProcess (a process); begin here
    serving      socket, aiohttp, stdin as lifeline             subprocesses   how child processes start
    settings     what can be set, from Python, JSON or YAML     state          one server's settings, jobs, account, files
    job_runner   one task a job: inputs, engine, result         inputs         input images, from anywhere
    http/        app (the routes, the way of a call), request, response, fault_injection; the handlers inference,
                 uploads, history, admin; openapi describes it all
    simulation/  account, jobs, latency, responses, faults, fault_plan, stats; files: bytes on disk
    engines/     base (what an engine is), registry, placeholder, process_pool and its worker, cpu/

Of the package it imports the table of parameters, and its CPU engine `vision`; nothing of the client, so it cannot share its
mistakes. It listens on 127.0.0.1 only and needs its key.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batch.server.embed import LocalApi, LocalError, LocalProcess
    from batch.server.engines.placeholder import placeholder_image
    from batch.server.serving import serve
    from batch.server.settings import LocalSettings, SettingsError, read_settings

__all__ = [
    "LocalApi",
    "LocalError",
    "LocalProcess",
    "LocalSettings",
    "SettingsError",
    "placeholder_image",
    "read_settings",
    "serve",
]

_HOMES = {
    "LocalApi": "embed",
    "LocalError": "embed",
    "LocalProcess": "embed",
    "LocalSettings": "settings",
    "SettingsError": "settings",
    "placeholder_image": "engines.placeholder",
    "read_settings": "settings",
    "serve": "serving",
}


def __getattr__(name: str) -> Any:
    """Import on first use: asyncio and aiohttp take a quarter of a second."""
    if name == "card_for":
        warnings.warn(
            "batch.server.card_for is now batch.server.placeholder_image", DeprecationWarning, stacklevel=2
        )
        name = "placeholder_image"
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
