"""texbatch: a manifest in, pictures, a report and an exact bill out.

The modules in the order a row travels:

    cli/         the command line: the only package that prints, reads the environment or asks
    runner       holds the folder, plans, begins, works · ending  reports, and the exit code
    doctor       is everything there that a run needs?
    rebuild      what a folder shows, written anew from its ledger
    refresh      the contact sheet anew while a run goes on
    plan         manifest → checked, staged, compared with what is known
    survey       one pass over a manifest
    unchanged    a manifest that is what it was is not read again
    shelf        what lies under images/, listed
    redo         rows of a folder once more, each changed a little
    intake/      read (CSV, YAML, JSONL, Parquet, .xlsx) · expand (defaults, matrix, templates) · check every cell and picture
    forecast     how long a run will take, before it begins
    control      what steers its speed, from what the folder has learned
    work         the tasks of a run, in rounds, until nothing is left to settle
    journey      one job, start to finish: read this first · sending  its way out · book  its moves, noted
    remote/      the conversation with the service: submit, polls, pace, uploads
    results/     pictures on disk · report.csv, failures.csv, summary.json · the contact sheet, report.html
    ledger/      SQLite: the state machine of a paid job, on disk before it is needed
    folder       the output folder and its lock
    model · parameters · config · table · pillow · log · errors    what all of them share
    local/       the server that plays the service on this machine; shares only the parameters

Imports point down this list. From a script or a notebook:

    from batch import RunSettings, Service, run
    finished = run("catalog.csv", RunSettings(out="out"))                       # local: no key, nothing paid
    finished = run("catalog.csv", RunSettings(out="out"), Service(api_key=key))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batch.config import Reading, RunSettings, Service
    from batch.errors import (
        FolderBusy,
        FolderError,
        JobFailed,
        JobRunning,
        ManifestError,
        MaybeBilled,
        NoAnswer,
        RunStopped,
        ServiceError,
        SubmitFailed,
        TexbatchError,
        UsageError,
    )
    from batch.ledger.compare import Plan
    from batch.model import Problem, Result
    from batch.remote.blocking import SyncResult
    from batch.remote.client import Client, Credits
    from batch.runner import Finished, Listener, arun, run
    from batch.tally import Progress

_HOMES = {
    "Client": "remote.client",
    "Credits": "remote.client",
    "Finished": "runner",
    "FolderBusy": "errors",
    "FolderError": "errors",
    "JobFailed": "errors",
    "JobRunning": "errors",
    "Listener": "runner",
    "ManifestError": "errors",
    "MaybeBilled": "errors",
    "NoAnswer": "errors",
    "Plan": "ledger.compare",
    "Problem": "model",
    "Progress": "tally",
    "Reading": "config",
    "Result": "model",
    "RunSettings": "config",
    "RunStopped": "errors",
    "Service": "config",
    "ServiceError": "errors",
    "SubmitFailed": "errors",
    "SyncResult": "remote.blocking",
    "TexbatchError": "errors",
    "UsageError": "errors",
    "arun": "runner",
    "run": "runner",
}

__all__ = [
    "Client",
    "Credits",
    "Finished",
    "FolderBusy",
    "FolderError",
    "JobFailed",
    "JobRunning",
    "Listener",
    "ManifestError",
    "MaybeBilled",
    "NoAnswer",
    "Plan",
    "Problem",
    "Progress",
    "Reading",
    "Result",
    "RunSettings",
    "RunStopped",
    "Service",
    "ServiceError",
    "SubmitFailed",
    "SyncResult",
    "TexbatchError",
    "UsageError",
    "arun",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a name on first use, so that `texbatch --help` loads no pandas, httpx or numpy (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415  start-up time

    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
