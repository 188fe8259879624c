"""texbatch: a manifest in; images, a report and an exact bill out.

A row travels from top to bottom, and a package imports only packages below it in this list:

    cli/           options in, messages out: alone prints and reads the environment (but for the server's own process)
    maintenance/   commands on a folder: resolve, restore, doctor
    execution/     one run: runner → dispatcher → pipeline → reconcile; begin with pipeline.py
    planning/      a manifest against a folder: what is new, changed, done, and what it costs
    output/        what lies in an output folder: images, reports, contact sheet, lock
    client/        the service's HTTP API: calls, poller, history, what an answer means
    pacing/        pure speed control: rate gate, concurrency, poll times, forecast
    ledger/        SQLite and the state machine of a paid job: on disk before it is needed; all SQL
    manifest/      files to checked payloads: CSV, YAML, JSONL, Parquet, Excel, OpenDocument
    server/        the local stand-in for the service: --local, `texbatch serve`, a test tool
    vision/        looking at an image: decode, colour spaces, find the object
    core/          errors, settings, data types, the model's parameters, units: shared by all

output and client stand side by side, and so do pacing, ledger, manifest and server, and vision and core; server imports
only vision and core.parameters. docs/ARCHITECTURE.md draws all of it, docs/GLOSSARY.md explains the words.

From a script or a notebook:

    from batch import RunSettings, Service, run
    result = run("catalog.csv", RunSettings(out="out"))                       # local: no key, nothing paid
    result = run("catalog.csv", RunSettings(out="out"), Service(api_key=key))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batch.client.calls import Credits
    from batch.client.client import Client
    from batch.client.sync_call import SyncResult
    from batch.core.config import Reading, Redo, RunSettings, Service
    from batch.core.errors import (
        FolderError,
        FolderLocked,
        JobExpired,
        JobFailed,
        JobRunning,
        ManifestError,
        MaybeBilled,
        NoResponse,
        RunStopped,
        ServiceError,
        SubmitFailed,
        TexbatchError,
        UsageError,
    )
    from batch.core.models import Problem, Result
    from batch.execution.progress import Progress
    from batch.execution.runner import RunHooks, RunResult, arun, run
    from batch.ledger.staging import Plan
    from batch.output.report import read_report

_NAMES = {
    "client.calls": "Credits",
    "client.client": "Client",
    "client.sync_call": "SyncResult",
    "core.config": "Reading Redo RunSettings Service",
    "core.errors": "FolderError FolderLocked JobExpired JobFailed JobRunning ManifestError MaybeBilled "
    "NoResponse RunStopped ServiceError SubmitFailed TexbatchError UsageError",
    "core.models": "Problem Result",
    "execution.progress": "Progress",
    "execution.runner": "RunHooks RunResult arun run",
    "ledger.staging": "Plan",
    "output.report": "read_report",
}
"""The public names, by the module that they live in."""

_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

_RENAMED = {
    "Finished": "RunResult",
    "FolderBusy": "FolderLocked",
    "Listener": "RunHooks",
    "NoAnswer": "NoResponse",
}
"""Names of version 0.1, which go with version 0.3."""

__all__ = [
    "Client",
    "Credits",
    "FolderError",
    "FolderLocked",
    "JobExpired",
    "JobFailed",
    "JobRunning",
    "ManifestError",
    "MaybeBilled",
    "NoResponse",
    "Plan",
    "Problem",
    "Progress",
    "Reading",
    "Redo",
    "Result",
    "RunHooks",
    "RunResult",
    "RunSettings",
    "RunStopped",
    "Service",
    "ServiceError",
    "SubmitFailed",
    "SyncResult",
    "TexbatchError",
    "UsageError",
    "arun",
    "read_report",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a name on first use, so that `texbatch --help` loads no pandas, httpx or numpy (PEP 562)."""
    import importlib  # noqa: PLC0415  start-up time

    if name in _RENAMED:
        import warnings  # noqa: PLC0415  start-up time

        warnings.warn(f"batch.{name} is now batch.{_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(__name__), _RENAMED[name])
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
