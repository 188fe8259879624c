"""The figures of a folder as Prometheus reads them: the textfile collector's exposition format, version 0.0.4.

Names end in their unit. A figure that each run counts from zero is a gauge; only the money of the folder, which never goes
down, is a counter. A figure that is not known is left out, never zero: so an alarm on the age of the last success, or on
an exit code, cannot be calmed by a run that has not ended.
"""

from __future__ import annotations

import os
from importlib import metadata
from typing import TYPE_CHECKING

from batch.core.errors import FolderError, UsageError
from batch.core.units import MICRO
from batch.ledger import totals
from batch.ledger.runs import last_success
from batch.ledger.totals import folder_status
from batch.output.files import atomic_write
from batch.output.report import STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batch.ledger.ledger import Ledger
    from batch.output.folder import OutputFolder

_START = b"# HELP texbatch_"

Sample = tuple["Mapping[str, str]", float | None]
Family = tuple[str, str, str, list[Sample]]


def exposition(ledger: Ledger, folder: Path) -> str:
    """Return every figure of a folder; all samples carry its path as the label `folder`."""
    where = {"folder": str(folder.resolve())}
    lines: list[str] = []
    for name, kind, meaning, samples in _families(ledger):
        known = [(where | dict(labels), value) for labels, value in samples if value is not None]
        if known:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
        for labels, value in known:
            shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
            lines.append(f"{name}{{{shown}}} {value!r}")
    return "\n".join(lines) + "\n"


def check_place(path: Path, folder: OutputFolder) -> None:
    """Refuse to write the figures where something else is, or where the folder has its own; raises UsageError."""
    inside = path.resolve().parent == folder.path.resolve()
    if inside and (
        path.name in {file.name for file in folder.files} or path.name.startswith(folder.ledger.name)
    ):
        raise UsageError(f"--metrics-file {path}: the folder has a file of its own there. Give another name.")
    try:
        if not os.path.lexists(path):
            return
        ours = path.is_file() and not path.is_symlink()
        if ours:
            with path.open("rb") as file:
                ours = file.read(len(_START)) in {b"", _START}  # figures of ours, or nothing at all
    except OSError as exc:
        raise UsageError(
            f"--metrics-file {path}: cannot be read ({exc.strerror}). Give another name."
        ) from exc
    if not ours:
        raise UsageError(
            f"--metrics-file {path}: is something else, and is not overwritten. Give another name, or move it away."
        )


def write_metrics(ledger: Ledger, folder: Path, path: Path) -> None:
    """Write the figures whole or not at all, readable by the collector; raises FolderError when that cannot be."""
    try:
        atomic_write(path, exposition(ledger, folder).encode(), 0o644)
    except OSError as exc:
        raise FolderError(f"--metrics-file {path}: cannot be written ({exc.strerror}).") from exc


def _families(ledger: Ledger) -> Iterator[Family]:
    total, now = totals.folder_totals(ledger), folder_status(ledger)
    run = now.run or {}
    simulated = {"simulated": str(ledger.is_local()).lower()}
    version = {"version": metadata.version("texbatch")}
    rows: list[Sample] = [({"status": status}, total.statuses.get(status, 0)) for status in STATUSES]
    decided: list[Sample] = [
        ({"decision": "accepted"}, total.accepted),
        ({"decision": "rejected"}, total.rejected),
    ]
    errors: list[Sample] = [({"error_class": name}, count) for name, count, _ in total.errors]
    families: tuple[Family, ...] = (
        ("texbatch_build_info", "gauge", "The version of texbatch that wrote this; always 1.", [(version, 1)]),
        ("texbatch_rows", "gauge", "Rows of the current manifest by status.", rows),
        ("texbatch_rows_with_error", "gauge", "Rows without an image by class of error.", errors),
        ("texbatch_rows_decided", "gauge", "Rows whose image people accepted or rejected.", decided),
        ("texbatch_cost_per_accepted_usd", "gauge", "US dollars spent for each accepted image; absent while none is accepted.",
         [(simulated, total.spent / total.accepted / MICRO if total.accepted else None)]),
        ("texbatch_jobs_in_flight", "gauge", "Jobs accepted by the service and not saved yet.", [({}, now.in_flight)]),
        ("texbatch_spent_usd_total", "counter", "US dollars spent in this folder since it was made.",
         [(simulated, total.spent / MICRO)]),
        ("texbatch_at_risk_usd", "gauge", "US dollars paid or perhaps paid for work without an image.", [({}, total.at_risk / MICRO)]),
    )  # fmt: skip
    yield from families
    for name, meaning, value in (
        ("run_start_timestamp_seconds", "When the last run began, Unix time.", run.get("started_at")),
        ("run_end_timestamp_seconds", "When the last run ended, Unix time; absent while one goes on.", run.get("ended_at")),
        ("run_exit_code", "Exit code of the last run; absent while one goes on.", run.get("exit_code")),
        ("run_pictures_per_minute", "Images saved per minute over the last five minutes of the run.", now.per_minute),
        ("run_status_calls", "Status requests of the last run; counted at its end.", run.get("status_calls")),
        ("run_http_429_answers", "Answers 429 to the last run; counted at its end.", run.get("http_429")),
        ("last_success_timestamp_seconds", "When a run last ended with every row saved, Unix time.", last_success(ledger)),
    ):  # fmt: skip
        yield f"texbatch_{name}", "gauge", meaning, [({}, value)]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
