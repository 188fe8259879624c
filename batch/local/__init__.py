"""The server that plays Segmind on this machine: `--local`, acceptance tests, a test tool.

    settings   what can be set (documents: in a file)    api    hold a server: LocalApi (thread), LocalProcess
    app        routes, the way of a call        server     socket, uvicorn, stdin as lifeline     wire  the connection
    inference · uploads · history · control     the handlers, one file a host
    checks · billing · limits · jobs · latency · dice · answers · faults     decide, purely
    runner     a job's task: inputs (sources) → pool → worker → engine, or a card
    openapi · schemas    /openapi.json
    files      bytes on disk                    service    one server's state      spoil   carries faults out

It shares nothing with the journey but the table of parameters, so it cannot share its mistakes. It listens on
127.0.0.1 only and needs its key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch.local.settings import LocalSettings, SettingsError

if TYPE_CHECKING:
    from batch.local.api import LocalApi, LocalError, LocalProcess
    from batch.local.card import card_for
    from batch.local.documents import read_settings
    from batch.local.server import serve

__all__ = [
    "LocalApi",
    "LocalError",
    "LocalProcess",
    "LocalSettings",
    "SettingsError",
    "card_for",
    "read_settings",
    "serve",
]

_HOMES = {
    "LocalApi": "api",
    "LocalError": "api",
    "LocalProcess": "api",
    "card_for": "card",
    "read_settings": "documents",
    "serve": "server",
}


def __getattr__(name: str) -> Any:
    """Import on first use: asyncio, uvicorn and starlette cost a third of a second."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415  start-up time

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
